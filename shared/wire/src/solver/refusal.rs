//! How the solver says no.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// Not the JSON this call expects, or a field out of its bounds.
    Malformed,
    /// The signature is not the named account's over this document, chain and contract.
    WrongSignature,
    /// Past its `validUntil`, or it would be before anything could open.
    Expired,
    /// `validUntil` is further away than this solver keeps documents.
    TooFarAhead,
    /// Signed in an epoch the provider has left.
    OldEpoch,
    /// Cancelled on chain or here.
    Cancelled,
    /// The order's nonce was used on chain.
    NonceUsed,
    /// The account's free balance does not cover it.
    BalanceTooLow,
    /// The provider is not registered, not online, or its last beat is stale.
    ProviderOffline,
    /// The order names another solver.
    OtherSolver,
    /// The solver's fee is below what this solver asks.
    FeeTooLow,
    /// The document's terms contradict each other or ask for nothing.
    Senseless,
    /// The account or the book has as many documents as it may.
    BookFull,
    /// No such document here.
    NotFound,
    /// It is being opened or was opened already.
    TooLate,
    /// More requests than allowed; wait.
    TooManyRequests,
    /// The body is longer than allowed.
    TooLong,
    /// The chain does not answer; nothing was changed.
    ChainUnavailable,
    /// It took too long. Whether it was done is not known; asking again is harmless.
    TimedOut,
    /// The solver failed; nothing was changed.
    Internal,
}

impl RefusalCode {
    /// Whether the same request may succeed later without being changed.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::TooManyRequests
            | Self::ChainUnavailable
            | Self::TimedOut
            | Self::Internal
            | Self::BookFull
            | Self::ProviderOffline
            | Self::BalanceTooLow => true,
            Self::Malformed
            | Self::WrongSignature
            | Self::Expired
            | Self::TooFarAhead
            | Self::OldEpoch
            | Self::Cancelled
            | Self::NonceUsed
            | Self::OtherSolver
            | Self::FeeTooLow
            | Self::Senseless
            | Self::NotFound
            | Self::TooLate
            | Self::TooLong => false,
        }
    }
}

impl RefusalCode {
    /// Whether it says something about this solver, so that another may take the same document.
    #[must_use]
    pub fn is_about_the_solver(self) -> bool {
        match self {
            Self::TooManyRequests
            | Self::ChainUnavailable
            | Self::TimedOut
            | Self::Internal
            | Self::BookFull
            | Self::FeeTooLow
            | Self::TooFarAhead
            | Self::OtherSolver => true,
            Self::Malformed
            | Self::WrongSignature
            | Self::Expired
            | Self::OldEpoch
            | Self::Cancelled
            | Self::NonceUsed
            | Self::BalanceTooLow
            | Self::ProviderOffline
            | Self::Senseless
            | Self::NotFound
            | Self::TooLate
            | Self::TooLong => false,
        }
    }
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// What is wrong, one sentence.
    pub message: String,
    /// What to do about it, one sentence.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

impl std::error::Error for Refusal {}
