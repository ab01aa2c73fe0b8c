//! A host in memory that outlives the mediator, like the real one does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sublet_base::{GiB, MachineId, MiB, Seconds, Vcpus, keccak256};
use sublet_client::{Host, HostError};
use sublet_machine::{DriverKind, Guest, Phase, Resources};
use sublet_wire::guest::Workload;
use sublet_wire::host::{HostReport, LogSource, MachineRequest, MachineView, TaskResult};
use sublet_wire::link::{ByteSource, ByteStream};

#[derive(Clone, Default)]
pub struct MemoryHost {
    machines: Arc<Mutex<BTreeMap<MachineId, (MachineView, Workload)>>>,
}

/// What a task's archive is here: its arguments.
pub fn archive(argv: &[String]) -> Vec<u8> {
    argv.join("\n").into_bytes()
}

impl MemoryHost {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<MachineId, (MachineView, Workload)>> {
        self.machines.lock().expect("no test panics while it holds this")
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().keys().map(ToString::to_string).collect()
    }

    fn of(&self, id: &MachineId) -> Result<MachineView, HostError> {
        self.lock().get(id).map(|m| m.0.clone()).ok_or_else(|| HostError::NotFound(format!("no {id}")))
    }
}

fn size() -> Resources {
    Resources { vcpus: Vcpus(8), memory: MiB(4096), disk: GiB(32), pids: 9999 }
}

#[async_trait]
impl Host for MemoryHost {
    async fn report(&self) -> Result<HostReport, HostError> {
        Ok(HostReport { total: size(), free: size(), drivers: vec![] })
    }

    async fn list(&self) -> Result<Vec<MachineView>, HostError> {
        Ok(self.lock().values().map(|m| m.0.clone()).collect())
    }

    async fn changes(&self) -> Result<BoxStream<'static, ()>, HostError> {
        Ok(futures_util::stream::pending().boxed())
    }

    async fn create(&self, request: MachineRequest) -> Result<MachineView, HostError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let made = MachineView {
            id: request.id.clone(),
            driver: DriverKind::Fake,
            resources: request.resources,
            image: request.image,
            phase: Phase::Stopped,
            guest: Guest::Silent,
            result: None,
            kernel: None,
        };
        self.lock().entry(request.id.clone()).or_insert((made, request.guest.workload));
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.of(&request.id)
    }

    async fn start(&self, id: &MachineId) -> Result<MachineView, HostError> {
        let mut machines = self.lock();
        let (view, workload) = machines.get_mut(id).ok_or_else(|| HostError::NotFound(format!("no {id}")))?;
        let Workload::Task { argv, .. } = workload else { return Err(HostError::Invalid("no task".into())) };
        let bytes = archive(argv);
        view.guest = Guest::Exited { code: 0 };
        let (hash, bytes) = (keccak256(&bytes), bytes.len() as u64);
        view.result = Some(TaskResult { exit_code: 0, bytes, hash, seconds: Seconds(3) });
        Ok(view.clone())
    }

    async fn stop(&self, id: &MachineId, _: Seconds) -> Result<MachineView, HostError> {
        self.of(id)
    }

    async fn set_keys(&self, id: &MachineId, _: Vec<String>) -> Result<MachineView, HostError> {
        self.of(id)
    }

    async fn connect(&self, _: &MachineId, _: u16) -> Result<ByteStream, HostError> {
        Err(HostError::WrongPhase("nobody logs in".into()))
    }

    async fn logs(&self, _: &MachineId, _: LogSource, _: bool) -> Result<ByteSource, HostError> {
        Ok(Box::new(tokio::io::empty()))
    }

    async fn delete(&self, id: &MachineId) -> Result<(), HostError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.lock().remove(id);
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(())
    }

    async fn result(&self, id: &MachineId) -> Result<ByteSource, HostError> {
        match self.lock().get(id) {
            Some((_, Workload::Task { argv, .. })) => Ok(Box::new(std::io::Cursor::new(archive(argv)))),
            Some((_, Workload::Login { .. })) | None => Err(HostError::WrongPhase("no result".into())),
        }
    }
}
