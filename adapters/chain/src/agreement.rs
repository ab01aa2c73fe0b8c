//! Leases and jobs as the contract reports them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, B256, Bps, PeerKey, Price, Seconds, UnixTime};
use sublet_market::{Class, MediatorSetId, UnknownCode};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident, $what:literal, $($(#[$vdoc:meta])* $variant:ident = $code:literal / $word:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl TryFrom<u8> for $name {
            type Error = UnknownCode;

            fn try_from(value: u8) -> Result<Self, UnknownCode> {
                match value {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(UnknownCode { what: $what, value }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

pub(crate) use codes;

codes!(
    /// Where a lease is.
    LeaseState, "state of a lease",
    /// There is no such lease.
    None = 0 / "unknown",
    /// Waiting for its provider to start it.
    Open = 1 / "open",
    /// Running.
    Active = 2 / "active",
    /// Over.
    Ended = 3 / "ended",
);
codes!(
    /// Why a lease ended.
    LeaseEnd, "end of a lease",
    /// It has not.
    None = 0 / "not ended",
    /// The provider did not want it.
    Rejected = 1 / "rejected by the provider",
    /// The renter took it back before the start.
    Cancelled = 2 / "cancelled by the renter",
    /// The provider did not start in time.
    Expired = 3 / "not started in time",
    /// The renter closed it.
    ClosedByRenter = 4 / "closed by the renter",
    /// The provider closed it.
    ClosedByProvider = 5 / "closed by the provider",
    /// The escrow was used up.
    RanOut = 6 / "ran out",
    /// The provider fell silent.
    Faulted = 7 / "provider fell silent",
);
codes!(
    /// Where a job is.
    JobState, "state of a job",
    /// There is no such job.
    None = 0 / "unknown",
    /// Being run.
    Open = 1 / "open",
    /// A result is on chain and may be objected to.
    Submitted = 2 / "submitted",
    /// Mediators are at it.
    Disputed = 3 / "disputed",
    /// Over.
    Ended = 4 / "ended",
);
codes!(
    /// Why a job ended.
    JobEnd, "end of a job",
    /// It has not.
    None = 0 / "not ended",
    /// The provider did not want it.
    Rejected = 1 / "rejected by the provider",
    /// The provider did not submit in time.
    Expired = 2 / "no result in time",
    /// By the renter's signature.
    Settled = 3 / "settled",
    /// By the renter's own call.
    Accepted = 4 / "accepted",
    /// By the renter's silence.
    Finalized = 5 / "finalized",
    /// The renter did not want the result.
    Refused = 6 / "refused by the renter",
    /// Mediators found the result right.
    Upheld = 7 / "upheld by mediators",
    /// Mediators found the result wrong.
    Overturned = 8 / "overturned by mediators",
    /// Mediators did not agree.
    Inconclusive = 9 / "inconclusive",
);

/// A provider as registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRecord {
    /// Its link endpoint.
    pub peer_key: PeerKey,
    /// Takes new agreements.
    pub online: bool,
    /// First registration.
    pub registered_at: UnixTime,
    /// Last proof of life.
    pub last_beat: UnixTime,
    /// Credited seconds of uptime now.
    pub uptime: u64,
    /// Offers of other epochs do not count.
    pub epoch: u64,
}

/// A lease as of the block it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Where it is.
    pub state: LeaseState,
    /// Why it ended.
    pub end: LeaseEnd,
    /// Who pays.
    pub renter: Address,
    /// Who is paid.
    pub provider: Address,
    /// Units a second.
    pub price: Price,
    /// Pledge as a share of the escrow.
    pub pledge_bps: Bps,
    /// Seconds bought in total, top-ups included.
    pub duration: Seconds,
    /// The most that may be bought.
    pub max_duration: Seconds,
    /// Warning the provider owes.
    pub notice: Seconds,
    /// Seconds it costs at least.
    pub min_charge: Seconds,
    /// When it was opened.
    pub opened_at: UnixTime,
    /// Last second to start.
    pub start_by: UnixTime,
    /// When it started, if it did.
    pub started_at: Option<UnixTime>,
    /// When the provider gave notice, if it did.
    pub notice_at: Option<UnixTime>,
    /// Seconds already paid for.
    pub paid_seconds: Seconds,
    /// Seconds a settlement now would pay.
    pub owed_seconds: Seconds,
    /// Rent still held.
    pub escrow: Amount,
    /// Pledge still held.
    pub pledge: Amount,
    /// Solver's fee still held.
    pub solver_fee: Amount,
    /// Who opened it.
    pub solver: Address,
}

/// A job as of the block it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Where it is.
    pub state: JobState,
    /// Why it ended.
    pub end: JobEnd,
    /// How its result is checked.
    pub class: Class,
    /// Who pays.
    pub renter: Address,
    /// Who is paid.
    pub provider: Address,
    /// Units a second.
    pub price: Price,
    /// Pledge as a share of the escrow.
    pub pledge_bps: Bps,
    /// Longest run paid for.
    pub duration: Seconds,
    /// How long the renter may object.
    pub challenge_window: Seconds,
    /// Who judges.
    pub mediator_set: MediatorSetId,
    /// When it was opened.
    pub opened_at: UnixTime,
    /// Last second to reject.
    pub start_by: UnixTime,
    /// Last second to submit.
    pub run_by: UnixTime,
    /// When a result was submitted, if it was.
    pub submitted_at: Option<UnixTime>,
    /// Seconds the provider declared.
    pub used: Seconds,
    /// The submitted result, if there is one.
    pub result: Option<B256>,
    /// Payment still held.
    pub escrow: Amount,
    /// Pledge still held.
    pub pledge: Amount,
    /// Solver's fee still held.
    pub solver_fee: Amount,
    /// Who opened it.
    pub solver: Address,
    /// The renter is a contract that is told when it ends.
    pub callback: bool,
}
