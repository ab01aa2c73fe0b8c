//! A host in memory that outlives the agent, like the real one does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
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

pub const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGvhhbEsKTQJz+9BqU8B1FdRgBE3pDBh5U1TADY8EBVV";

#[derive(Clone, Default)]
pub struct MemoryHost {
    machines: Arc<Mutex<BTreeMap<MachineId, (MachineView, Workload)>>>,
    pub created: Arc<Mutex<Vec<MachineId>>>,
    /// While set, machines are never made.
    pub makes_nothing: Arc<AtomicBool>,
    /// While set, nothing is answered.
    pub says_nothing: Arc<AtomicBool>,
}

async fn hang_if(hangs: &AtomicBool) {
    if hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
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

    pub fn put_orphan(&self, name: &str) {
        let id: MachineId = name.parse().expect("a name");
        let view = view(&id, &request(&id));
        self.lock().insert(id, (view, Workload::Login { authorized_keys: vec![] }));
    }

    fn of(&self, id: &MachineId) -> Result<MachineView, HostError> {
        self.lock().get(id).map(|m| m.0.clone()).ok_or_else(|| HostError::NotFound(format!("no {id}")))
    }
}

fn request(id: &MachineId) -> MachineRequest {
    let image = sublet_machine::ImageRef { name: "x".into(), digest: sublet_base::Digest([0; 32]) };
    let guest = sublet_wire::guest::Configure {
        hostname: "x".into(),
        workload: Workload::Login { authorized_keys: vec![] },
        env: vec![],
        files: vec![],
        pids: 64,
    };
    MachineRequest {
        id: id.clone(),
        resources: size(1),
        image,
        driver: None,
        guest,
        clock: sublet_machine::Clock::Host,
    }
}

fn size(times: u32) -> Resources {
    Resources { vcpus: Vcpus(times), memory: MiB(512 * times), disk: GiB(4 * times), pids: 8192 * times }
}

fn view(id: &MachineId, request: &MachineRequest) -> MachineView {
    MachineView {
        id: id.clone(),
        driver: DriverKind::Fake,
        resources: request.resources,
        image: request.image.clone(),
        phase: Phase::Stopped,
        guest: Guest::Silent,
        result: None,
        kernel: Some("6.1".into()),
    }
}

#[async_trait]
impl Host for MemoryHost {
    async fn report(&self) -> Result<HostReport, HostError> {
        Ok(HostReport { total: size(8), free: size(8), drivers: vec![] })
    }

    async fn list(&self) -> Result<Vec<MachineView>, HostError> {
        hang_if(&self.says_nothing).await;
        Ok(self.lock().values().map(|m| m.0.clone()).collect())
    }

    async fn changes(&self) -> Result<BoxStream<'static, ()>, HostError> {
        Ok(futures_util::stream::pending().boxed())
    }

    async fn create(&self, request: MachineRequest) -> Result<MachineView, HostError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        hang_if(&self.makes_nothing).await;
        let id = request.id.clone();
        self.created.lock().expect("as above").push(id.clone());
        let made = view(&id, &request);
        self.lock().entry(id.clone()).or_insert((made, request.guest.workload));
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.of(&id)
    }

    async fn start(&self, id: &MachineId) -> Result<MachineView, HostError> {
        let mut machines = self.lock();
        let (view, workload) = machines.get_mut(id).ok_or_else(|| HostError::NotFound(format!("no {id}")))?;
        if view.phase != Phase::Stopped {
            return Err(HostError::WrongPhase("it is not stopped".into()));
        }
        match workload {
            Workload::Login { .. } => {
                view.phase = Phase::Running;
                view.guest = Guest::Ready { ssh_host_key: HOST_KEY.into() };
            }
            Workload::Task { argv, .. } => {
                let bytes = archive(argv);
                view.guest = Guest::Exited { code: 0 };
                let (hash, bytes) = (keccak256(&bytes), bytes.len() as u64);
                view.result = Some(TaskResult { exit_code: 0, bytes, hash, seconds: Seconds(3) });
            }
        }
        Ok(view.clone())
    }

    async fn stop(&self, id: &MachineId, _: Seconds) -> Result<MachineView, HostError> {
        if let Some((view, _)) = self.lock().get_mut(id) {
            (view.phase, view.guest) = (Phase::Stopped, Guest::Silent);
        }
        self.of(id)
    }

    async fn delete(&self, id: &MachineId) -> Result<(), HostError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.lock().remove(id);
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(())
    }

    async fn set_keys(&self, id: &MachineId, _: Vec<String>) -> Result<MachineView, HostError> {
        self.of(id)
    }

    async fn connect(&self, id: &MachineId, _: u16) -> Result<ByteStream, HostError> {
        self.of(id)?;
        let (ours, theirs) = tokio::io::duplex(1024);
        // An echo service.
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(theirs);
            tokio::io::copy(&mut reader, &mut writer).await.ok();
        });
        Ok(Box::new(ours))
    }

    async fn logs(&self, id: &MachineId, _: LogSource, _: bool) -> Result<ByteSource, HostError> {
        self.of(id)?;
        Ok(Box::new(std::io::Cursor::new(b"booted".to_vec())))
    }

    async fn result(&self, id: &MachineId) -> Result<ByteSource, HostError> {
        match self.lock().get(id) {
            Some((_, Workload::Task { argv, .. })) => Ok(Box::new(std::io::Cursor::new(archive(argv)))),
            Some((_, Workload::Login { .. })) | None => Err(HostError::WrongPhase("no result".into())),
        }
    }
}
