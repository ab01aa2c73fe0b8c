//! What the mediator's parts share: the cases in memory, the last answers of chain and host, and the journal behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sublet_base::{Address, Amount, JobId, MachineId, UnixTime};
use sublet_chain::{DisputeRecord, Ledger, MediatorRecord};
use sublet_client::Host;
use sublet_market::MediatorSetId;
use sublet_store::{BadEntry, Begun, Store, StoreError, Tx};
use sublet_wire::host::MachineView;
use sublet_wire::workload::Mark;
use tokio::sync::Notify;

use crate::account::Standing;
use crate::archives::Archives;
use crate::case::{Case, KIND, Note, Raised};
use crate::decide::OnHost;
use crate::ports::Providers;

/// A dispute as the chain last had it.
#[derive(Clone, Debug)]
pub(crate) struct OnChain {
    pub(crate) dispute: DisputeRecord,
    /// The block in which it was first seen at its stage.
    pub(crate) stage_since: u64,
}

/// What is known of the mediator's own account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) record: Option<MediatorRecord>,
    pub(crate) free: Amount,
    pub(crate) sets: Vec<(MediatorSetId, Standing)>,
}

/// The last things heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The newest block.
    pub(crate) block: u64,
    /// The chain's time.
    pub(crate) now: UnixTime,
    /// What the chain said about each case.
    pub(crate) disputes: BTreeMap<JobId, OnChain>,
    /// Cases whose answer is out of date.
    pub(crate) stale: BTreeSet<JobId>,
    /// Members of the sets of all cases.
    pub(crate) members: BTreeMap<MediatorSetId, Vec<Address>>,
    pub(crate) account: Option<Account>,
    /// Machines, if the host answered the last time it was asked.
    pub(crate) machines: Option<BTreeMap<MachineId, MachineView>>,
    /// Last block whose events are cases.
    pub(crate) followed: u64,
}

/// Shared by the mediator's parts.
pub(crate) struct State {
    pub(crate) me: Address,
    /// What the names of its machines end in.
    pub(crate) mark: Mark,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) providers: Arc<dyn Providers>,
    pub(crate) store: Store,
    pub(crate) archives: Archives,
    pub(crate) wake: Notify,
    cases: Mutex<BTreeMap<JobId, Case>>,
    heard: Mutex<Heard>,
}

/// Loading failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the mediator's journal cannot be read")]
    Store(#[from] StoreError),
    #[error("the mediator's journal was written by another version")]
    Entry(#[from] BadEntry),
}

/// What the state is made over.
pub(crate) struct Outside {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) providers: Arc<dyn Providers>,
    pub(crate) store: Store,
    pub(crate) archives: Archives,
}

impl State {
    /// Takes up what a former process left.
    pub(crate) async fn load(me: Address, outside: Outside) -> Result<Self, LoadError> {
        let Outside { ledger, host, providers, store, archives } = outside;
        let mut cases = BTreeMap::new();
        for entry in store.journal().open_entries().await? {
            if entry.kind == KIND {
                let case = Case::from_entry(&entry)?;
                cases.insert(case.id(), case);
            }
        }
        let heard = Heard { stale: cases.keys().copied().collect(), ..Heard::default() };
        let (cases, heard) = (Mutex::new(cases), Mutex::new(heard));
        let network = ledger.domain();
        let mark = Mark::of(me, network.chain_id, network.contract);
        Ok(Self { me, mark, ledger, host, providers, store, archives, wake: Notify::new(), cases, heard })
    }

    pub(crate) fn cases(&self) -> MutexGuard<'_, BTreeMap<JobId, Case>> {
        // A panic elsewhere leaves a map of complete values.
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn case(&self, id: JobId) -> Option<Case> {
        self.cases().get(&id).cloned()
    }

    /// Opens a case within `tx`; the caller shows it with [`State::show`] once that is committed.
    ///
    /// Where blocks were replaced, a number may be another dispute's now. What was done for the former one is set aside.
    pub(crate) async fn open_case(&self, tx: &mut Tx, raised: Raised) -> Result<Option<Case>, StoreError> {
        let key = key(raised.job);
        let begun = tx.begin_entry(&key, KIND, &raised, |known| *known == raised).await?;
        let mut case = Case::new(raised);
        match begun {
            Begun::New => {}
            // Open: already in memory. Finished: long over.
            Begun::Known => return Ok(None),
            Begun::Instead => {
                tracing::warn!(job = %case.id(), "blocks were replaced, and this number is another dispute's now");
                let (step, how_far) = Note::Foreign.step();
                tx.record_step(&key, step, how_far, &Note::Foreign).await?;
                case.learn(&Note::Foreign);
            }
        }
        Ok(Some(case))
    }

    pub(crate) fn show(&self, case: Case) {
        // Of a former dispute of this number, too.
        self.forget(case.id());
        self.heard().stale.insert(case.id());
        self.cases().insert(case.id(), case);
    }

    /// Forgets what was heard about a dispute.
    fn forget(&self, id: JobId) {
        let mut heard = self.heard();
        heard.disputes.remove(&id);
        heard.stale.remove(&id);
    }

    /// Writes a note to the journal, then learns it.
    pub(crate) async fn note(&self, id: JobId, note: Note) -> Result<(), StoreError> {
        let (step, how_far) = note.step();
        self.store.journal().record(&key(id), step, how_far, &note).await?;
        if let Some(case) = self.cases().get_mut(&id) {
            case.learn(&note);
        }
        Ok(())
    }

    /// Closes a case for good.
    pub(crate) async fn finish(&self, id: JobId) -> Result<(), StoreError> {
        self.store.journal().finish(&key(id)).await?;
        self.cases().remove(&id);
        self.forget(id);
        Ok(())
    }
}

impl Heard {
    /// What the host says about a machine.
    pub(crate) fn on_host(&self, id: &MachineId) -> OnHost<'_> {
        match &self.machines {
            None => OnHost::Silent,
            Some(machines) => machines.get(id).map_or(OnHost::Absent, OnHost::Here),
        }
    }

    /// Takes in what the chain says about a dispute.
    pub(crate) fn hear(&mut self, id: JobId, dispute: DisputeRecord) {
        let before = self.disputes.get(&id).filter(|known| known.dispute.stage == dispute.stage);
        let stage_since = before.map_or(self.block, |known| known.stage_since);
        self.disputes.insert(id, OnChain { dispute, stage_since });
    }
}

/// The journal key of a dispute.
pub(crate) fn key(id: JobId) -> String {
    format!("dispute/{id}")
}
