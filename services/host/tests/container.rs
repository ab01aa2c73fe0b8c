//! The host with real containers, in a process of its own that is killed at bad moments. Needs the guest's init
//! (`SUBLET_GUEST_INIT`, or what `make build` left) and the image debian-12; says so and skips without root.
//!
//! This program is also the containers' helper and the host it kills: see [`main`].

#[allow(dead_code, reason = "each test program uses its part")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use sublet_base::{MachineId, MiB, Seconds, keccak256};
use sublet_client::HostClient;
use sublet_daemon::CancellationToken;
use sublet_drivers::Helper;
use sublet_drivers::container::{ContainerConfig, ContainerDriver};
use sublet_machine::{Driver, DriverKind, Guest, Observed, Phase};
use sublet_wire::guest::Workload;
use sublet_wire::host::{LogSource, MachineRequest, MachineView};
use support::{config, eventually, ports, task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[allow(clippy::print_stdout, reason = "test runners read the list there")]
fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|word| word.to_str()) {
        Some(sublet_drivers::helper::WORD) => sublet_drivers::helper::main(args.into_iter().skip(1)),
        Some("run-host") => run_host(Path::new(&args[1])),
        _ if args.iter().any(|word| word == "--list") => {
            // Nextest lists ignored tests apart; there are none.
            if !args.iter().any(|word| word == "--ignored") {
                println!("end_to_end: test");
            }
            ExitCode::SUCCESS
        }
        _ => end_to_end(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn driver(folder: &Path) -> ContainerDriver {
    let helper = Helper::new(std::env::current_exe().expect("this program"));
    let init = guest_init();
    ContainerDriver::new(ContainerConfig { root: folder.join("containers"), helper, init }).expect("opens")
}

fn run_host(folder: &Path) -> ExitCode {
    runtime().block_on(async {
        let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(driver(folder))];
        let ran = sublet_host::run(config(folder), ports(folder, drivers).await, CancellationToken::new()).await;
        ran.expect("runs until it is killed");
        ExitCode::SUCCESS
    })
}

fn end_to_end() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: real containers need root");
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().expect("a folder");
    build_image(folder.path());
    let clean = Cleaner(folder.path().to_owned());
    runtime().block_on(async {
        a_task_runs_in_a_container(folder.path()).await;
        a_port_inside_is_reached(folder.path()).await;
        openssh_logs_in(folder.path()).await;
        a_host_killed_at_any_moment_adopts_or_undoes(folder.path()).await;
    });
    drop(clean);
    assert_no_trace(folder.path());
    eprintln!("test end_to_end ... ok");
    ExitCode::SUCCESS
}

/// A host in another process; killed when dropped.
struct Killable(Child);

impl Killable {
    async fn start(folder: &Path) -> (Self, HostClient) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let host = Self(command.arg("run-host").arg(folder).spawn().expect("starts"));
        let client = HostClient::new(&folder.join("host.sock")).expect("a client");
        eventually("the host answers", async || client.list().await.ok()).await;
        (host, client)
    }

    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("reaped");
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn id(name: &str) -> MachineId {
    name.parse().expect("a name")
}

async fn over(client: &HostClient, name: &str) -> MachineView {
    eventually("the task is over", async || {
        let view = client.get(&id(name)).await.ok()?;
        (view.phase == Phase::Stopped && view.guest != Guest::Silent).then_some(view)
    })
    .await
}

async fn a_task_runs_in_a_container(folder: &Path) {
    let (host, client) = Killable::start(folder).await;
    let report = client.report().await.expect("a report");
    assert!(report.drivers.iter().any(|d| d.kind == DriverKind::Container && d.state.is_ok()), "{report:?}");
    let mut hashes = BTreeSet::new();
    for name in ["one", "two"] {
        client.create(task(name, &["/bin/worker", "remember"])).await.expect("created");
        client.start(&id(name)).await.expect("started");
        let view = over(&client, name).await;
        let mut archive = Vec::new();
        client.fetch_result(&id(name), &mut archive).await.unwrap_or_else(|e| panic!("{e}: {view:?}"));
        let result = view.result.expect("a result");
        assert_eq!(keccak256(&archive), result.hash);
        let mut tar = tar::Archive::new(&archive[..]);
        let mut stdout = String::new();
        let entry = tar.entries().expect("a tar").nth(1).expect("stdout").expect("whole");
        { entry }.read_to_string(&mut stdout).expect("text");
        assert_eq!(stdout, "written\n");
        hashes.insert(result.hash);
        client.delete(&id(name)).await.expect("deleted");
    }
    assert_eq!(hashes.len(), 1, "the same task gives the same archive");
    host.kill();
}

async fn a_port_inside_is_reached(folder: &Path) {
    let (host, client) = Killable::start(folder).await;
    client.create(task("echo", &["/bin/worker", "echo-port", "4000"])).await.expect("created");
    client.start(&id("echo")).await.expect("started");
    let mut stream = eventually("the port answers", async || client.connect(&id("echo"), 4000).await.ok()).await;
    stream.write_all(b"hello").await.expect("sent");
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.expect("received");
    assert_eq!(&back, b"hello");
    host.kill();
    // The machine runs on without a host, and the next one finds it.
    assert_eq!(driver(folder).observe(&id("echo")).expect("seen"), Observed::Running);
    let (host, client) = Killable::start(folder).await;
    eventually("the port answers again", async || client.connect(&id("echo"), 4000).await.ok()).await;
    let mut log = client.logs(&id("echo"), LogSource::Console, false).await.expect("a console");
    while futures_util::StreamExt::next(&mut log).await.transpose().expect("readable").is_some() {}
    client.stop(&id("echo"), Seconds(2)).await.expect("stopped");
    client.delete(&id("echo")).await.expect("deleted");
    host.kill();
}

/// The real client to the real server of the cached Debian image, with the host key the guest reported.
async fn openssh_logs_in(folder: &Path) {
    let image = support::cached_images().and_then(|store| store.resolve("debian-12").ok());
    let image = image.expect("the image debian-12 is cached: run `make images`");
    let key = folder.join("key");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    let public = fs::read_to_string(key.with_extension("pub")).expect("a key");
    let workload = Workload::Login { authorized_keys: vec![public.trim().to_owned()] };
    let (host, client) = Killable::start(folder).await;
    let mut request =
        MachineRequest { image, driver: Some(DriverKind::Container), ..support::request("box", workload) };
    request.resources.memory = MiB(256);
    client.create(request).await.expect("created");
    client.start(&id("box")).await.expect("started");
    let host_key =
        eventually("the login is ready", async || match client.get(&id("box")).await.expect("there").guest {
            Guest::Ready { ssh_host_key } => Some(ssh_host_key),
            Guest::GaveUp { reason } => panic!("{reason}"),
            Guest::Silent | Guest::Exited { .. } => None,
        })
        .await;
    fs::write(folder.join("known_hosts"), format!("box {host_key}\n")).expect("written");
    let stream = client.connect(&id("box"), 22).await.expect("connected");
    let said =
        ssh(folder, &key, stream, "id -u; hostname; cat /proc/self/status | grep NoNewPrivs; touch /root/x; ls /root")
            .await;
    assert_eq!(said, "0\nbox\nNoNewPrivs:\t1\nx\n");
    client.delete(&id("box")).await.expect("deleted");
    host.kill();
}

/// Runs the client on a port of this computer's loopback that leads to `stream`.
async fn ssh(folder: &Path, key: &Path, mut stream: tokio::io::DuplexStream, command: &str) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    let port = listener.local_addr().expect("bound").port();
    let pump = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("accepted");
        tokio::io::copy_bidirectional(&mut socket, &mut stream).await.ok();
    });
    let mut ssh = tokio::process::Command::new("ssh");
    ssh.args([
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "HostKeyAlias=box",
        "-i",
    ]);
    ssh.arg(key).arg("-o").arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()));
    let output = ssh.args(["-p", &port.to_string(), "root@127.0.0.1", command]).output().await.expect("ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    pump.await.expect("no panic");
    String::from_utf8(output.stdout).expect("text")
}

/// Everything a machine goes through, until somebody kills the host.
async fn live(client: HostClient, request: MachineRequest) -> Result<(), sublet_client::HostError> {
    let id = request.id.clone();
    client.create(request).await?;
    client.start(&id).await?;
    client.pause(&id).await?;
    client.resume(&id).await?;
    client.stop(&id, Seconds(1)).await?;
    client.delete(&id).await
}

async fn a_host_killed_at_any_moment_adopts_or_undoes(folder: &Path) {
    for round in 0..16u64 {
        let (host, client) = Killable::start(folder).await;
        // The probes are over then, so that the kill meets the machine's life.
        client.report().await.expect("a report");
        let words: &[&str] = if round % 2 == 0 { &["/bin/worker", "sleep"] } else { &["/bin/worker", "remember"] };
        let name = format!("round-{round}");
        let living = tokio::spawn(live(client, task(&name, words)));
        tokio::time::sleep(Duration::from_millis(3 + 13 * round)).await;
        host.kill();
        living.await.expect("no panic").ok();

        let (host, client) = Killable::start(folder).await;
        let views = eventually("everything is settled", async || {
            let views = client.list().await.expect("listed");
            let settled = |v: &MachineView| matches!(v.phase, Phase::Stopped | Phase::Running | Phase::Paused);
            let bad = views.iter().find(|v| matches!(v.phase, Phase::Failed(_)));
            assert!(bad.is_none(), "round {round}: {bad:?}");
            views.iter().all(settled).then_some(views)
        })
        .await;
        let driver = driver(folder);
        let there: BTreeSet<_> = driver.list().expect("listed").into_iter().collect();
        let known: BTreeSet<_> = views.iter().map(|view| view.id.clone()).collect();
        assert_eq!(there, known, "round {round}: no orphan, nothing lost");
        eprintln!("round {round}: {:?}", views.iter().map(|v| (&v.phase, &v.guest)).collect::<Vec<_>>());
        for view in views {
            if view.phase == Phase::Running && round % 2 == 1 {
                let ended = over(&client, &name).await;
                assert!(ended.result.is_some(), "round {round}: what an adopted task says is not lost: {ended:?}");
            }
            client.delete(&view.id).await.unwrap_or_else(|e| panic!("round {round}: {e}"));
        }
        assert!(driver.list().expect("listed").is_empty());
        host.kill();
    }
}

/// A test that fails leaves nothing running either.
struct Cleaner(PathBuf);

impl Drop for Cleaner {
    fn drop(&mut self) {
        let driver = driver(&self.0);
        for id in driver.list().unwrap_or_default() {
            driver.delete(&id).unwrap_or_else(|e| eprintln!("could not clean up {id}: {e}"));
        }
        // A probe that was killed is cleared by the next.
        driver.probe().map(drop).unwrap_or_else(|e| eprintln!("could not clean up after the probe: {e}"));
    }
}

fn assert_no_trace(folder: &Path) {
    let folder = fs::canonicalize(folder).expect("there");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&*folder.to_string_lossy())).collect();
    assert!(left.is_empty(), "mounts are left: {left:#?}");
    let root = folder.join("containers");
    let instance = format!("sublet-{:x}", keccak256(root.as_os_str().as_encoded_bytes()));
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups") {
        let group = hierarchy.expect("an entry").path().join(&instance[..15]);
        assert!(!group.exists(), "{} is left", group.display());
    }
}

fn build_image(folder: &Path) {
    let tree = folder.join("tree");
    for name in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "root"] {
        fs::create_dir_all(tree.join(name)).expect("a folder");
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../adapters/drivers/tests/support/worker.rs");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "-O", "-C", "target-feature=+crt-static", "-o"]);
    run(rustc.arg(tree.join("bin/worker")).arg(source));
    run(Command::new("mkfs.erofs").arg("-T0").arg(folder.join("image.erofs")).arg(&tree));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn guest_init() -> PathBuf {
    if let Some(path) = std::env::var_os("SUBLET_GUEST_INIT") {
        return path.into();
    }
    let program = std::env::current_exe().expect("this program");
    let target = program.ancestors().nth(3).expect("a target folder");
    let built = ["release", "debug"].map(|p| target.join("x86_64-unknown-linux-gnu").join(p).join("sublet-guest-init"));
    let found = built.into_iter().find(|path| path.is_file());
    found.expect("a static sublet-guest-init: set SUBLET_GUEST_INIT, as `make test` does")
}
