//! Every machine of the host: who owns it, what it has taken, and what is to be done when the host starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sublet_base::MachineId;
use sublet_daemon::with_causes;
use sublet_machine::{Denied, Driver, DriverKind, Event, Phase};
use sublet_wire::host::{DriverReport, HostReport, MachineRequest};
use thiserror::Error;
use tokio::sync::{OnceCell, Semaphore, broadcast, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::archive::Folder;
use crate::choose::{NoDriver, choose};
use crate::ledger::{Ledger, Refused};
use crate::machine::{Ask, AskError, Handle, Owner};
use crate::{HostConfig, PortError, Ports, Record, connect};

/// What owners and the interface share.
pub(crate) struct Shared {
    pub(crate) config: HostConfig,
    pub(crate) ports: Ports,
    machines: Mutex<BTreeMap<MachineId, Handle>>,
    ledger: Mutex<Ledger>,
    changes: broadcast::Sender<MachineId>,
    /// Set once the drivers have been asked.
    probed: OnceCell<()>,
    /// What they said last.
    reports: Mutex<Vec<DriverReport>>,
    /// They are being asked again.
    asking: AtomicBool,
    /// Held while a name is being taken.
    naming: tokio::sync::Mutex<()>,
    owners: TaskTracker,
    stop: CancellationToken,
    /// Turns to dial into a machine.
    pub(crate) turns: Arc<Semaphore>,
}

/// How a request fails.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("there is no machine {0}")]
    NotFound(MachineId),
    #[error("machine {0} exists already and is another")]
    Taken(MachineId),
    #[error(transparent)]
    NoRoom(#[from] Refused),
    #[error(transparent)]
    NoDriver(#[from] NoDriver),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("could not store the machine, so it was not created")]
    NotStored(#[source] PortError),
    #[error("could not {0}: {1}")]
    Failed(&'static str, String),
    #[error("the host is stopping")]
    Stopping,
}

impl Shared {
    pub(crate) fn new(config: HostConfig, ports: Ports, ledger: Ledger, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            config,
            ports,
            machines: Mutex::default(),
            ledger: Mutex::new(ledger),
            changes: broadcast::channel(256).0,
            probed: OnceCell::new(),
            reports: Mutex::default(),
            asking: AtomicBool::new(false),
            naming: tokio::sync::Mutex::default(),
            owners: TaskTracker::new(),
            stop,
            turns: connect::turns(),
        })
    }

    /// Takes up what an earlier host left: adopts machines, finishes what was under way, removes what nobody knows.
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<(), PortError> {
        let records = self.ports.records.load().await?;
        let known: BTreeSet<MachineId> = records.iter().map(|record| record.id().clone()).collect();
        for record in records {
            match self.driver(record.driver) {
                Some(driver) => {
                    locked(&self.ledger).adopt(record.id(), record.request.resources);
                    self.own(record, driver, false);
                }
                None => {
                    tracing::error!(id = %record.id(), driver = %record.driver, "a machine of a driver this host lacks")
                }
            }
        }
        self.remove_orphans(known).await;
        Ok(())
    }

    async fn remove_orphans(&self, known: BTreeSet<MachineId>) {
        let (drivers, folder) = (self.ports.drivers.clone(), self.config.data.join("machines"));
        let removed = tokio::task::spawn_blocking(move || {
            for driver in &drivers {
                let ids = driver.list().unwrap_or_else(|e| {
                    tracing::warn!(error = with_causes(&e), "could not look for orphans");
                    vec![]
                });
                for id in ids.iter().filter(|id| !known.contains(id)) {
                    tracing::warn!(%id, driver = %driver.kind(), "removing a machine nobody knows");
                    if let Err(e) = driver.delete(id) {
                        tracing::error!(%id, error = with_causes(&e), "could not remove it");
                    }
                }
            }
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            for entry in
                entries.filter(|e| !e.file_name().to_str().is_some_and(|name| known.iter().any(|k| k.as_str() == name)))
            {
                if let Err(e) = std::fs::remove_dir_all(entry.path()) {
                    tracing::error!(path = %entry.path().display(), error = %e, "could not remove old results");
                }
            }
        });
        if let Err(e) = removed.await {
            tracing::error!(error = %e, "looking for orphans broke");
        }
    }

    /// Stops owning machines, which run on. Waits for driver calls that are under way.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        self.owners.close();
        self.owners.wait().await;
    }

    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn own(self: &Arc<Self>, record: Record, driver: Arc<dyn Driver>, new: bool) -> Handle {
        let id = record.id().clone();
        let span = tracing::info_span!("machine", %id);
        let (owner, handle) = Owner::new(record, driver, self.clone(), new);
        locked(&self.machines).insert(id.clone(), handle.clone());
        self.owners.spawn(owner.run(self.stop.clone()).instrument(span));
        self.changed(&id);
        handle
    }

    fn driver(&self, kind: DriverKind) -> Option<Arc<dyn Driver>> {
        self.ports.drivers.iter().find(|driver| driver.kind() == kind).cloned()
    }

    /// The driver of a machine.
    pub(crate) fn driver_of(&self, record: &Record) -> Result<Arc<dyn Driver>, Fault> {
        self.driver(record.driver).ok_or(Fault::NotFound(record.id().clone()))
    }

    pub(crate) fn folder(&self, id: &MachineId) -> Folder {
        Folder(self.config.data.join("machines").join(id.as_str()))
    }

    /// Tells whoever watches.
    pub(crate) fn changed(&self, id: &MachineId) {
        // Without watchers there is nobody to tell.
        self.changes.send(id.clone()).ok();
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<MachineId> {
        self.changes.subscribe()
    }

    /// A deleted machine is nobody's.
    pub(crate) fn forget(&self, id: &MachineId) {
        locked(&self.machines).remove(id);
        locked(&self.ledger).release(id);
        self.changed(id);
    }

    /// What the drivers can do, as they said last; the first time, once they have said it. Those that cannot be used are
    /// asked again meanwhile, and probe themselves no more than once a minute.
    pub(crate) async fn reports(self: &Arc<Self>) -> Vec<DriverReport> {
        self.probed.get_or_init(|| self.ask_drivers()).await;
        let reports = locked(&self.reports).clone();
        if reports.iter().any(|report| report.state.is_err()) && !self.asking.swap(true, Ordering::SeqCst) {
            let shared = self.clone();
            self.owners.spawn(async move {
                shared.ask_drivers().await;
                shared.asking.store(false, Ordering::SeqCst);
            });
        }
        reports
    }

    async fn ask_drivers(&self) {
        let found = probe_all(self.ports.drivers.clone()).await;
        let known = std::mem::replace(&mut *locked(&self.reports), found.clone());
        found.iter().filter(|report| !known.contains(report)).for_each(tell);
    }

    pub(crate) async fn report(self: &Arc<Self>) -> HostReport {
        let drivers = self.reports().await;
        let ledger = locked(&self.ledger);
        HostReport { total: ledger.total(), free: ledger.free(), drivers }
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        locked(&self.machines).values().map(|handle| handle.state.borrow().clone()).collect()
    }

    pub(crate) fn handle(&self, id: &MachineId) -> Result<Handle, Fault> {
        locked(&self.machines).get(id).cloned().ok_or_else(|| Fault::NotFound(id.clone()))
    }

    pub(crate) fn record(&self, id: &MachineId) -> Result<Record, Fault> {
        Ok(self.handle(id)?.state.borrow().clone())
    }

    /// Creates a machine, or finds the one that an equal request created.
    pub(crate) async fn create(self: &Arc<Self>, request: MachineRequest) -> Result<Record, Fault> {
        let kind = match self.handle(&request.id) {
            Ok(handle) => handle.state.borrow().driver,
            Err(_) => choose(request.driver, &request.guest.workload, &self.reports().await)?,
        };
        let handle = self.name(request, kind).await?;
        settled(handle).await
    }

    async fn name(self: &Arc<Self>, request: MachineRequest, kind: DriverKind) -> Result<Handle, Fault> {
        let _naming = self.naming.lock().await;
        if let Ok(handle) = self.handle(&request.id) {
            let record = handle.state.borrow().clone();
            return match record.life.phase() {
                // Another may have the name once this one is gone.
                phase @ (Phase::Deleting | Phase::Deleted) => Err(AskError::Denied(Denied::Busy(phase.clone())).into()),
                _ if record.request == request => Ok(handle),
                _ => Err(Fault::Taken(request.id)),
            };
        }
        if self.stop.is_cancelled() {
            return Err(Fault::Stopping);
        }
        let driver = self.driver(kind).ok_or(NoDriver::None(format!("there is no {kind} driver")))?;
        let (id, resources) = (request.id.clone(), request.resources);
        locked(&self.ledger).take(&id, resources)?;
        let record = Record::new(request, kind);
        if let Err(e) = self.ports.records.save(&record).await {
            locked(&self.ledger).release(&id);
            return Err(Fault::NotStored(e));
        }
        Ok(self.own(record, driver, true))
    }

    /// Applies an event and waits until what it began is over.
    pub(crate) async fn apply(&self, id: &MachineId, event: Event) -> Result<Record, Fault> {
        let handle = self.handle(id)?;
        self.ask(&handle, |reply| Ask::Apply(event, reply)).await?;
        settled(handle).await
    }

    pub(crate) async fn set_keys(&self, id: &MachineId, keys: Vec<String>) -> Result<Record, Fault> {
        let handle = self.handle(id)?;
        self.ask(&handle, |reply| Ask::SetKeys(keys, reply)).await?;
        let record = handle.state.borrow().clone();
        Ok(record)
    }

    /// Deletes a machine and waits until nothing is left. Harmless when absent.
    pub(crate) async fn delete(&self, id: &MachineId) -> Result<(), Fault> {
        let Ok(handle) = self.handle(id) else { return Ok(()) };
        match self.ask(&handle, |reply| Ask::Apply(Event::Delete, reply)).await {
            // Gone while we asked.
            Err(Fault::Stopping) if self.handle(id).is_err() => return Ok(()),
            asked => asked?,
        }
        let mut state = handle.state.clone();
        loop {
            let record = state.borrow_and_update().clone();
            match record.life.phase() {
                Phase::Deleted if self.handle(id).is_err() => return Ok(()),
                Phase::Failed(reason) if !record.life.is_busy() => {
                    return Err(Fault::Failed("delete the machine", reason.clone()));
                }
                _ => {}
            }
            if state.changed().await.is_err() {
                // Its owner has ended: with the machine, or with the host.
                return if self.handle(id).is_err() { Ok(()) } else { Err(Fault::Stopping) };
            }
        }
    }

    async fn ask(
        &self,
        handle: &Handle,
        ask: impl FnOnce(oneshot::Sender<Result<(), AskError>>) -> Ask,
    ) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        handle.asks.send(ask(reply)).await.map_err(|_| Fault::Stopping)?;
        Ok(answer.await.map_err(|_| Fault::Stopping)??)
    }
}

/// The machine once nothing is under way.
async fn settled(mut handle: Handle) -> Result<Record, Fault> {
    let record = handle.state.wait_for(|record| !record.life.is_busy()).await;
    record.map(|record| record.clone()).map_err(|_| Fault::Stopping)
}

async fn probe_all(drivers: Vec<Arc<dyn Driver>>) -> Vec<DriverReport> {
    let probes: Vec<_> = drivers
        .into_iter()
        .map(|driver| (driver.kind(), tokio::task::spawn_blocking(move || driver.probe())))
        .collect();
    let mut reports = Vec::new();
    for (kind, probe) in probes {
        let state = probe.await.unwrap_or_else(|e| {
            let remedy = "look at the host's log".to_owned();
            Err(sublet_machine::Unusable { reason: format!("its probe broke: {e}"), remedy })
        });
        reports.push(DriverReport { kind, state });
    }
    reports
}

fn tell(report: &DriverReport) {
    let driver = report.kind;
    match &report.state {
        Ok(can) => tracing::info!(%driver, isolation = ?can.isolation, accelerated = can.accelerated, "usable"),
        Err(unusable) => tracing::warn!(%driver, reason = %unusable, "not usable"),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
