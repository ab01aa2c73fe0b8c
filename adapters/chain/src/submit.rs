//! Submitting a transaction, as callers see it: its key, the sender's manners, and every way it can fail to land.

use std::time::Duration;

use sublet_base::{Address, B256, U256};
use thiserror::Error;

use crate::depth::Depth;
use crate::node::ReadError;
use crate::refusal::Refusal;
use crate::tx_journal::TxJournalError;
use crate::wallet::SignError;

/// How patient and how generous a sender is.
#[derive(Clone, Debug)]
pub struct SenderOptions {
    /// How deep a transaction's block must lie before the answer is given.
    pub depth: Depth,
    /// Pause between looks for a receipt, at first; grows to eight times this.
    pub poll: Duration,
    /// Silence after which a transaction is sent again, with a better fee if the market asks for one.
    pub resend_after: Duration,
    /// Time after which a call answers [`SubmitError::Unknown`]; the transaction stays in the journal.
    pub patience: Duration,
    /// Most that is ever offered, wei per gas.
    pub max_fee: u128,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self {
            depth: Depth::Newest,
            poll: Duration::from_millis(50),
            resend_after: Duration::from_secs(15),
            patience: Duration::from_secs(120),
            max_fee: 1_000_000_000_000,
        }
    }
}

impl SenderOptions {
    /// Answers once a transaction lies this deep, and is patient enough for that.
    #[must_use]
    pub fn until(depth: Depth) -> Self {
        let patience = match depth {
            Depth::Newest => 120,
            Depth::Confirmations(deep) => deep.min(200).saturating_mul(15).saturating_add(120),
            Depth::Safe | Depth::Finalized => 30 * 60,
        };
        Self { depth, patience: Duration::from_secs(patience), ..Self::default() }
    }
}

/// The caller's name for one effect on chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxKey {
    pub(crate) name: String,
    pub(crate) keep: bool,
}

impl TxKey {
    /// Remembered until [`crate::Ledger::forget`], so that submitting again after a crash returns the first answer: also
    /// when that was [`SubmitError::Reverted`]. Trying anew after a final refusal needs another name, or `forget`.
    #[must_use]
    pub fn lasting(name: impl Into<String>) -> Self {
        Self { name: name.into(), keep: true }
    }

    /// Forgotten once the answer is known, for effects that may as well happen twice, such as a beat.
    #[must_use]
    pub fn passing(name: impl Into<String>) -> Self {
        Self { name: name.into(), keep: false }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Why a transaction did not, or not yet, land.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The contract would refuse it. Nothing was sent, nothing was paid.
    #[error("the contract refuses")]
    Refused(#[source] Refusal),
    /// It was mined and the contract refused it: it changed nothing but cost its gas. Final.
    #[error("transaction {tx} was refused by the contract")]
    Reverted {
        /// The transaction.
        tx: B256,
        /// Why, if the node can still tell.
        #[source]
        refusal: Option<Refusal>,
    },
    /// Another program used the same account: this transaction can never be mined. Final.
    #[error("another transaction of {account} took number {nonce}: is another program using this account?")]
    Replaced {
        /// The account.
        account: Address,
        /// The number.
        nonce: u64,
    },
    /// Sent, perhaps mined, not known. Submit again with the same key to go on waiting; it is never sent twice.
    #[error("it is not known yet whether transaction {tx} was mined; ask again")]
    Unknown {
        /// The newest attempt.
        tx: B256,
        /// The last failure while looking, if there was one.
        #[source]
        last: Option<Box<ReadError>>,
    },
    /// The account cannot pay for the gas. Nothing was sent.
    #[error("{account} has {balance} wei, too little to pay for gas")]
    NoGas {
        /// The account.
        account: Address,
        /// Its balance.
        balance: U256,
    },
    /// No node would mine it. Nothing was sent.
    #[error("the node does not take the transaction: {0}")]
    Invalid(String),
    /// The chain could not be asked. Nothing was sent.
    #[error("nothing was sent")]
    NotSent(#[source] ReadError),
    /// The key was used for something else before.
    #[error("the key `{0}` already stands for another transaction")]
    KeyTaken(String),
    /// The journal failed. If it failed before sending, nothing was sent.
    #[error("the transaction journal failed")]
    Journal(#[from] TxJournalError),
    /// The key could not sign. Nothing was sent.
    #[error("nothing was sent")]
    Sign(#[from] SignError),
    /// This ledger was opened without an account.
    #[error("no account to send from")]
    NoAccount,
}

impl SubmitError {
    /// True if the same call may succeed later. False: it is final, or a person has to act first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Journal(_) => true,
            Self::NotSent(error) => error.is_retryable(),
            Self::Refused(_)
            | Self::Reverted { .. }
            | Self::Replaced { .. }
            | Self::NoGas { .. }
            | Self::Invalid(_)
            | Self::KeyTaken(_)
            | Self::Sign(_)
            | Self::NoAccount => false,
        }
    }

    /// The contract's reason, if the contract refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Reverted { refusal: Some(refusal), .. } => Some(refusal),
            _ => None,
        }
    }
}
