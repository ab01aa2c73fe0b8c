//! What the agent's parts share: the cases in memory, the last answers of chain and host, and the journal behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sublet_base::{Address, B256, MachineId, UnixTime};
use sublet_chain::{Ledger, ProviderRecord};
use sublet_client::Host;
use sublet_store::{BadEntry, Begun, Expect, Store, StoreError, Tx};
use sublet_wire::host::MachineView;
use sublet_wire::link::Agreement;
use sublet_wire::workload::Mark;
use tokio::sync::Notify;

use crate::case::{Case, KIND, Note, Opened, machine_of};
use crate::decide::{OnChain, OnHost};
use crate::execute::ExecuteError;
use crate::offers::Signed;
use crate::panel::Panels;

/// Documents: every offer ever signed, by hash.
pub(crate) const SIGNED: &str = "signed-offer";
/// Documents: the offer that stands, by its name in the configuration.
pub(crate) const STANDING: &str = "standing-offer";
/// Documents: an offer that is being cancelled, by its name in the configuration. It may still be opened.
pub(crate) const LEAVING: &str = "leaving-offer";
/// Documents: the info of this account's registration, by the account.
const INFO: &str = "registered-info";

/// The last things heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The chain's time.
    pub(crate) now: UnixTime,
    /// What the chain said about each case.
    pub(crate) chain: BTreeMap<Agreement, OnChain>,
    /// Cases that the chain has shown since this process started.
    shown: BTreeSet<Agreement>,
    /// Cases whose answer is out of date.
    pub(crate) stale: BTreeSet<Agreement>,
    /// The provider's own record.
    pub(crate) account: Option<ProviderRecord>,
    /// The info of the last registration, once it is known; empty if there is none.
    pub(crate) info: Option<String>,
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
    /// What the names of its machines end in.
    pub(crate) mark: Mark,
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
        let network = ledger.domain();
        Ok(Self {
            me,
            mark: Mark::of(me, network.chain_id, network.contract),
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

    /// The name of an agreement's machine.
    pub(crate) fn machine(&self, id: Agreement) -> MachineId {
        machine_of(id, &self.mark)
    }

    pub(crate) fn case(&self, id: Agreement) -> Option<Case> {
        self.cases().get(&id).cloned()
    }

    /// Opens a case within `tx`; the caller shows it with [`State::show`] once that is committed.
    ///
    /// Where blocks were replaced, a number may be another agreement's now. What was done for the former one is set aside.
    pub(crate) async fn open_case(&self, tx: &mut Tx, opened: Opened) -> Result<Option<Case>, StoreError> {
        let key = key(opened.agreement);
        let begun = tx.begin_entry(&key, KIND, &opened, |known: &Opened| known.is(&opened)).await?;
        let mut case = Case::new(opened);
        match begun {
            Begun::New => {}
            // Open: already in memory. Finished: long over.
            Begun::Known => return Ok(None),
            Begun::Instead => {
                tracing::warn!(agreement = %case.id(), "blocks were replaced, and this number is another agreement's now");
                let (step, how_far) = Note::Foreign.step();
                tx.record_step(&key, step, how_far, &Note::Foreign).await?;
                case.learn(&Note::Foreign);
            }
        }
        Ok(Some(case))
    }

    pub(crate) fn show(&self, case: Case) {
        // Of a former agreement of this number, too.
        self.forget(case.id());
        self.heard().stale.insert(case.id());
        self.cases().insert(case.id(), case);
    }

    /// Forgets what was heard about an agreement, and who may ask about it.
    fn forget(&self, id: Agreement) {
        let mut heard = self.heard();
        heard.chain.remove(&id);
        heard.shown.remove(&id);
        heard.stale.remove(&id);
        if let Agreement::Job(job) = id {
            self.panels.dismiss(job);
        }
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
        self.store.journal().finish(&key(id)).await?;
        self.cases().remove(&id);
        self.forget(id);
        Ok(())
    }

    /// The offer with this hash, if this store signed it.
    pub(crate) async fn signed(&self, hash: B256) -> Result<Option<Signed>, StoreError> {
        Ok(self.store.documents(SIGNED).get(&hash.to_string()).await?.map(|d| d.value))
    }

    /// Learns what the last registration says about us: from the store, else from the chain's old events, which takes a
    /// while. Only we register.
    pub(crate) async fn learn_info(&self) -> Result<(), ExecuteError> {
        let known = self.store.documents(INFO).get(&self.me.to_string()).await?.map(|d| d.value);
        let info: String = match known {
            Some(info) => info,
            None => self.ledger.provider_info(self.me).await?.unwrap_or_default(),
        };
        self.know_info(info).await
    }

    /// Keeps what a registration says.
    pub(crate) async fn know_info(&self, info: String) -> Result<(), ExecuteError> {
        self.store.documents(INFO).put(&self.me.to_string(), &info, Expect::Anything).await?;
        self.heard().info = Some(info);
        Ok(())
    }

    /// Another registration is about to be sent: what is known may be out of date from here on.
    pub(crate) async fn doubt_info(&self) -> Result<(), ExecuteError> {
        self.heard().info = None;
        Ok(self.store.documents(INFO).delete(&self.me.to_string(), Expect::Anything).await?)
    }
}

impl Heard {
    /// Takes in what the chain, whose head is `head`, says about a case.
    pub(crate) fn hear(&mut self, id: Agreement, answer: OnChain, head: u64) {
        let answer = match (answer, self.chain.get(&id)) {
            (OnChain::Nothing(_), _) if self.shown.contains(&id) || head < self.followed => OnChain::Nothing(None),
            (OnChain::Nothing(_), Some(OnChain::Nothing(Some(since)))) => OnChain::Nothing(Some(*since)),
            (OnChain::Nothing(_), _) => OnChain::Nothing(Some(self.now)),
            (answer @ (OnChain::Lease(_) | OnChain::Job(_) | OnChain::Disputed { .. }), _) => {
                self.shown.insert(id);
                answer
            }
        };
        self.chain.insert(id, answer);
    }

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

#[cfg(test)]
mod tests {
    use sublet_base::LeaseId;

    use super::*;
    use crate::decide::tests::lease_on_chain;

    #[test]
    fn nothing_counts_only_from_a_head_above_the_opening_and_of_what_was_never_shown() {
        let id = Agreement::Lease(LeaseId(7));
        let mut heard = Heard { now: UnixTime(100), followed: 50, ..Heard::default() };
        let mut next = |answer, head, now| {
            heard.now = UnixTime(now);
            heard.hear(id, answer, head);
            heard.chain.get(&id).cloned()
        };
        let nothing = |since: Option<u64>| Some(OnChain::Nothing(since.map(UnixTime)));
        assert_eq!(next(OnChain::Nothing(None), 49, 100), nothing(None), "a node that lags");
        assert_eq!(next(OnChain::Nothing(None), 50, 101), nothing(Some(101)));
        assert_eq!(next(OnChain::Nothing(None), 51, 110), nothing(Some(101)), "ever since");
        assert_eq!(next(OnChain::Nothing(None), 49, 120), nothing(None));
        assert_eq!(next(OnChain::Nothing(None), 52, 130), nothing(Some(130)), "afresh");
        assert!(matches!(next(lease_on_chain(), 53, 140), Some(OnChain::Lease(_))));
        assert_eq!(next(OnChain::Nothing(None), 54, 150), nothing(None), "shown once, it exists");
    }
}
