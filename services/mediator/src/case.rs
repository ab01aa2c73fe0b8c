//! A case: one dispute as this mediator remembers it. A case is the fold of its notes, and every note is in the journal
//! before anything is done about it, so that a restart remembers exactly what was known or intended.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sublet_base::{Address, B256, JobId, MachineId, PeerKey, Seconds, UnixTime};
use sublet_market::MediatorSetId;
use sublet_store::{BadEntry, Entry, StepState};
use sublet_wire::host::TaskResult;
use sublet_wire::verdict::Verdict;
use sublet_wire::workload::{Mark, machine_name, machine_number};

/// Kind of the journal entries that hold cases.
pub(crate) const KIND: &str = "dispute";

/// What the chain said when the dispute was raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The job.
    pub job: JobId,
    /// Whose panel judges.
    pub set: MediatorSetId,
    /// Who disputes.
    pub renter: Address,
    /// Whose result it is.
    pub provider: Address,
    /// What the provider submitted.
    pub submitted: B256,
    /// Hash of the job document.
    pub workload: B256,
    /// The renter's link endpoint: who may have our archive.
    pub peer_key: PeerKey,
}

/// A vote, sealed until the reveal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// What the run gave; zero if the provider withheld what it must hand over.
    pub hash: B256,
    /// What keeps it secret.
    pub salt: B256,
}

/// One thing learnt or intended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// The provider handed over the document; its hash is the one on chain.
    Document(String),
    /// The provider handed over an archive with the submitted hash.
    Archive,
    /// The provider was asked until this time, and did not hand over what is missing.
    Unanswered(UnixTime),
    /// It was not asked for a while: what was counted against it counts no longer.
    Unasked,
    /// A machine of this name may be there that is another dispute's, which had the number before blocks were replaced.
    Foreign,
    /// The machine is about to be created.
    Creating,
    /// The machine is about to be started.
    Starting,
    /// The host did start it. A kill in between leaves this out, so that kills do not count as starts.
    Started,
    /// The machine was seen to run at this time, the first since its start.
    Runs(UnixTime),
    /// The machine is gone, and what it had.
    Removed,
    /// What the run gave.
    Found(TaskResult),
    /// It ran for its timeout of this, as it did for its provider.
    TimedOut(Seconds),
    /// Its archive is in our own folder.
    Kept,
    /// The job cannot be run again here, for this reason.
    Unable(String),
    /// The vote, before anybody hears of it.
    Sealed(Ballot),
    /// The time to commit passed without a vote.
    Missed,
    /// The dispute was over at this time.
    Over(UnixTime),
    /// The archive is not kept any longer.
    Dropped,
}

impl Note {
    /// The journal step it belongs to, and how far that step is.
    pub(crate) fn step(&self) -> (&'static str, StepState) {
        match self {
            Self::Document(_) => ("document", StepState::Done),
            Self::Archive => ("archive", StepState::Done),
            Self::Unanswered(_) | Self::Unasked => ("ask", StepState::Undone),
            Self::Foreign => ("foreign", StepState::Done),
            Self::Creating => ("machine", StepState::Intended),
            Self::Removed => ("machine", StepState::Undone),
            Self::Starting => ("start", StepState::Intended),
            Self::Started => ("start", StepState::Done),
            Self::Runs(_) => ("runs", StepState::Done),
            Self::Found(_) | Self::TimedOut(_) => ("result", StepState::Done),
            Self::Kept => ("kept", StepState::Done),
            Self::Dropped => ("kept", StepState::Undone),
            Self::Unable(_) => ("unable", StepState::Done),
            Self::Sealed(_) => ("vote", StepState::Intended),
            Self::Missed => ("vote", StepState::Undone),
            Self::Over(_) => ("over", StepState::Done),
        }
    }
}

/// How long the provider has been asked in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The first time.
    pub since: UnixTime,
    /// The last time.
    pub last: UnixTime,
    /// How often.
    pub times: u32,
}

/// One dispute as this mediator remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// From the chain.
    pub raised: Raised,
    /// The document, once handed over.
    pub document: Option<Arc<str>>,
    /// The provider did hand over the submitted archive.
    pub archive_seen: bool,
    /// It was asked in vain.
    pub silence: Option<Silence>,
    /// A machine of its name may be there that is not its own.
    pub foreign: bool,
    /// How often a machine was about to be created.
    pub creations: u32,
    /// A machine may exist.
    pub may_exist: bool,
    /// How often the machine was started.
    pub starts: u32,
    /// Since when it runs.
    pub runs_since: Option<UnixTime>,
    /// What the run gave.
    pub found: Option<TaskResult>,
    /// Set if that is no result of the host's.
    pub timed_out: Option<Verdict>,
    /// Its archive is in our own folder.
    pub kept: bool,
    /// Why it cannot be run here.
    pub unable: Option<String>,
    /// The vote.
    pub ballot: Option<Ballot>,
    /// There is no vote, and it is too late for one.
    pub missed: bool,
    /// When it was seen to be over.
    pub over_at: Option<UnixTime>,
}

impl Case {
    /// A new case.
    #[must_use]
    pub fn new(raised: Raised) -> Self {
        Self {
            raised,
            document: None,
            archive_seen: false,
            silence: None,
            foreign: false,
            creations: 0,
            may_exist: false,
            starts: 0,
            runs_since: None,
            found: None,
            timed_out: None,
            kept: false,
            unable: None,
            ballot: None,
            missed: false,
            over_at: None,
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
        // While nobody asked, nobody was silent.
        case.silence = None;
        Ok(case)
    }

    /// Takes in a note that is in the journal.
    pub fn learn(&mut self, note: &Note) {
        match note {
            Note::Document(document) => {
                self.document = Some(document.as_str().into());
                // It answers: what it keeps back is counted from here on.
                self.silence = None;
            }
            Note::Archive => self.archive_seen = true,
            Note::Unanswered(at) => {
                let before = self.silence.unwrap_or(Silence { since: *at, last: *at, times: 0 });
                self.silence = Some(Silence { times: before.times + 1, last: *at, ..before });
            }
            Note::Unasked => self.silence = None,
            Note::Foreign => self.foreign = true,
            Note::Creating => {
                self.creations += 1;
                self.may_exist = true;
            }
            Note::Starting => self.runs_since = None,
            Note::Started => self.starts += 1,
            Note::Runs(at) => self.runs_since = Some(*at),
            Note::Removed => {
                (self.may_exist, self.foreign, self.starts, self.runs_since) = (false, false, 0, None);
            }
            Note::Found(result) => self.found = Some(*result),
            Note::TimedOut(after) => {
                let verdict = Verdict::timeout(*after);
                self.found = Some(verdict.result());
                self.timed_out = Some(verdict);
            }
            Note::Kept => self.kept = true,
            Note::Dropped => self.kept = false,
            Note::Unable(reason) => self.unable = Some(reason.clone()),
            // The first vote is the vote: a second salt could be committed beside it.
            Note::Sealed(ballot) => self.ballot = self.ballot.or(Some(*ballot)),
            Note::Missed => self.missed = true,
            Note::Over(at) => self.over_at = Some(*at),
        }
    }

    /// The job it is about.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.raised.job
    }
}

/// The name of the machine in which the mediator of this mark runs a job again: unlike a provider's for the same job.
#[must_use]
pub fn machine_of(job: JobId, mark: &Mark) -> MachineId {
    machine_name(KIND_OF_MACHINE, job.0, mark)
}

/// The job whose machine this is, if it bears this mark.
#[must_use]
pub fn job_of(machine: &MachineId, mark: &Mark) -> Option<JobId> {
    machine_number(machine, KIND_OF_MACHINE, mark).map(JobId)
}

const KIND_OF_MACHINE: &str = "mediation";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_vote_stands() {
        let raised = Raised {
            job: JobId(1),
            set: MediatorSetId(1),
            renter: Address::ZERO,
            provider: Address::ZERO,
            submitted: B256::ZERO,
            workload: B256::ZERO,
            peer_key: PeerKey([1; 32]),
        };
        let mut case = Case::new(raised);
        let first = Ballot { hash: B256::repeat_byte(1), salt: B256::repeat_byte(2) };
        case.learn(&Note::Sealed(first));
        case.learn(&Note::Sealed(Ballot { salt: B256::repeat_byte(3), ..first }));
        assert_eq!(case.ballot, Some(first));
    }
}
