//! The owner of one machine: the only task that changes it.
//!
//! ```text
//! asks (API) ──▶ ┌───────┐ apply ─▶ store ─▶ effects: driver calls on blocking threads, guest channel
//! guest ───────▶ │ owner │
//! looks ───────▶ └───────┘ ─▶ published state (watch), change notices
//! ```
//! One driver call is under way at a time. The owner ends when the machine is deleted, or when the host stops and no
//! call is under way; the machine itself runs on.

use std::sync::Arc;
use std::time::Duration;

use sublet_base::UnixTime;
use sublet_daemon::with_causes;
use sublet_machine::{DEFAULT_GRACE, Denied, Driver, DriverError, Effect, Event, Guest, MachineSpec, Observed, Phase};
use sublet_wire::guest::{ToGuest, Workload};
use sublet_wire::host::TaskResult;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::archive::Folder;
use crate::channel::{Channel, Heard, Setup, whole_seconds};
use crate::connect::Doors;
use crate::registry::Shared;
use crate::{PortError, Record};

/// How often a running machine is looked at, in case nobody said that it died.
const LOOK: Duration = Duration::from_secs(2);

/// Something somebody wants of a machine.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Apply the event.
    Apply(Event, oneshot::Sender<Result<(), AskError>>),
    /// Replace the login keys.
    SetKeys(Vec<String>, oneshot::Sender<Result<(), AskError>>),
}

/// Why an ask was refused.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("the machine runs a task and has no login")]
    NoLogin,
    #[error("could not store it, so nothing was done")]
    NotStored(#[source] PortError),
    #[error("the host cannot see what the machine is doing; try again, or delete it")]
    Unseen,
}

/// What others hold of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) state: watch::Receiver<Record>,
    pub(crate) doors: Doors,
}

/// What is known of a machine that was found in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// It is being looked at for the first time.
    Awaited,
    /// Looking failed, and is tried again.
    Failed,
    /// Its state is what the record says.
    Clear,
}

/// What a driver call answered.
type Outcome = Result<(), String>;

pub(crate) struct Owner {
    record: Record,
    driver: Arc<dyn Driver>,
    shared: Arc<Shared>,
    asks: mpsc::Receiver<Ask>,
    published: watch::Sender<Record>,
    channel: Option<Channel>,
    operation: Option<JoinHandle<Outcome>>,
    look: Option<JoinHandle<Result<Observed, DriverError>>>,
    sight: Sight,
    /// The stored record is older than ours.
    unsaved: bool,
}

impl Owner {
    /// An owner and its handle. A machine that is not `new` is looked at before anything else.
    pub(crate) fn new(record: Record, driver: Arc<dyn Driver>, shared: Arc<Shared>, new: bool) -> (Self, Handle) {
        let (asking, asks) = mpsc::channel(16);
        let (published, state) = watch::channel(record.clone());
        let owner = Self {
            record,
            driver,
            shared,
            asks,
            published,
            channel: None,
            operation: None,
            look: None,
            sight: if new { Sight::Clear } else { Sight::Awaited },
            unsaved: false,
        };
        (owner, Handle { asks: asking, state, doors: Doors::new() })
    }

    /// Owns the machine to its end, or the host's.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        match self.sight {
            Sight::Clear => self.perform(Effect::Create),
            Sight::Awaited | Sight::Failed => self.begin_look(),
        }
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.record.life.phase() != &Phase::Deleted || self.unsaved {
            let idle = self.operation.is_none();
            tokio::select! {
                () = stop.cancelled(), if idle => return,
                Some(outcome) = finished(&mut self.operation) => self.operation_over(outcome).await,
                Some(seen) = finished(&mut self.look) => self.looked(seen).await,
                Some(ask) = self.asks.recv(), if self.sight != Sight::Awaited && !stop.is_cancelled() => self.asked(ask).await,
                heard = hear(&mut self.channel) => self.heard(heard).await,
                _ = tick.tick() => self.tick().await,
            }
        }
        self.shared.forget(self.record.id());
    }

    async fn asked(&mut self, ask: Ask) {
        let (answer, reply) = match ask {
            Ask::Apply(event, reply) => (self.ask(event).await, reply),
            Ask::SetKeys(keys, reply) => (self.set_keys(keys).await, reply),
        };
        // Whoever asked may have gone; what was asked for still happens.
        reply.send(answer).ok();
    }

    /// Stores first: what cannot be stored does not happen.
    async fn ask(&mut self, event: Event) -> Result<(), AskError> {
        let event = match (self.sight, event) {
            (Sight::Failed, Event::Delete) => Event::DeleteUnseen,
            (Sight::Failed, _) => return Err(AskError::Unseen),
            (Sight::Awaited | Sight::Clear, event) => event,
        };
        let mut next = self.record.clone();
        let effects = next.life.apply(event)?;
        if next.life != self.record.life {
            next.trouble = None;
            if effects.contains(&Effect::Start) {
                next.started = Some(now());
                next.result = None;
                next.kernel = None;
            }
            self.shared.ports.records.save(&next).await.map_err(AskError::NotStored)?;
            self.publish(next);
        }
        self.sight = Sight::Clear;
        self.perform_all(effects);
        Ok(())
    }

    async fn set_keys(&mut self, keys: Vec<String>) -> Result<(), AskError> {
        if !matches!(self.record.request.guest.workload, Workload::Login { .. }) {
            return Err(AskError::NoLogin);
        }
        let next = Record { keys: Some(keys.clone()), ..self.record.clone() };
        self.shared.ports.records.save(&next).await.map_err(AskError::NotStored)?;
        self.publish(next);
        if let Some(channel) = &self.channel {
            channel.tell(ToGuest::SetKeys { authorized_keys: keys });
        }
        Ok(())
    }

    /// Something happened that cannot be refused. If it cannot be stored now, it is later: a restart before that finds
    /// out by looking.
    async fn happened(&mut self, event: Event, change: impl FnOnce(&mut Record)) {
        let mut next = self.record.clone();
        let effects = match next.life.apply(event) {
            Ok(effects) => effects,
            Err(denied) => return tracing::error!(%denied, "an impossible event"),
        };
        change(&mut next);
        if next != self.record {
            self.publish(next);
            self.store().await;
        }
        self.perform_all(effects);
    }

    async fn store(&mut self) {
        let records = &self.shared.ports.records;
        let stored = match self.record.life.phase() {
            Phase::Deleted => records.remove(self.record.id()).await,
            _ => records.save(&self.record).await,
        };
        self.unsaved = stored.is_err();
        if let Err(e) = stored {
            tracing::error!(error = with_causes(e.as_ref()), "could not store the machine; trying again");
        }
    }

    fn publish(&mut self, next: Record) {
        tracing::info!(phase = ?next.life.phase(), "machine");
        self.record = next.clone();
        self.published.send_replace(next);
        self.shared.changed(self.record.id());
    }

    async fn operation_over(&mut self, outcome: Outcome) {
        match outcome {
            Ok(()) => self.happened(Event::Done, |_| {}).await,
            Err(reason) => {
                tracing::warn!(%reason, phase = ?self.record.life.phase(), "failed");
                let trouble = reason.clone();
                self.happened(Event::Undone(reason), |record| record.trouble = Some(trouble)).await;
            }
        }
    }

    async fn heard(&mut self, heard: Option<Heard>) {
        match heard {
            None => self.channel = None,
            Some(Heard::Lost) => self.begin_look(),
            Some(Heard::Kernel(kernel)) => {
                // The first of a boot: a guest that names another each time would have the store written each time.
                if self.record.kernel.is_none() {
                    self.publish(Record { kernel: Some(kernel), ..self.record.clone() });
                    self.store().await;
                }
            }
            Some(Heard::Ready(ssh_host_key)) => {
                self.happened(Event::Reported(Guest::Ready { ssh_host_key }), |_| {}).await
            }
            Some(Heard::GaveUp(reason)) => self.happened(Event::Reported(Guest::GaveUp { reason }), |_| {}).await,
            Some(Heard::Broken(reason)) => self.broken(reason).await,
            Some(Heard::Exited { code, packed }) => {
                let seconds = self.record.started.map_or(0, |started| now().since(started));
                let result = TaskResult {
                    exit_code: code,
                    bytes: packed.bytes,
                    hash: packed.hash,
                    seconds: whole_seconds(seconds),
                };
                let took = move |record: &mut Record| {
                    // A stop that came first wins; then there is no result.
                    if matches!(record.life.guest(), Guest::Exited { .. }) {
                        record.result.get_or_insert(result);
                    }
                };
                self.happened(Event::Reported(Guest::Exited { code }), took).await;
            }
        }
    }

    /// The host cannot go on with a machine whose guest may be well: stopped, it can be started again. If something else
    /// is under way, whoever listens after it finds out anew.
    async fn broken(&mut self, reason: String) {
        tracing::warn!(%reason, "stopping the machine");
        if self.record.life.phase() == &Phase::Running {
            self.happened(Event::Stop(DEFAULT_GRACE), |record| record.trouble = Some(reason)).await;
        }
    }

    async fn tick(&mut self) {
        if self.unsaved {
            self.store().await;
        }
        if self.sight != Sight::Clear || matches!(self.record.life.phase(), Phase::Running | Phase::Paused) {
            self.begin_look();
        }
    }

    fn begin_look(&mut self) {
        if self.look.is_none() {
            let (driver, id) = (self.driver.clone(), self.record.id().clone());
            self.look = Some(tokio::task::spawn_blocking(move || driver.observe(&id)));
        }
    }

    async fn looked(&mut self, seen: Result<Observed, DriverError>) {
        let seen = match seen {
            Ok(seen) => seen,
            Err(e) => {
                if self.sight == Sight::Awaited {
                    self.sight = Sight::Failed;
                }
                return tracing::warn!(error = with_causes(&e), "could not look at the machine; trying again");
            }
        };
        let first = std::mem::replace(&mut self.sight, Sight::Clear) != Sight::Clear;
        let died = matches!(self.record.life.phase(), Phase::Running | Phase::Paused)
            && matches!(seen, Observed::Stopped | Observed::Absent);
        if first || died {
            tracing::info!(?seen, phase = ?self.record.life.phase(), "looked at the machine");
            let trouble = died.then(|| "the machine stopped by itself".to_owned());
            self.happened(Event::Observed(seen), |record| record.trouble = trouble.or(record.trouble.take())).await;
        }
    }

    fn perform_all(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Listen => self.listen(),
            Effect::HangUp => self.channel = None,
            Effect::Create => self.create(),
            Effect::Start => self.call(|driver, record| unless(Observed::Running, driver.start(record.id()))),
            Effect::Pause => self.call(|driver, record| unless(Observed::Paused, driver.pause(record.id()))),
            Effect::Resume => self.call(|driver, record| unless(Observed::Running, driver.resume(record.id()))),
            Effect::Stop(grace) => {
                if let Some(channel) = &self.channel {
                    channel.tell(ToGuest::Shutdown);
                }
                self.call(move |driver, record| driver.stop(record.id(), grace));
            }
            Effect::Kill => {
                let (driver, id) = (self.driver.clone(), self.record.id().clone());
                let kill = move || {
                    // The stop under way then takes its whole grace, and the delete comes after it.
                    if let Err(e) = driver.kill(&id) {
                        tracing::warn!(%id, error = with_causes(&e), "could not cut the stop short");
                    }
                };
                drop(tokio::task::spawn_blocking(kill));
            }
            Effect::Delete => {
                let folder = self.folder();
                self.operate(move |driver, record| {
                    driver.delete(record.id()).map_err(|e| with_causes(&e))?;
                    match std::fs::remove_dir_all(&folder.0) {
                        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                            Err(format!("could not remove its results: {e}"))
                        }
                        _ => Ok(()),
                    }
                });
            }
        }
    }

    fn create(&mut self) {
        let images = self.shared.ports.images.clone();
        self.operate(move |driver, record| {
            let request = &record.request;
            let image = images.prepare(&request.image).map_err(|e| {
                format!(
                    "could not prepare the image {} ({}): {}",
                    request.image.name,
                    request.image.digest,
                    with_causes(e.as_ref())
                )
            })?;
            let (hostname, clock) = (request.guest.hostname.clone(), request.clock);
            let spec = MachineSpec { id: request.id.clone(), resources: request.resources, image, hostname, clock };
            driver.create(&spec).map(drop).map_err(|e| with_causes(&e))
        });
    }

    fn call(&mut self, call: impl FnOnce(&dyn Driver, &Record) -> Result<(), DriverError> + Send + 'static) {
        self.operate(move |driver, record| call(driver, record).map_err(|e| with_causes(&e)));
    }

    fn operate(&mut self, work: impl FnOnce(&dyn Driver, &Record) -> Outcome + Send + 'static) {
        let (driver, record) = (self.driver.clone(), self.record.clone());
        let span = tracing::Span::current();
        self.operation = Some(tokio::task::spawn_blocking(move || span.in_scope(|| work(driver.as_ref(), &record))));
    }

    fn folder(&self) -> Folder {
        self.shared.folder(self.record.id())
    }

    fn has_booted(&self) -> bool {
        match self.record.request.guest.workload {
            Workload::Login { .. } => matches!(self.record.life.guest(), Guest::Ready { .. }),
            Workload::Task { .. } => self.record.kernel.is_some(),
        }
    }

    fn listen(&mut self) {
        if self.channel.is_some() {
            return;
        }
        match self.driver.prepared(self.record.id()) {
            Ok(prepared) => {
                self.channel = Some(Channel::open(Setup {
                    socket: prepared.guest_channel,
                    configure: self.record.request.guest.clone(),
                    keys: self.record.keys.clone(),
                    folder: self.folder(),
                    max_output: self.shared.config.max_output(),
                    boot_timeout: self.shared.config.boot_timeout(),
                    booted: self.has_booted(),
                }));
            }
            Err(e) => tracing::error!(error = with_causes(&e), "the machine has no guest channel"),
        }
    }
}

/// A machine that is already where the call should have led is fine: a host that was killed began the call, and what it
/// began went on without it.
fn unless(there: Observed, result: Result<(), DriverError>) -> Result<(), DriverError> {
    match result {
        Err(DriverError::WrongState { observed, .. }) if observed == there => Ok(()),
        other => other,
    }
}

/// What the call returned, once it has; waits for ever if there is none.
async fn finished<T: FromPanic>(handle: &mut Option<JoinHandle<T>>) -> Option<T> {
    match handle {
        None => std::future::pending().await,
        Some(running) => {
            let result = running.await;
            *handle = None;
            Some(result.unwrap_or_else(|e| T::from_panic(&e)))
        }
    }
}

/// A driver that panics has failed.
trait FromPanic {
    fn from_panic(error: &tokio::task::JoinError) -> Self;
}

impl FromPanic for Outcome {
    fn from_panic(error: &tokio::task::JoinError) -> Self {
        Err(format!("the driver broke: {error}"))
    }
}

impl FromPanic for Result<Observed, DriverError> {
    fn from_panic(error: &tokio::task::JoinError) -> Self {
        Err(DriverError::NoRoom(format!("the driver broke: {error}")))
    }
}

async fn hear(channel: &mut Option<Channel>) -> Option<Heard> {
    match channel {
        None => std::future::pending().await,
        Some(channel) => channel.next().await,
    }
}

fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.map_or(0, |length| length.as_secs()))
}
