//! What the agent's parts share: the cases in memory, the last answers of chain and host, and the journal behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sublet_base::{Address, B256, MachineId, UnixTime};
use sublet_chain::{Ledger, ProviderRecord};
use sublet_store::{Begun, Store, StoreError, Tx};
use sublet_wire::host::MachineView;
use sublet_wire::link::Agreement;
use tokio::sync::Notify;

use crate::case::{BadEntry, Case, KIND, Note, Opened};
use crate::decide::{OnChain, OnHost};
use crate::offers::Signed;
use crate::panel::Panels;
use crate::ports::Host;

/// Documents: every offer ever signed, by hash.
pub(crate) const SIGNED: &str = "signed-offer";
/// Documents: the offer that stands, by its name in the configuration.
pub(crate) const STANDING: &str = "standing-offer";

/// The last things heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The chain's time.
    pub(crate) now: UnixTime,
    /// What the chain said about each case.
    pub(crate) chain: BTreeMap<Agreement, OnChain>,
    /// Cases whose answer is out of date.
    pub(crate) stale: BTreeSet<Agreement>,
    /// The provider's own record.
    pub(crate) account: Option<ProviderRecord>,
    /// Machines, if the host answered the last time it was asked.
    pub(crate) machines: Option<BTreeMap<MachineId, MachineView>>,
    /// When the host last answered.
    pub(crate) host_seen: UnixTime,
    /// Last block whose events are cases.
    pub(crate) followed: u64,
}

/// Shared by the agent's parts.
pub(crate) struct State {
    pub(crate) me: Address,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) store: Store,
    pub(crate) wake: Notify,
    pub(crate) panels: Panels,
    cases: Mutex<BTreeMap<Agreement, Case>>,
    heard: Mutex<Heard>,
}

/// Loading failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the agent's journal cannot be read")]
    Store(#[from] StoreError),
    #[error("the agent's journal was written by another version")]
    Entry(#[from] BadEntry),
}

impl State {
    /// Takes up what a former process left.
    pub(crate) async fn load(
        me: Address,
        ledger: Arc<dyn Ledger>,
        host: Arc<dyn Host>,
        store: Store,
    ) -> Result<Self, LoadError> {
        let mut cases = BTreeMap::new();
        for entry in store.journal().open_entries().await? {
            if entry.kind == KIND {
                let case = Case::from_entry(&entry)?;
                cases.insert(case.id(), case);
            }
        }
        let stale = cases.keys().copied().collect();
        let heard = Heard { stale, ..Heard::default() };
        Ok(Self {
            me,
            ledger,
            host,
            store,
            wake: Notify::new(),
            panels: Panels::default(),
            cases: Mutex::new(cases),
            heard: Mutex::new(heard),
        })
    }

    pub(crate) fn cases(&self) -> MutexGuard<'_, BTreeMap<Agreement, Case>> {
        // A panic elsewhere leaves a map of complete values.
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn case(&self, id: Agreement) -> Option<Case> {
        self.cases().get(&id).cloned()
    }

    /// Opens a case within `tx`; the caller shows it with [`State::show`] once that is committed.
    pub(crate) async fn open_case(&self, tx: &mut Tx, opened: Opened) -> Result<Option<Case>, StoreError> {
        match tx.begin_entry(&key(opened.agreement), KIND, &opened).await? {
            Begun::New(_) => Ok(Some(Case::new(opened))),
            // Open: already in memory. Finished: long over.
            Begun::Known(_) => Ok(None),
        }
    }

    pub(crate) fn show(&self, case: Case) {
        self.heard().stale.insert(case.id());
        self.cases().entry(case.id()).or_insert(case);
    }

    /// Writes a note to the journal, then learns it.
    pub(crate) async fn note(&self, id: Agreement, note: Note) -> Result<(), StoreError> {
        let (step, how_far) = note.step();
        self.store.journal().record(&key(id), step, how_far, &note).await?;
        if let Some(case) = self.cases().get_mut(&id) {
            case.learn(&note);
        }
        Ok(())
    }

    /// Closes a case for good.
    pub(crate) async fn finish(&self, id: Agreement) -> Result<(), StoreError> {
        self.store.journal().finish(&key(id), sublet_store::Ending::Completed).await?;
        self.cases().remove(&id);
        let mut heard = self.heard();
        heard.chain.remove(&id);
        heard.stale.remove(&id);
        if let Agreement::Job(job) = id {
            self.panels.dismiss(job);
        }
        Ok(())
    }

    /// The offer with this hash, if this store signed it.
    pub(crate) async fn signed(&self, hash: B256) -> Result<Option<Signed>, StoreError> {
        Ok(self.store.documents(SIGNED).get(&hash.to_string()).await?.map(|d| d.value))
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
}

/// The journal key of an agreement.
pub(crate) fn key(id: Agreement) -> String {
    id.to_string()
}
