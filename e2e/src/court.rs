//! Jobs, disputes and bonds as anybody may read them, decoded by hand like everything in [`crate::contract`].

use anyhow::{Context, Result, ensure};

use crate::contract::{Contract, JOB, address, low_half};

const DISPUTE_OF: &str = "af70fe71";
const MEDIATOR_OF: &str = "4594c798";

/// A job as the contract has it. Amounts are token units, times the chain's seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Where it stands.
    pub state: JobState,
    /// How it ended, by its name in the contract.
    pub end: &'static str,
    /// A second.
    pub price: u128,
    /// Of the escrow, what the provider pledges, in ten thousandths.
    pub pledge_bps: u128,
    /// Seconds paid for in advance.
    pub duration: u128,
    /// Seconds it ran, as its provider says.
    pub used: u128,
    /// What its provider submitted.
    pub result: String,
    /// Still held: escrow, pledge and fee.
    pub held: u128,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum JobState {
    Open,
    Submitted,
    Disputed,
    Ended,
}

const ENDS: [&str; 10] = [
    "None",
    "Rejected",
    "Expired",
    "Settled",
    "Accepted",
    "Finalized",
    "Refused",
    "Upheld",
    "Overturned",
    "Inconclusive",
];

impl Job {
    /// What was locked for it.
    #[must_use]
    pub fn rent(&self) -> u128 {
        self.price * self.duration
    }

    /// What its provider locked.
    #[must_use]
    pub fn pledge(&self) -> u128 {
        self.rent() * self.pledge_bps / 10_000
    }

    /// What its provider asks.
    #[must_use]
    pub fn cost(&self) -> u128 {
        self.price * self.used.min(self.duration)
    }
}

/// A dispute as the contract has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// Where it stands.
    pub stage: Stage,
    /// Last second to commit.
    pub commit_by: u128,
    /// The panel.
    pub seats: Vec<Seat>,
}

/// Where a dispute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stage {
    None,
    Armed,
    Commit,
    Reveal,
    Over,
    Resolved,
}

/// A member of a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Who, in lower case.
    pub mediator: String,
    /// Its vote, once revealed.
    pub vote: Option<String>,
    /// Its commitment, while that is all there is.
    pub sealed: Option<String>,
}

impl Dispute {
    /// The seat of an account.
    pub fn seat(&self, account: &str) -> Result<&Seat> {
        let seat = self.seats.iter().find(|seat| seat.mediator.eq_ignore_ascii_case(account));
        seat.with_context(|| format!("{account} is not on the panel: {self:#?}"))
    }
}

impl Contract {
    /// The court's own free balance: every bond, and the fees of open disputes.
    pub fn free_of_court(&self) -> Result<u128> {
        self.free_of(&self.court)
    }

    /// A mediator's bond.
    pub fn bond_of(&self, account: &str) -> Result<u128> {
        let words = self.read(&self.court, MEDIATOR_OF, &address(account)?)?;
        words.get(1).copied().context("too short")
    }

    /// Job `id`.
    pub fn job(&self, id: u64) -> Result<Job> {
        let words = self.words(&self.lens, JOB, &format!("{id:064x}"))?;
        ensure!(words.len() >= 21, "too short");
        let number = |at: usize| low_half(&words[at]);
        let state = match number(0) {
            1 => JobState::Open,
            2 => JobState::Submitted,
            3 => JobState::Disputed,
            4 => JobState::Ended,
            other => anyhow::bail!("{id} is no job: state {other}"),
        };
        Ok(Job {
            state,
            end: ENDS.get(usize::try_from(number(1))?).context("an unknown end")?,
            price: number(5),
            pledge_bps: number(6),
            duration: number(7),
            used: number(14),
            result: format!("0x{}", words[15]),
            held: (16..19).map(number).sum(),
        })
    }

    /// The dispute of job `id`.
    pub fn dispute(&self, id: u64) -> Result<Dispute> {
        let words = self.words(&self.court, DISPUTE_OF, &format!("{id:064x}"))?;
        let at = |at: usize| words.get(at).context("too short");
        // A struct with a list at its end: it begins where the first word says, the list where its last one says.
        let start = usize::try_from(low_half(at(0)?))? / 32;
        let list = start + usize::try_from(low_half(at(start + 11)?))? / 32;
        let count = usize::try_from(low_half(at(list)?))?;
        let seats = (0..count).map(|seat| self::seat(&words, list + 1 + seat * 4)).collect::<Result<_>>()?;
        let stage = match low_half(at(start)?) {
            0 => Stage::None,
            1 => Stage::Armed,
            2 => Stage::Commit,
            3 => Stage::Reveal,
            4 => Stage::Over,
            5 => Stage::Resolved,
            other => anyhow::bail!("an unknown stage: {other}"),
        };
        Ok(Dispute { stage, commit_by: low_half(at(start + 9)?), seats })
    }
}

fn seat(words: &[String], from: usize) -> Result<Seat> {
    let [mediator, stage, sealed, vote] = words.get(from..from + 4).context("too short")? else { unreachable!() };
    let stage = low_half(stage);
    Ok(Seat {
        mediator: format!("0x{}", &mediator[24..]),
        vote: (stage == 2).then(|| format!("0x{vote}")),
        sealed: (stage == 1).then(|| format!("0x{sealed}")),
    })
}
