//! A host in this process, over any drivers, with a client on its real socket.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sublet_base::{Digest, GiB, MiB, Vcpus};
use sublet_client::HostClient;
use sublet_daemon::CancellationToken;
use sublet_host::{Capacity, HostConfig, HostError, Images, PortError, Ports, StoredRecords};
use sublet_machine::{DiskImage, Driver, ImageConfig, ImageRef, Resources};
use sublet_store::Store;
use sublet_wire::guest::{Configure, Workload};
use sublet_wire::host::MachineRequest;
use tokio::task::JoinHandle;

/// Patience with a busy computer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One image, whatever is asked for but one digest that is never there.
pub(crate) struct OneImage(pub(crate) PathBuf);

/// The images `make setup` cached on this computer, if it did.
pub(crate) fn cached_images() -> Option<sublet_images::ImageStore> {
    let artefacts = sublet_images::Artefacts::locate().ok()?;
    if artefacts.root().is_dir() { artefacts.store().ok() } else { None }
}

/// The digest of the image that is never there.
pub(crate) const MISSING: Digest = Digest([0xff; 32]);

impl Images for OneImage {
    fn prepare(&self, image: &ImageRef) -> Result<DiskImage, PortError> {
        if image.digest == MISSING {
            return Err("it is not on this host".into());
        }
        if let Some(store) = cached_images()
            && store.resolve(&image.name).is_ok_and(|found| found.digest == image.digest)
        {
            return Ok(store.prepare(&image.digest)?);
        }
        Ok(DiskImage { digest: image.digest, rootfs: self.0.clone(), config: ImageConfig::default() })
    }
}

pub(crate) struct Host {
    pub(crate) client: HostClient,
    pub(crate) socket: PathBuf,
    stop: CancellationToken,
    running: JoinHandle<Result<(), HostError>>,
}

pub(crate) fn config(folder: &Path) -> HostConfig {
    let capacity = Capacity { vcpus: Some(4), memory_mib: Some(1024), disk_gib: Some(8), ..Capacity::default() };
    HostConfig {
        data: folder.join("data"),
        socket: folder.join("host.sock"),
        capacity,
        max_output_mib: 1,
        boot_timeout_seconds: 60,
    }
}

pub(crate) async fn ports(folder: &Path, drivers: Vec<Arc<dyn Driver>>) -> Ports {
    // A child that a killed host was just starting holds its locks until it has become its own program.
    let store = eventually("the store is free", async || match Store::open(&folder.join("host.sqlite")).await {
        Err(sublet_store::StoreError::InUse { .. }) => None,
        store => Some(store.expect("a store")),
    })
    .await;
    let images = Arc::new(OneImage(folder.join("image.erofs")));
    Ports { drivers, images, records: Arc::new(StoredRecords::new(&store)) }
}

impl Host {
    pub(crate) async fn start(folder: &Path, drivers: Vec<Arc<dyn Driver>>) -> Self {
        Self::start_on(folder, ports(folder, drivers).await).await
    }

    pub(crate) async fn start_on(folder: &Path, ports: Ports) -> Self {
        let config = config(folder);
        let (socket, stop) = (config.socket.clone(), CancellationToken::new());
        let running = tokio::spawn(sublet_host::run(config, ports, stop.clone()));
        let client = HostClient::new(&socket).expect("a client");
        eventually("the host answers", async || client.list().await.ok()).await;
        Self { client, socket, stop, running }
    }

    /// Stops the host in order; its machines run on.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.running).await.expect("stops in time");
        ended.expect("no panic").expect("no error");
    }
}

pub(crate) fn request(name: &str, workload: Workload) -> MachineRequest {
    let resources = Resources { vcpus: Vcpus(1), memory: MiB(128), disk: GiB(1), pids: 64 };
    MachineRequest {
        id: name.parse().expect("a name"),
        resources,
        image: ImageRef { name: "test".into(), digest: Digest([7; 32]) },
        driver: None,
        guest: Configure { hostname: name.into(), workload, env: vec![], files: vec![], pids: 64 },
        clock: sublet_machine::Clock::Host,
    }
}

pub(crate) fn task(name: &str, argv: &[&str]) -> MachineRequest {
    request(name, Workload::Task { argv: argv.iter().map(|&word| word.to_owned()).collect(), cwd: "/".into() })
}

/// Waits for something to happen.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut happens: impl FnMut() -> F) -> T {
    let wait = async {
        loop {
            if let Some(value) = happens().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"))
}
