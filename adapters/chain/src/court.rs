//! Mediators, their sets, and disputes as the court reports them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, B256, PeerKey, Seconds, UnixTime};
use sublet_market::{MediatorSetId, UnknownCode, sums};

use crate::agreement::codes;

codes!(
    /// Where a dispute is.
    DisputeStage, "stage of a dispute",
    /// There is no such dispute.
    None = 0 / "unknown",
    /// Waiting for somebody to draw the panel.
    Armed = 1 / "waiting for the draw",
    /// The panel runs the job again and commits to what it found.
    Commit = 2 / "committing",
    /// The panel shows what it committed to.
    Reveal = 3 / "revealing",
    /// Waiting for somebody to resolve it.
    Over = 4 / "waiting to be resolved",
    /// Decided; the job's end says how.
    Resolved = 5 / "resolved",
);
codes!(
    /// How far a member of a panel got.
    SeatStage, "stage of a seat",
    /// Nothing heard yet.
    Drawn = 0 / "drawn",
    /// Bound to a vote nobody can read.
    Committed = 1 / "committed",
    /// Has voted.
    Revealed = 2 / "revealed",
);

/// A mediator as registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediatorRecord {
    /// Its link endpoint.
    pub peer_key: PeerKey,
    /// What it answers with.
    pub bond: Amount,
    /// Of that, what its seats on panels may cost it.
    pub at_stake: Amount,
    /// When it retired, if it did.
    pub retired_at: Option<UnixTime>,
}

/// A set of mediators; who serves may change, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediatorSetRecord {
    /// Ascending.
    pub members: Vec<Address>,
    /// Those of them that agreed to serve, ascending.
    pub joined: Vec<Address>,
    /// Seats on a panel; odd.
    pub panel_size: u8,
    /// What a vote earns and a missing vote costs.
    pub fee: Amount,
}

impl MediatorSetRecord {
    /// What a whole panel costs: what a dispute locks, and the least pledge of a job that names this set.
    #[must_use]
    pub fn fees(&self) -> Amount {
        // The contract keeps fees below 2^96.
        sums::panel_fees(self.fee, self.panel_size).unwrap_or(Amount(u128::MAX))
    }
}

/// A member of a panel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatRecord {
    /// Who sits on it.
    pub mediator: Address,
    /// How far it got.
    pub stage: SeatStage,
    /// What it committed to and has not revealed.
    pub commitment: Option<B256>,
    /// What it revealed; zero says that the provider withheld its archive.
    pub vote: Option<B256>,
}

/// A dispute as of the block it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeRecord {
    /// Where it is.
    pub stage: DisputeStage,
    /// Who raised it.
    pub renter: Address,
    /// Whose result it is about.
    pub provider: Address,
    /// From whom the panel is drawn.
    pub mediator_set: MediatorSetId,
    /// What the provider submitted.
    pub result: B256,
    /// The job's longest run: part of the time to commit.
    pub duration: Seconds,
    /// Members of the set that could be drawn.
    pub electorate: u8,
    /// First block in which a draw draws.
    pub draw_from: u64,
    /// Last block in which a draw draws; later it starts over with a new electorate.
    pub draw_until: u64,
    /// Last second to commit, once drawn.
    pub commit_by: Option<UnixTime>,
    /// Last second to reveal, once drawn; earlier when all have committed.
    pub reveal_by: Option<UnixTime>,
    /// Empty until drawn.
    pub panel: Vec<SeatRecord>,
}

impl DisputeRecord {
    /// A mediator's seat, if it was drawn.
    #[must_use]
    pub fn seat(&self, mediator: Address) -> Option<&SeatRecord> {
        self.panel.iter().find(|seat| seat.mediator == mediator)
    }
}
