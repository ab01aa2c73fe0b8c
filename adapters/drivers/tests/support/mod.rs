//! A container driver over a folder of its own, an image with one static program, and a host to run its tasks.

pub(crate) mod looks;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sublet_base::{Digest, GiB, MachineId, MiB, Vcpus};
use sublet_drivers::Helper;
use sublet_drivers::container::{ContainerConfig, ContainerDriver};
use sublet_machine::{Clock, DiskImage, Driver, ImageConfig, MachineSpec, Resources};
use sublet_wire::guest::{Configure, FromGuest, Stream, ToGuest, Workload, read_frame, write_frame};

/// Patience with a busy host.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a task did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) failure: Option<String>,
}

pub(crate) struct Rig {
    folder: tempfile::TempDir,
    init: PathBuf,
}

impl Rig {
    /// Nothing, and a word about it, where this user cannot have containers.
    pub(crate) fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: real containers need root");
            return None;
        }
        let rig = Self { folder: tempfile::tempdir().expect("a folder"), init: guest_init() };
        rig.build_image();
        Some(rig)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("containers")
    }

    pub(crate) fn driver(&self) -> ContainerDriver {
        let helper = Helper::new(PathBuf::from(env!("CARGO_BIN_EXE_sublet-driver-helper")));
        ContainerDriver::new(ContainerConfig { root: self.root(), helper, init: self.init.clone() }).expect("opens")
    }

    fn build_image(&self) {
        let tree = self.folder.path().join("tree");
        for folder in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "root"] {
            fs::create_dir_all(tree.join(folder)).expect("a folder");
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/worker.rs");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition=2024", "-O", "-C", "target-feature=+crt-static", "-o"]);
        run(rustc.arg(tree.join("bin/worker")).arg(source));
        run(Command::new("mkfs.erofs").arg("-T0").arg(self.folder.path().join("image.erofs")).arg(&tree));
    }

    pub(crate) fn spec(&self, name: &str) -> MachineSpec {
        let resources = Resources { vcpus: Vcpus(1), memory: MiB(64), disk: GiB(1), pids: 64 };
        let rootfs = self.folder.path().join("image.erofs");
        let image = DiskImage { digest: Digest([7; 32]), rootfs, config: ImageConfig::default() };
        let id = name.parse().expect("a name");
        MachineSpec { id, resources, image, hostname: "job".into(), clock: Clock::Host }
    }

    pub(crate) fn worker(&self, words: &[&str]) -> Vec<String> {
        std::iter::once("/bin/worker").chain(words.iter().copied()).map(str::to_owned).collect()
    }

    /// A driver with a machine whose task has begun and goes on.
    pub(crate) fn started(&self, name: &str, argv: &[String]) -> ContainerDriver {
        let (driver, spec) = (self.driver(), self.spec(name));
        driver.create(&spec).expect("created");
        driver.start(&spec.id).expect("started");
        let mut channel = channel(&driver, &spec.id);
        write_frame(&mut channel, &ToGuest::Configure(task(argv))).expect("told");
        driver
    }

    /// A machine from create to delete.
    pub(crate) fn run_task(&self, name: &str, argv: &[String]) -> Outcome {
        let (driver, spec) = (self.driver(), self.spec(name));
        driver.create(&spec).expect("created");
        driver.start(&spec.id).expect("started");
        let outcome = self.finish_task(&driver, &spec.id, &task(argv));
        driver.delete(&spec.id).expect("deleted");
        outcome
    }

    pub(crate) fn finish_task(&self, driver: &ContainerDriver, id: &MachineId, configure: &Configure) -> Outcome {
        let mut channel = channel(driver, id);
        write_frame(&mut channel, &ToGuest::Configure(configure.clone())).expect("told");
        let mut outcome = Outcome::default();
        loop {
            match read_frame(&mut channel).expect("a frame") {
                FromGuest::Output { stream, data } => {
                    let bytes = data_encoding::BASE64.decode(data.as_bytes()).expect("base64");
                    let text = String::from_utf8_lossy(&bytes);
                    match stream {
                        Stream::Stdout => outcome.stdout.push_str(&text),
                        Stream::Stderr => outcome.stderr.push_str(&text),
                    }
                }
                FromGuest::Exited { code } => outcome.code = Some(code),
                FromGuest::Failed { reason } => outcome.failure = Some(reason),
                FromGuest::Hello { .. } | FromGuest::Ready { .. } | FromGuest::Artefact { .. } => {}
            }
            if outcome.code.is_some() || outcome.failure.is_some() {
                return outcome;
            }
        }
    }

    /// No mount, cgroup or loop device of this driver is left.
    pub(crate) fn assert_no_trace(&self) {
        let root = fs::canonicalize(self.root()).expect("the driver's folder");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&*root.to_string_lossy())).collect();
        assert!(left.is_empty(), "mounts are left: {left:#?}");
        let instance = format!("sublet-{:x}", sublet_base::keccak256(root.as_os_str().as_encoded_bytes()));
        for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups") {
            let group = hierarchy.expect("an entry").path().join(&instance[..15]);
            assert!(!group.exists(), "{} is left", group.display());
        }
        eventually("the loop devices are gone", || loops_of(self.folder.path()).is_empty().then_some(()));
    }
}

/// A test that fails leaves nothing mounted either.
impl Drop for Rig {
    fn drop(&mut self) {
        let driver = self.driver();
        for id in driver.list().unwrap_or_default() {
            driver.delete(&id).unwrap_or_else(|e| eprintln!("could not clean up {id}: {e}"));
        }
    }
}

fn loops_of(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for device in fs::read_dir("/sys/block").expect("devices") {
        let backing = device.expect("an entry").path().join("loop/backing_file");
        if let Ok(file) = fs::read_to_string(backing)
            && Path::new(file.trim()).starts_with(folder)
        {
            found.push(file);
        }
    }
    found
}

/// What a host would tell the machine.
pub(crate) fn task(argv: &[String]) -> Configure {
    let workload = Workload::Task { argv: argv.to_vec(), cwd: "/".into() };
    Configure { hostname: "job".into(), workload, env: vec![], files: vec![], pids: 64 }
}

fn channel(driver: &ContainerDriver, id: &MachineId) -> std::os::unix::net::UnixStream {
    let path = driver.prepared(id).expect("prepared").guest_channel;
    let stream = eventually("the guest listens", || sublet_drivers::guest::connect(&path).ok());
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// Waits for something to happen.
pub(crate) fn eventually<T>(what: &str, mut happens: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = happens() {
            return value;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `SUBLET_GUEST_INIT`, or what `make build` left beside this build.
fn guest_init() -> PathBuf {
    if let Some(path) = std::env::var_os("SUBLET_GUEST_INIT") {
        return path.into();
    }
    let target = Path::new(env!("CARGO_BIN_EXE_sublet-driver-helper")).ancestors().nth(2).expect("a target folder");
    let built = ["release", "debug"].map(|p| target.join("x86_64-unknown-linux-gnu").join(p).join("sublet-guest-init"));
    let found = built.into_iter().find(|path| path.is_file());
    found.expect("a static sublet-guest-init: set SUBLET_GUEST_INIT, as `make test` does")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    if !output.status.success() {
        io::stderr().write_all(&output.stderr).expect("stderr");
        panic!("{command:?} failed");
    }
}
