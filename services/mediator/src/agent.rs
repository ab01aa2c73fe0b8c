//! The mediator's loop: look at chain and host, decide, do. One action at a time for each dispute, many disputes at once,
//! and beside them the questions to their providers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use sublet_base::{Amount, JobId, MachineId, PeerKey, Seconds, UnixTime};
use sublet_chain::{Call, DisputeRecord, Head, ReadError, TxKey};
use sublet_client::HostError;
use sublet_daemon::{Backoff, BoxError, CancellationToken, Chores, Failed, SuperviseError, Supervisor};
use sublet_market::MediatorSetId;
use sublet_wire::host::MachineView;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::account::{AccountAction, AccountView, Standing, decide_account};
use crate::archives::Archives;
use crate::ask::{Bounds, ask};
use crate::case::{Case, machine_of};
use crate::config::MediatorConfig;
use crate::decide::{Action, Policy, Seen, decide, orphans, patience, turn_of, wanted};
use crate::execute::{ExecuteError, execute};
use crate::follow::follow;
use crate::peer::Peers;
use crate::ports::Ports;
use crate::prune::prune;
use crate::state::{Account, Outside, State};

/// Looks at the host, and at what is due, this often.
const TICK: Duration = Duration::from_secs(1);
/// Asks the chain again about something that gave no event, this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A host that says nothing for this long is silent: nothing else waits for it.
const HOST_ANSWERS: Duration = Duration::from_secs(5);
/// Questions to the chain at once.
const READS: usize = 16;
/// Work under way may take this long to end when stopping; the next start goes on with it otherwise.
const DRAIN: Duration = Duration::from_secs(10);
const RETRY: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(30), attempts: 0 };
/// A provider is asked this many times in the time it is given.
const ASKS: u32 = 30;
/// And no more often, no more seldom than this.
const ASK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// How long one answer may take, within the same bounds as the time it is given suggests.
const ANSWER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Why a mediator does not run, or stopped.
#[derive(Debug, Error)]
pub enum MediatorError {
    /// What it knew cannot be taken up.
    #[error("the mediator cannot start")]
    Start(#[source] BoxError),
    /// A part failed.
    #[error("the mediator stopped")]
    Stopped(#[from] SuperviseError),
}

/// Runs a mediator until `shutdown`. Machines run on afterwards; the next start adopts them.
///
/// # Errors
/// [`MediatorError`].
pub async fn run(config: MediatorConfig, ports: Ports, shutdown: CancellationToken) -> Result<(), MediatorError> {
    config.check().map_err(|e| MediatorError::Start(e.into()))?;
    let Ports { ledger, host, providers, store, archives, link } = ports;
    let me = ledger.account().ok_or_else(|| MediatorError::Start("the ledger was opened without an account".into()))?;
    let policy = config.policy(&ledger.rules());
    let outside = Outside { ledger, host, providers, store, archives: Archives::new(archives) };
    let loaded = State::load(me, outside).await;
    let state = Arc::new(loaded.map_err(|e| MediatorError::Start(e.into()))?);
    let known = state.cases().len();
    tracing::info!(account = %me, disputes = known, "mediator starts");
    let config = Arc::new(config);
    let mut tasks = Supervisor::new();
    tasks.spawn("watch", |stop| watch(state.clone(), stop));
    tasks.spawn("follow", |stop| follow(state.clone(), config.sets.clone(), config.from_block, stop));
    let worker = Worker::new(state.clone(), config.clone(), policy, link.peer_key());
    tasks.spawn_with_grace("work", DRAIN + TICK, |stop| worker.run(stop));
    tasks.spawn("prune", |stop| prune(state.clone(), stop));
    let peers = Arc::new(Peers::new(state));
    tasks.spawn("link", |stop| async move {
        link.serve(peers, stop).await;
        Ok(())
    });
    Ok(tasks.run(shutdown).await?)
}

/// Wakes the loop when a machine changes; and finds out at the start what the host can do, which takes a while.
async fn watch(state: Arc<State>, stop: CancellationToken) -> Result<(), BoxError> {
    let watching = async {
        match state.host.report().await {
            Ok(report) if report.drivers.iter().all(|driver| driver.state.is_err()) && !report.drivers.is_empty() => {
                tracing::error!("no driver of the host works, so no job can be run again; see `sublet doctor`");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "the host does not answer yet"),
        }
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

/// What is worked on, one thing at a time each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Dispute(JobId),
    Question(JobId),
    Orphan(MachineId),
    Host,
    Account,
}

/// What is done about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Dispute(Action),
    Ask,
    RemoveOrphan,
    WaitForHost,
    Account(AccountAction),
}

struct Worker {
    state: Arc<State>,
    config: Arc<MediatorConfig>,
    policy: Policy,
    peer_key: PeerKey,
    chores: Chores<Subject, Step, ExecuteError>,
    /// When the chain was asked last about a dispute, if nothing was done about it since.
    looked: HashMap<JobId, Instant>,
    /// When a provider may be asked next.
    next_question: HashMap<JobId, Instant>,
    account_asked: Option<Instant>,
    posted: bool,
    /// Said once, not every second.
    complaint: String,
    head: Option<(Head, Instant)>,
    /// The head when this process first saw the chain: orphans are judged once events up to it are cases.
    first_head: Option<u64>,
    chain_down: bool,
    host_down: bool,
}

impl Worker {
    fn new(state: Arc<State>, config: Arc<MediatorConfig>, policy: Policy, peer_key: PeerKey) -> Self {
        Self {
            state,
            config,
            policy,
            peer_key,
            chores: Chores::new(RETRY),
            looked: HashMap::new(),
            next_question: HashMap::new(),
            account_asked: None,
            posted: false,
            complaint: String::new(),
            head: None,
            first_head: None,
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
        if !self.chores.drain(DRAIN).await {
            tracing::warn!("left work under way; the next start goes on with it");
        }
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
            Subject::Dispute(id) => drop(self.looked.remove(&id)),
            Subject::Account => self.account_asked = None,
            Subject::Question(_) | Subject::Orphan(_) | Subject::Host => {}
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
        let machines = match answer {
            Ok(machines) => Some(machines.into_iter().map(|m| (m.id.clone(), m)).collect()),
            Err(error) => {
                tracing::warn!(error = %error, "the host does not answer");
                None
            }
        };
        self.state.heard().machines = machines;
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
            (heard.now, heard.block) = (now, head.block.number);
        }
        if self.account_asked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.look_at_account().await?;
        }
        self.look_at_disputes().await;
        Ok(now)
    }

    /// Asks about several at once. One that cannot be read is asked about again; the others do not wait for it.
    async fn look_at_disputes(&mut self) {
        let state = self.state.clone();
        let questions = self.due().into_iter().map(|id| {
            let state = state.clone();
            async move { (id, read(&state, id).await) }
        });
        let mut answers = stream::iter(questions).buffer_unordered(READS);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(Some(dispute)) => {
                    self.state.heard().hear(id, dispute);
                    self.looked.insert(id, Instant::now());
                }
                Ok(None) => {}
                Err(error) => {
                    self.looked.remove(&id);
                    tracing::debug!(job = %id, error = %error, "could not be asked about");
                }
            }
        }
    }

    async fn look_at_account(&mut self) -> Result<(), ReadError> {
        let (ledger, me) = (&self.state.ledger, self.state.me);
        let (record, free) = (ledger.mediator(me).await?, ledger.free_of(me).await?);
        let mut sets = Vec::new();
        for set in &self.config.sets {
            let known = ledger.mediator_set(*set).await?;
            sets.push((*set, known.map_or(Standing::Foreign, |known| Standing::of(&known, me))));
        }
        self.posted |= record.as_ref().is_some_and(|r| r.bond >= self.config.bond);
        self.state.heard().account = Some(Account { record, free, sets });
        self.account_asked = Some(Instant::now());
        Ok(())
    }

    /// Cases to ask the chain about. Each is taken off the stale ones before it is asked about, so no event is missed.
    fn due(&mut self) -> Vec<JobId> {
        let ids: BTreeSet<_> = self.state.cases().keys().copied().collect();
        self.looked.retain(|id, _| ids.contains(id));
        self.next_question.retain(|id, _| ids.contains(id));
        let mut heard = self.state.heard();
        let old = |id: &JobId| self.looked.get(id).is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        ids.into_iter().filter(|id| heard.stale.remove(id) || old(id)).collect()
    }

    fn work(&mut self, now: UnixTime) {
        self.work_on_account();
        let cases = self.state.cases().clone();
        for case in cases.values() {
            self.work_on_question(case, now);
            self.work_on_dispute(case, now);
        }
        self.work_on_orphans(&cases);
    }

    fn work_on_dispute(&mut self, case: &Case, now: UnixTime) {
        let (id, me) = (case.id(), self.state.me);
        let subject = Subject::Dispute(id);
        // Never decide on what was read before our own last action: `looked` is empty until it is read again.
        if self.chores.is_busy(&subject) || !self.looked.contains_key(&id) {
            return;
        }
        let action = {
            let heard = self.state.heard();
            let seen = heard.disputes.get(&id).map(|known| Seen {
                dispute: &known.dispute,
                block: heard.block,
                stage_since: known.stage_since,
                now,
                turn: heard.members.get(&case.raised.set).map_or(0, |members| turn_of(members, me, id)),
            });
            decide(case, me, seen, heard.on_host(&machine_of(id, &self.state.mark)), &self.policy)
        };
        let Some(action) = action else { return };
        let step = Step::Dispute(action.clone());
        if !self.chores.may(&subject, &step) {
            return;
        }
        tracing::debug!(job = %id, ?action, "decided");
        self.looked.remove(&id);
        let (state, driver, case) = (self.state.clone(), self.config.driver, case.clone());
        self.chores.start(subject, step, async move {
            let result = execute(&state, driver, &case, action).await;
            state.wake.notify_one();
            result
        });
    }

    fn work_on_question(&mut self, case: &Case, now: UnixTime) {
        let id = case.id();
        let subject = Subject::Question(id);
        if !self.chores.may(&subject, &Step::Ask) || self.next_question.get(&id).is_some_and(|at| Instant::now() < *at)
        {
            return;
        }
        let given = {
            let heard = self.state.heard();
            let known = heard.disputes.get(&id).map(|known| &known.dispute);
            known.filter(|dispute| wanted(case, dispute, self.state.me)).map(|dispute| patience(dispute, &self.policy))
        };
        let Some(given) = given else { return };
        let asked = case.silence.map_or(0, |silence| silence.times);
        self.next_question.insert(id, Instant::now() + next_question(given, asked));
        let bounds = Bounds {
            answer: share(given, self.policy.asks, ANSWER),
            archive: Duration::from_secs(given.0.into()).max(ANSWER.0),
            most: self.config.max_archive(),
            gap: gap(given),
        };
        let (state, case) = (self.state.clone(), case.clone());
        self.chores.start(subject, Step::Ask, async move {
            let result = ask(&state, &case, bounds, now).await;
            state.wake.notify_one();
            Ok(result?)
        });
    }

    fn work_on_orphans(&mut self, cases: &BTreeMap<JobId, Case>) {
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
                tracing::warn!(machine = %id, "belongs to no dispute; removing it");
                let state = self.state.clone();
                self.chores.start(subject, Step::RemoveOrphan, async move { Ok(state.host.delete(&id).await?) });
            }
        }
    }

    fn work_on_account(&mut self) {
        if self.chores.is_busy(&Subject::Account) || self.account_asked.is_none() {
            return;
        }
        let action = {
            let heard = self.state.heard();
            let Some(account) = &heard.account else { return };
            let view = AccountView {
                record: account.record.as_ref(),
                free: account.free,
                peer_key: self.peer_key,
                sets: &account.sets,
                posted: self.posted,
            };
            decide_account(&view, &self.config.account_policy())
        };
        let Some(action) = action else { return self.complain("") };
        let step = Step::Account(action.clone());
        if !self.chores.may(&Subject::Account, &step) {
            return;
        }
        let (name, call) = match action {
            AccountAction::Missing(short) => return self.complain_of(short),
            AccountAction::Register { add } => {
                ("register".to_owned(), Call::RegisterMediator { peer_key: self.peer_key, bond: add })
            }
            AccountAction::Join(set) => (format!("join/{}", set.0), Call::JoinSet(set)),
            AccountAction::Withdraw(amount) => (format!("withdraw/{}", amount.0), Call::Withdraw(amount)),
        };
        let state = self.state.clone();
        self.account_asked = None;
        self.chores.start(Subject::Account, step, async move {
            let landed = state.ledger.submit(&TxKey::passing(format!("mediator/{name}")), &call).await?;
            tracing::info!(call = name, tx = %landed.tx, "done on chain");
            state.wake.notify_one();
            Ok(())
        });
    }

    fn complain_of(&mut self, short: Amount) {
        let text = format!("{short} SUB are missing for the bond: deposit them, and it goes on by itself");
        self.complain(&text);
    }

    fn complain(&mut self, text: &str) {
        if self.complaint != text {
            self.complaint = text.to_owned();
            if !text.is_empty() {
                tracing::error!("{text}");
            }
        }
    }
}

/// How long after a question in vain the next one comes: soon at first, since a provider may hear of the draw later than we.
fn next_question(given: Seconds, asked: u32) -> Duration {
    let soon = ASK_EVERY.0.saturating_mul(2u32.saturating_pow(asked));
    share(given, ASKS, ASK_EVERY).min(soon)
}

/// Questions in vain follow each other faster than this, a look at a silent host between them, or it was we who did not ask.
fn gap(given: Seconds) -> Seconds {
    let between = share(given, ASKS, ASK_EVERY) + HOST_ANSWERS;
    Seconds(u32::try_from(2 * between.as_secs()).unwrap_or(u32::MAX))
}

async fn list(state: &State) -> Result<Vec<MachineView>, HostError> {
    let late = |_| Err(HostError::Unavailable(format!("no word within {} s", HOST_ANSWERS.as_secs())));
    timeout(HOST_ANSWERS, state.host.list()).await.unwrap_or_else(late)
}

async fn read(state: &State, id: JobId) -> Result<Option<DisputeRecord>, ReadError> {
    let Some(dispute) = state.ledger.dispute(id).await? else { return Ok(None) };
    learn_members(state, dispute.mediator_set).await?;
    Ok(Some(dispute))
}

/// Sets never change.
async fn learn_members(state: &State, set: MediatorSetId) -> Result<(), ReadError> {
    if !state.heard().members.contains_key(&set) {
        let members = state.ledger.mediator_set(set).await?.map(|known| known.members).unwrap_or_default();
        state.heard().members.insert(set, members);
    }
    Ok(())
}

/// A part of some time, within bounds.
fn share(whole: Seconds, parts: u32, (least, most): (Duration, Duration)) -> Duration {
    (Duration::from_secs(whole.0.into()) / parts.max(1)).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_follow_each_other_quickly_at_first() {
        let pauses = |given| [0, 1, 2, 5, 40].map(|asked| next_question(Seconds(given), asked).as_secs());
        assert_eq!(pauses(900), [1, 2, 4, 30, 30]);
        assert_eq!(pauses(5), [1, 1, 1, 1, 1]);
        assert_eq!(pauses(1_000_000), [1, 2, 4, 32, 600]);
    }
}
