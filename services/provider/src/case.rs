//! A case: one agreement as this provider remembers it. A case is the fold of its notes, and every note is in the journal
//! before anything is done about it, so that a restart remembers exactly what was known or intended.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sublet_base::{Address, B256, JobId, LeaseId, MachineId, PeerKey, Price, Seconds, UnixTime};
use sublet_chain::{JobOpened, LeaseOpened};
use sublet_market::{Class, SignedAcceptance};
use sublet_store::{BadEntry, Entry, StepState};
use sublet_wire::host::TaskResult;
use sublet_wire::link::Agreement;
use sublet_wire::verdict::Verdict;
use sublet_wire::workload::{Mark, machine_name, machine_number};

/// Kind of the journal entries that hold cases.
pub(crate) const KIND: &str = "agreement";

/// What the chain said when the agreement was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Which.
    pub agreement: Agreement,
    /// Who pays.
    pub renter: Address,
    /// Digest of our offer.
    pub offer: B256,
    /// Digest of the order. Journals of older versions do not have it.
    #[serde(default)]
    pub order: Option<B256>,
    /// Hash of the machine request or job.
    pub workload: B256,
    /// Whom to talk to about it, and nobody else.
    pub peer_key: PeerKey,
    /// How the result is checked.
    pub class: Class,
    /// Token units a second.
    pub price: Price,
    /// Seconds bought at first.
    pub duration: Seconds,
    /// Last second to start or reject.
    pub start_by: UnixTime,
}

impl Opened {
    /// Whether the chain says the same again, in the block that replaced the first: only the time is another.
    pub(crate) fn is(&self, again: &Self) -> bool {
        let known = Self { order: self.order.or(again.order), start_by: again.start_by, ..self.clone() };
        known == *again
    }
}

impl From<&LeaseOpened> for Opened {
    fn from(e: &LeaseOpened) -> Self {
        Self {
            agreement: Agreement::Lease(e.id),
            renter: e.renter,
            offer: e.offer,
            order: Some(e.order),
            workload: e.workload,
            peer_key: e.peer_key,
            class: Class::None,
            price: e.price,
            duration: e.duration,
            start_by: e.start_by,
        }
    }
}

impl From<&JobOpened> for Opened {
    fn from(e: &JobOpened) -> Self {
        Self {
            agreement: Agreement::Job(e.id),
            renter: e.renter,
            offer: e.offer,
            order: Some(e.order),
            workload: e.workload,
            peer_key: e.peer_key,
            class: e.class,
            price: e.price,
            duration: e.duration,
            start_by: e.start_by,
        }
    }
}

/// A result, and when it was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// As the host reports it.
    pub result: TaskResult,
    /// The chain's time.
    pub at: UnixTime,
}

/// One thing learnt or intended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// The renter handed over the document; it was checked.
    Handed(String),
    /// The chain has no document of it: the renter hands it over.
    Unplaced,
    /// A machine of this name may be there that is another agreement's, which had the number before blocks were replaced.
    Foreign,
    /// The machine is about to be created.
    Creating,
    /// The machine is about to be started.
    Starting(UnixTime),
    /// The host did start it. A kill in between leaves this out, so that kills do not count as starts.
    Started,
    /// The machine is gone, and what it had.
    Removed,
    /// The task's result is stored on the host.
    Finished(Finished),
    /// It ended by the renter's doing, without a result of the host's.
    Judged(Verdict, UnixTime),
    /// The renter's signed acceptance; `None` if the contract did not want it.
    Accepted(Option<Box<SignedAcceptance>>),
    /// The acceptance was sent and cost its gas, and the contract did not take it. It is dropped.
    InVain,
    /// The whole result was sent to the renter.
    Fetched,
    /// The host cannot make its machine yet, for this reason.
    Hindered(String),
    /// It cannot be served, for this reason.
    Failed(String),
    /// The rent is used up since then; `None` if it was topped up.
    RanOut(Option<UnixTime>),
    /// The host does not have the machine since then; `None` if it does again.
    Missing(Option<UnixTime>),
    /// The agreement was over at this time.
    Ended(UnixTime),
}

impl Note {
    /// The journal step it belongs to, and how far that step is.
    pub(crate) fn step(&self) -> (&'static str, StepState) {
        match self {
            Self::Handed(_) => ("document", StepState::Done),
            Self::Unplaced => ("placed", StepState::Done),
            Self::Foreign => ("foreign", StepState::Done),
            Self::Creating => ("machine", StepState::Intended),
            Self::Removed => ("machine", StepState::Undone),
            Self::Starting(_) => ("start", StepState::Intended),
            Self::Started => ("start", StepState::Done),
            Self::Finished(_) | Self::Judged(..) => ("result", StepState::Done),
            Self::Accepted(Some(_)) => ("acceptance", StepState::Done),
            Self::Accepted(None) | Self::InVain => ("acceptance", StepState::Undone),
            Self::Fetched => ("fetched", StepState::Done),
            Self::Hindered(_) => ("hindered", StepState::Done),
            Self::Failed(_) => ("failed", StepState::Done),
            Self::RanOut(at) => ("run-out", if at.is_some() { StepState::Done } else { StepState::Undone }),
            Self::Missing(at) => ("missing", if at.is_some() { StepState::Done } else { StepState::Undone }),
            Self::Ended(_) => ("ended", StepState::Done),
        }
    }
}

/// One agreement as this provider remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// From the chain.
    pub opened: Opened,
    /// The document, once handed over, or found on chain.
    pub document: Option<Arc<str>>,
    /// The chain was asked and has no document.
    pub unplaced: bool,
    /// A machine of its name may be there that is not its own.
    pub foreign: bool,
    /// How often a machine was about to be created.
    pub creations: u32,
    /// A machine may exist.
    pub may_exist: bool,
    /// How often the machine was started.
    pub starts: u32,
    /// When it was about to be started for the last time.
    pub started_at: Option<UnixTime>,
    /// The task's result.
    pub finished: Option<Finished>,
    /// Set if that result is the agent's own.
    pub verdict: Option<Verdict>,
    /// The renter's acceptance.
    pub acceptance: Option<SignedAcceptance>,
    /// One cost gas in vain: from then on only one that a key signed is taken.
    pub in_vain: bool,
    /// The renter has the result.
    pub fetched: bool,
    /// Why the host has not made its machine yet.
    pub hindered: Option<String>,
    /// Why it cannot be served.
    pub failed: Option<String>,
    /// Since when the rent is used up.
    pub ran_out_at: Option<UnixTime>,
    /// Since when the machine is not where it should be.
    pub missing_since: Option<UnixTime>,
    /// When it was seen to be over.
    pub ended_at: Option<UnixTime>,
}

impl Case {
    /// A new case.
    #[must_use]
    pub fn new(opened: Opened) -> Self {
        Self {
            opened,
            document: None,
            unplaced: false,
            foreign: false,
            creations: 0,
            may_exist: false,
            starts: 0,
            started_at: None,
            finished: None,
            verdict: None,
            acceptance: None,
            in_vain: false,
            fetched: false,
            hindered: None,
            failed: None,
            ran_out_at: None,
            missing_since: None,
            ended_at: None,
        }
    }

    /// Reads a case from its journal entry.
    ///
    /// # Errors
    /// [`BadEntry`] if another version wrote it.
    pub fn from_entry(entry: &Entry) -> Result<Self, BadEntry> {
        let (opening, notes) = entry.read()?;
        let mut case = Self::new(opening);
        notes.iter().for_each(|note| case.learn(note));
        Ok(case)
    }

    /// Takes in a note that is in the journal.
    pub fn learn(&mut self, note: &Note) {
        match note {
            Note::Handed(document) => self.document = Some(document.as_str().into()),
            Note::Unplaced => self.unplaced = true,
            Note::Foreign => self.foreign = true,
            Note::Creating => {
                self.creations += 1;
                self.may_exist = true;
            }
            Note::Starting(at) => self.started_at = Some(*at),
            Note::Started => self.starts += 1,
            Note::Removed => {
                (self.may_exist, self.foreign) = (false, false);
                (self.starts, self.started_at, self.missing_since) = (0, None, None);
                // What the host had is lost with it; the agent's own verdict is not.
                self.finished = self.finished.filter(|_| self.verdict.is_some());
            }
            Note::Finished(finished) => self.finished = Some(*finished),
            Note::Judged(verdict, at) => {
                self.finished = Some(Finished { result: verdict.result(), at: *at });
                self.verdict = Some(verdict.clone());
            }
            Note::Accepted(acceptance) => self.acceptance = acceptance.as_deref().cloned(),
            Note::InVain => (self.acceptance, self.in_vain) = (None, true),
            Note::Fetched => self.fetched = true,
            Note::Hindered(reason) => self.hindered = Some(reason.clone()),
            Note::Failed(reason) => self.failed = Some(reason.clone()),
            Note::RanOut(at) => self.ran_out_at = *at,
            Note::Missing(at) => self.missing_since = *at,
            Note::Ended(at) => self.ended_at = Some(*at),
        }
    }

    /// The agreement.
    #[must_use]
    pub fn id(&self) -> Agreement {
        self.opened.agreement
    }
}

/// The name of the machine in which the provider of this mark serves an agreement.
#[must_use]
pub fn machine_of(agreement: Agreement, mark: &Mark) -> MachineId {
    match agreement {
        Agreement::Lease(id) => machine_name(LEASE, id.0, mark),
        Agreement::Job(id) => machine_name(JOB, id.0, mark),
    }
}

/// The agreement whose machine this is, if it bears this mark.
#[must_use]
pub fn agreement_of(machine: &MachineId, mark: &Mark) -> Option<Agreement> {
    let number = |kind| machine_number(machine, kind, mark);
    number(LEASE).map(|n| Agreement::Lease(LeaseId(n))).or_else(|| number(JOB).map(|n| Agreement::Job(JobId(n))))
}

const LEASE: &str = "lease";
const JOB: &str = "job";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agreement_is_the_same_if_only_its_block_is_another() {
        let opened = crate::decide::tests::opened(Agreement::Job(JobId(7)), 120);
        assert!(opened.is(&Opened { start_by: UnixTime(opened.start_by.0 + 1), ..opened.clone() }));
        assert!(Opened { order: None, ..opened.clone() }.is(&opened), "as older versions wrote it");
        assert!(!opened.is(&Opened { order: Some(B256::repeat_byte(9)), ..opened.clone() }));
        assert!(!opened.is(&Opened { renter: Address::repeat_byte(9), ..opened.clone() }));
    }
}
