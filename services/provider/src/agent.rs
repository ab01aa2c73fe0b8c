//! The agent's loop: look at chain and host, decide, do. One action at a time for each agreement, many agreements at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use sublet_base::{Amount, JobId, MachineId, PeerKey, UnixTime};
use sublet_chain::{Call, Head, JobState, ReadError, TxKey};
use sublet_client::HostError;
use sublet_daemon::{Backoff, BoxError, CancellationToken, Chores, Failed, SuperviseError, Supervisor};
use sublet_market::SignedAcceptance;
use sublet_wire::host::MachineView;
use sublet_wire::link::Agreement;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::config::ProviderConfig;
use crate::decide::{
    AccountAction, AccountView, Action, OnChain, Policy, Send, Till, decide, decide_account, next_settlement, orphans,
    time_left,
};
use crate::execute::{ExecuteError, execute_within};
use crate::follow::follow;
use crate::peer::Peers;
use crate::ports::Ports;
use crate::prune::prune;
use crate::publish::publish;
use crate::settle::settle;
use crate::state::State;

/// Looks at the host, and at what is due, this often.
const TICK: Duration = Duration::from_secs(1);
/// Asks the chain again about something that gave no event, this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A host that says nothing for this long is silent: nothing else waits for it.
const HOST_ANSWERS: Duration = Duration::from_secs(5);
/// Questions to the chain at once.
const READS: usize = 16;
/// Goodbye to the chain may take this long when stopping.
const GOODBYE: Duration = Duration::from_secs(5);
/// Work under way may take this long to end when stopping; the next start goes on with it otherwise.
const DRAIN: Duration = Duration::from_secs(10);
/// Below every margin before a deadline that matters.
const RETRY: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(5), attempts: 0 };

/// Why a provider does not run, or stopped.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// What it knew cannot be taken up.
    #[error("the provider cannot start")]
    Start(#[source] BoxError),
    /// A part failed.
    #[error("the provider stopped")]
    Stopped(#[from] SuperviseError),
}

/// Runs a provider until `shutdown`. Machines run on afterwards; the next start adopts them.
///
/// # Errors
/// [`ProviderError`].
pub async fn run(config: ProviderConfig, ports: Ports, shutdown: CancellationToken) -> Result<(), ProviderError> {
    config.check().map_err(|e| ProviderError::Start(e.into()))?;
    let info = config.info().map_err(|e| ProviderError::Start(e.into()))?;
    let Ports { ledger, wallet, host, boards, store, link } = ports;
    let loaded = State::load(wallet.address(), ledger, host, store).await;
    let state = Arc::new(loaded.map_err(|e| ProviderError::Start(e.into()))?);
    let known = state.cases().len();
    tracing::info!(account = %state.me, agreements = known, "provider starts");
    let config = Arc::new(config);
    let mut tasks = Supervisor::new();
    tasks.spawn("watch", |stop| watch(state.clone(), stop));
    tasks.spawn("follow", |stop| follow(state.clone(), config.from_block, stop));
    let worker = Worker::new(state.clone(), config.clone(), link.peer_key(), info);
    tasks.spawn_with_grace("work", GOODBYE + DRAIN + TICK, |stop| worker.run(stop));
    tasks.spawn("prune", |stop| prune(state.clone(), stop));
    tasks.spawn("offers", |stop| publish(state.clone(), config.clone(), wallet, boards, stop));
    let peers = Arc::new(Peers::new(state));
    tasks.spawn("link", |stop| async move {
        link.serve(peers, stop).await;
        Ok(())
    });
    Ok(tasks.run(shutdown).await?)
}

/// Wakes the loop when a machine changes, so that nobody waits for the next tick.
async fn watch(state: Arc<State>, stop: CancellationToken) -> Result<(), BoxError> {
    let watching = async {
        loop {
            if let Ok(mut changes) = state.host.changes().await {
                while changes.next().await.is_some() {
                    state.wake.notify_one();
                }
            }
            // The loop itself says when the host is gone.
            tokio::time::sleep(TICK).await;
        }
    };
    stop.run_until_cancelled(watching).await.unwrap_or(Ok(()))
}

/// What is worked on, one action at a time each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Agreement(Agreement),
    Orphan(MachineId),
    Host,
    Account,
    /// What our registration says.
    Info,
    /// All settlements: one transaction at a time.
    Till,
}

/// What is done about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Agreement(Action),
    RemoveOrphan,
    WaitForHost,
    Account(AccountAction),
    LearnInfo,
    Settle,
}

struct Worker {
    state: Arc<State>,
    config: Arc<ProviderConfig>,
    policy: Arc<Policy>,
    peer_key: PeerKey,
    info: String,
    chores: Chores<Subject, Step, ExecuteError>,
    /// When the chain was asked last about an agreement, if nothing was done about it since.
    looked: HashMap<Agreement, Instant>,
    /// Jobs that are being settled.
    settling: BTreeSet<Agreement>,
    account_asked: Option<Instant>,
    free: Amount,
    head: Option<(Head, Instant)>,
    /// The head when this process first saw the chain: orphans are judged once events up to it are cases.
    first_head: Option<u64>,
    greeted: bool,
    chain_down: bool,
    host_down: bool,
}

impl Worker {
    fn new(state: Arc<State>, config: Arc<ProviderConfig>, peer_key: PeerKey, info: String) -> Self {
        let policy = Arc::new(config.policy());
        Self {
            state,
            config,
            policy,
            peer_key,
            info,
            chores: Chores::new(RETRY),
            looked: HashMap::new(),
            settling: BTreeSet::new(),
            account_asked: None,
            free: Amount::ZERO,
            head: None,
            first_head: None,
            greeted: false,
            chain_down: false,
            host_down: false,
        }
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), BoxError> {
        while !stop.is_cancelled() {
            self.collect()?;
            if stop.run_until_cancelled(self.pass()).await.is_none() {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.state.wake.notified() => {}
                ended = self.chores.ended() => {
                    let (subject, result) = ended?;
                    self.ended(subject, result)?;
                }
                () = tokio::time::sleep(TICK) => {}
            }
        }
        self.say_goodbye().await;
        Ok(())
    }

    /// Takes in all that has ended, so that many ends cost one look.
    fn collect(&mut self) -> Result<(), BoxError> {
        while let Some(ended) = self.chores.ended().now_or_never() {
            let (subject, result) = ended?;
            self.ended(subject, result)?;
        }
        Ok(())
    }

    /// Takes no new agreements while away, and lets what is under way end.
    async fn say_goodbye(&mut self) {
        let online = self.state.heard().account.as_ref().is_some_and(|a| a.online);
        if online && !self.chain_down {
            let (key, call) = (TxKey::passing("provider/offline"), Call::SetOnline(false));
            match timeout(GOODBYE, self.state.ledger.submit(&key, &call)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(error = %error, "could not go offline"),
                Err(_) => tracing::warn!("could not go offline in time"),
            }
        }
        if !self.chores.drain(DRAIN).await {
            tracing::warn!("left work under way; the next start goes on with it");
        }
    }

    fn ended(&mut self, subject: Subject, result: Result<(), Failed<ExecuteError>>) -> Result<(), BoxError> {
        match result {
            Ok(()) => self.host_down &= subject != Subject::Host,
            // Said when it was first silent.
            Err(_) if subject == Subject::Host => {}
            // Nothing is done that is not written down first, so a full disk only has to be waited out.
            Err(Failed { error: ExecuteError::Store(error), .. }) if !error.is_full() => return Err(error.into()),
            Err(Failed { error, times, rest }) => {
                let chain = sublet_daemon::report(&error);
                tracing::warn!(?subject, times, rest_ms = rest.as_millis(), error = %chain, "will decide again");
            }
        }
        match subject {
            Subject::Agreement(id) => {
                self.looked.remove(&id);
            }
            Subject::Account => self.account_asked = None,
            Subject::Orphan(_) | Subject::Host | Subject::Info => {}
            Subject::Till => {
                for id in std::mem::take(&mut self.settling) {
                    self.looked.remove(&id);
                }
            }
        }
        Ok(())
    }

    /// Looks, decides, and sets to work.
    async fn pass(&mut self) {
        self.look_at_host().await;
        match self.look_at_chain().await {
            Ok(now) => {
                if std::mem::replace(&mut self.chain_down, false) {
                    tracing::info!("the chain answers again");
                }
                self.work(now);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.chain_down, true) {
                    tracing::warn!(error = %error, "the chain does not answer; nothing is decided until it does");
                }
            }
        }
    }

    async fn look_at_host(&mut self) {
        if self.host_down {
            return self.wait_for_host();
        }
        let answer = list(&self.state).await;
        self.host_down = answer.is_err();
        let mut heard = self.state.heard();
        match answer {
            Ok(machines) => {
                heard.machines = Some(machines.into_iter().map(|m| (m.id.clone(), m)).collect());
                heard.host_seen = heard.now;
            }
            Err(error) => {
                heard.machines = None;
                tracing::warn!(error = %error, "the host does not answer");
            }
        }
    }

    /// One that was silent is waited for beside everything else.
    fn wait_for_host(&mut self) {
        if self.chores.may(&Subject::Host, &Step::WaitForHost) {
            let state = self.state.clone();
            self.chores.start(Subject::Host, Step::WaitForHost, async move {
                list(&state).await?;
                state.wake.notify_one();
                Ok(())
            });
        }
    }

    /// Refreshes what is out of date; returns the chain's time.
    async fn look_at_chain(&mut self) -> Result<UnixTime, ReadError> {
        let head = self.state.ledger.head().await?;
        if self.head.as_ref().is_none_or(|(seen, _)| seen.block != head.block) {
            self.head = Some((head, Instant::now()));
        }
        self.first_head.get_or_insert(head.block.number);
        // A chain that only makes blocks on demand stands still, its contract's clock does not.
        let age = self.head.as_ref().map_or(0, |(_, at)| at.elapsed().as_secs());
        let now = UnixTime(head.time.0.saturating_add(age));
        {
            let mut heard = self.state.heard();
            heard.now = now;
            if heard.machines.is_some() {
                heard.host_seen = now;
            }
        }
        if self.account_asked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.look_at_account().await?;
        }
        self.look_at_cases(head.block.number).await;
        Ok(now)
    }

    async fn look_at_account(&mut self) -> Result<(), ReadError> {
        let record = self.state.ledger.provider(self.state.me).await?;
        self.free = self.state.ledger.free_of(self.state.me).await?;
        self.state.heard().account = record;
        self.account_asked = Some(Instant::now());
        Ok(())
    }

    /// Asks about several cases at once. One that cannot be read is asked about again; the others do not wait for it.
    async fn look_at_cases(&mut self, head: u64) {
        let state = self.state.clone();
        let questions = self.due().into_iter().map(|id| {
            let state = state.clone();
            async move { (id, read(&state, id, head).await) }
        });
        let mut answers = stream::iter(questions).buffer_unordered(READS);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(answer) => {
                    self.state.heard().hear(id, answer, head);
                    self.looked.insert(id, Instant::now());
                }
                Err(error) => {
                    self.looked.remove(&id);
                    tracing::debug!(agreement = %id, error = %error, "could not be asked about");
                }
            }
        }
    }

    /// Cases to ask the chain about. Each is taken off the stale ones before it is asked about, so no event is missed.
    fn due(&mut self) -> Vec<Agreement> {
        let ids: BTreeSet<_> = self.state.cases().keys().copied().collect();
        self.looked.retain(|id, _| ids.contains(id));
        let mut heard = self.state.heard();
        let old = |id: &Agreement| self.looked.get(id).is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        ids.into_iter().filter(|id| heard.stale.remove(id) || old(id)).collect()
    }

    fn work(&mut self, now: UnixTime) {
        self.work_on_account(now);
        let cases = self.state.cases().clone();
        let mut accepted = Vec::new();
        for (id, case) in &cases {
            let subject = Subject::Agreement(*id);
            // Never decide on what was read before our own last action: `looked` is empty until it is read again.
            if self.chores.is_busy(&subject) || !self.looked.contains_key(id) || self.settling.contains(id) {
                continue;
            }
            let (action, left) = {
                let heard = self.state.heard();
                let chain = heard.chain.get(id);
                let action = decide(case, chain, heard.on_host(&self.state.machine(*id)), now, &self.policy);
                (action, time_left(chain, now, &self.policy))
            };
            let Some(action) = action else { continue };
            let step = Step::Agreement(action.clone());
            if !self.chores.may(&subject, &step) {
                continue;
            }
            tracing::debug!(agreement = %id, ?action, "decided");
            if let (Agreement::Job(job), Action::Send(Send::SettleJob(acceptance))) = (id, &action) {
                accepted.push((*job, (**acceptance).clone()));
                continue;
            }
            let (state, config, policy, case) =
                (self.state.clone(), self.config.clone(), self.policy.clone(), case.clone());
            self.start(subject, step, async move {
                let result = execute_within(left, &state, &config, &policy, &case, action, now).await;
                state.wake.notify_one();
                result
            });
        }
        self.work_on_till(accepted);
        self.work_on_orphans(&cases);
    }

    fn work_on_till(&mut self, accepted: Vec<(JobId, SignedAcceptance)>) {
        let till = if self.chores.may(&Subject::Till, &Step::Settle) { Till::Idle } else { Till::Busy };
        let now = next_settlement(till, accepted);
        if now.is_empty() {
            return;
        }
        self.settling = now.iter().map(|(id, _)| Agreement::Job(*id)).collect();
        let state = self.state.clone();
        self.start(Subject::Till, Step::Settle, async move {
            let result = settle(&state, now).await;
            state.wake.notify_one();
            result
        });
    }

    fn work_on_orphans(&mut self, cases: &BTreeMap<Agreement, crate::case::Case>) {
        let found = {
            let heard = self.state.heard();
            let caught_up = self.first_head.is_some_and(|head| heard.followed >= head);
            match &heard.machines {
                Some(machines) if caught_up => orphans(cases, machines, &self.state.mark),
                Some(_) | None => return,
            }
        };
        for id in found {
            let subject = Subject::Orphan(id.clone());
            if self.chores.may(&subject, &Step::RemoveOrphan) {
                tracing::warn!(machine = %id, "belongs to no agreement; removing it");
                let state = self.state.clone();
                self.start(subject, Step::RemoveOrphan, async move { Ok(state.host.delete(&id).await?) });
            }
        }
    }

    /// Looking through old events takes a while, so nothing waits for it.
    fn work_on_info(&mut self) {
        let unknown = {
            let heard = self.state.heard();
            heard.account.is_some() && heard.info.is_none()
        };
        if unknown && !self.chores.is_busy(&Subject::Account) && self.chores.may(&Subject::Info, &Step::LearnInfo) {
            let state = self.state.clone();
            self.start(Subject::Info, Step::LearnInfo, async move {
                let result = state.learn_info().await;
                state.wake.notify_one();
                result
            });
        }
    }

    fn work_on_account(&mut self, now: UnixTime) {
        self.work_on_info();
        if self.chores.is_busy(&Subject::Account) || self.account_asked.is_none() {
            return;
        }
        let action = {
            let heard = self.state.heard();
            let view = AccountView {
                record: heard.account.as_ref(),
                registered_info: heard.info.as_deref(),
                free: self.free,
                peer_key: self.peer_key,
                info: &self.info,
                host_seen: heard.host_seen,
            };
            decide_account(&view, &self.config.account_policy(), now)
        };
        // After a start the last beat may be older than a chain that stood still can tell.
        let alive = self.state.heard().account.as_ref().is_some_and(|a| a.online) && !self.host_down;
        let action = action.or_else(|| (!self.greeted && alive).then_some(AccountAction::Beat));
        let Some(action) = action else { return };
        let step = Step::Account(action.clone());
        // What is being learnt about the last registration would be taken for the next one's.
        let learning = action == AccountAction::Register && self.chores.is_busy(&Subject::Info);
        if learning || !self.chores.may(&Subject::Account, &step) {
            return;
        }
        self.greeted |= matches!(action, AccountAction::Beat | AccountAction::GoOnline);
        let (name, call) = match action {
            AccountAction::Register => {
                ("register".to_owned(), Call::RegisterProvider { peer_key: self.peer_key, info: self.info.clone() })
            }
            AccountAction::GoOnline => ("online".to_owned(), Call::SetOnline(true)),
            AccountAction::GoOffline => ("offline".to_owned(), Call::SetOnline(false)),
            AccountAction::Beat => ("beat".to_owned(), Call::Beat),
            AccountAction::Withdraw(amount) => (format!("withdraw/{}", amount.0), Call::Withdraw(amount)),
        };
        let state = self.state.clone();
        self.start(Subject::Account, step, async move {
            let key = TxKey::passing(format!("provider/{name}"));
            if matches!(call, Call::RegisterProvider { .. }) {
                state.doubt_info().await?;
            }
            let landed = state.ledger.submit(&key, &call).await?;
            tracing::debug!(call = name, tx = %landed.tx, "done on chain");
            match call {
                Call::RegisterProvider { info, .. } => state.know_info(info).await,
                _ => Ok(()),
            }
        });
    }

    fn start(
        &mut self,
        subject: Subject,
        step: Step,
        work: impl Future<Output = Result<(), ExecuteError>> + std::marker::Send + 'static,
    ) {
        if let Subject::Agreement(id) = &subject {
            // What is known of it is out of date from here on.
            self.looked.remove(id);
        }
        self.chores.start(subject, step, work);
    }
}

async fn list(state: &State) -> Result<Vec<MachineView>, HostError> {
    let late = |_| Err(HostError::Unavailable(format!("no word within {} s", HOST_ANSWERS.as_secs())));
    timeout(HOST_ANSWERS, state.host.list()).await.unwrap_or_else(late)
}

async fn read(state: &State, id: Agreement, head: u64) -> Result<OnChain, ReadError> {
    Ok(match id {
        Agreement::Lease(id) => {
            state.ledger.lease(id).await?.map_or(OnChain::Nothing(None), |lease| OnChain::Lease(Box::new(lease)))
        }
        Agreement::Job(id) => read_job(state, id, head).await?,
    })
}

async fn read_job(state: &State, id: JobId, head: u64) -> Result<OnChain, ReadError> {
    let Some(job) = state.ledger.job(id).await? else { return Ok(OnChain::Nothing(None)) };
    if job.state != JobState::Disputed {
        state.panels.dismiss(id);
        return Ok(OnChain::Job(Box::new(job)));
    }
    let dispute = state.panels.refresh(state.ledger.as_ref(), id).await?;
    Ok(match dispute {
        Some(dispute) => OnChain::Disputed { dispute: Box::new(dispute), block: head },
        // Resolved between the two questions: the next look sees the end.
        None => OnChain::Job(Box::new(job)),
    })
}
