//! Real virtual machines on this host, emulated where it must be. Needs the kernel and initrd that `make images` puts
//! into the cache, and root or an openable `/dev/net/tun`; says so and skips without.

#[path = "support/looks.rs"]
mod looks;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sublet_base::{Digest, GiB, MachineId, MiB, Seconds, Vcpus};
use sublet_drivers::conformance::{HalfCreate, Subject, check};
use sublet_drivers::qemu::{QemuConfig, QemuDriver};
use sublet_drivers::{Helper, guest};
use sublet_machine::{Clock, DiskImage, Driver, DriverError, ImageConfig, MachineSpec, Observed, Resources};
use sublet_wire::guest::{Configure, FromGuest, ToGuest, Workload, read_frame, write_frame};

/// Patience with emulation on a busy host.
const PATIENCE: Duration = Duration::from_secs(180);

struct Rig {
    folder: tempfile::TempDir,
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Rig {
    fn new() -> Option<Self> {
        let place = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = place("SUBLET_CACHE")
            .or_else(|| Some(place("XDG_CACHE_HOME")?.join("sublet")))
            .or_else(|| Some(place("HOME")?.join(".cache/sublet")))?;
        let (kernel, initrd) = (cache.join("images/kernel/vmlinuz"), cache.join("images/kernel/initrd"));
        let prepared = kernel.is_file() && initrd.is_file();
        assert!(prepared, "no kernel and initrd in {}: run `make images`", cache.display());
        if let Err(e) = fs::File::options().read(true).write(true).open("/dev/net/tun") {
            eprintln!("skipped: /dev/net/tun cannot be opened: {e}");
            return None;
        }
        let rig = Self { folder: tempfile::tempdir().expect("a folder"), kernel, initrd };
        rig.build_image();
        // What an earlier test found out about this host; the driver checks that it still holds.
        fs::create_dir(rig.root()).expect("a folder");
        let _ = fs::copy(Self::remembered(), rig.root().join("probe.json"));
        Some(rig)
    }

    fn build_image(&self) {
        let tree = self.folder.path().join("tree");
        for folder in ["bin", "etc", "tmp", "root"] {
            fs::create_dir_all(tree.join(folder)).expect("a folder");
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/worker.rs");
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition=2024", "-O", "-C", "target-feature=+crt-static", "-o"]);
        assert!(rustc.arg(tree.join("bin/worker")).arg(source).status().expect("rustc runs").success());
        let image = self.folder.path().join("image.erofs");
        let made = Command::new("mkfs.erofs").arg("-T0").arg(image).arg(&tree).output().expect("mkfs.erofs runs");
        assert!(made.status.success());
    }

    fn remembered() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("qemu-probe.json")
    }

    /// Makes the next probe a real one.
    fn forget(&self) {
        let _ = fs::remove_file(self.root().join("probe.json"));
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("qemu")
    }

    fn driver(&self) -> QemuDriver {
        let helper = Helper::new(PathBuf::from(env!("CARGO_BIN_EXE_sublet-driver-helper")));
        let (kernel, initrd) = (self.kernel.clone(), self.initrd.clone());
        let config = QemuConfig { root: self.root(), helper, qemu: "qemu-system-x86_64".into(), kernel, initrd };
        QemuDriver::new(config).expect("opens")
    }

    fn spec(&self, name: &str) -> MachineSpec {
        let resources = Resources { vcpus: Vcpus(2), memory: MiB(160), disk: GiB(1), pids: 32 };
        let rootfs = self.folder.path().join("image.erofs");
        let image = DiskImage { digest: Digest([7; 32]), rootfs, config: ImageConfig::default() };
        let id = name.parse().expect("a name");
        MachineSpec { id, resources, image, hostname: "job".into(), clock: Clock::Host }
    }

    /// Nothing of any machine is left on the host.
    fn assert_no_trace(&self) {
        let driver = self.driver();
        assert_eq!(driver.list().expect("listed"), []);
        let root = self.root().canonicalize().expect("a folder").display().to_string();
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            assert!(!line.contains(&root) && !cwd.starts_with(&root), "a process is left: {line}");
        }
    }
}

impl Drop for Rig {
    /// After a test that failed as well: machines outlive whoever started them.
    fn drop(&mut self) {
        let driver = self.driver();
        for id in driver.list().unwrap_or_default() {
            if let Err(e) = driver.delete(&id) {
                eprintln!("{id} is left behind: {e}");
            }
        }
        let _ = fs::copy(self.root().join("probe.json"), Self::remembered());
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a task printed and how it ended.
#[derive(Debug)]
struct Outcome {
    stdout: String,
    code: Option<i32>,
    failure: Option<String>,
}

fn configure(driver: &QemuDriver, id: &MachineId, words: &[&str]) -> std::os::unix::net::UnixStream {
    let path = driver.prepared(id).expect("prepared").guest_channel;
    let mut channel = eventually("the channel answers", || guest::connect(&path).ok());
    channel.set_read_timeout(Some(PATIENCE)).expect("set");
    let argv = std::iter::once("/bin/worker").chain(words.iter().copied()).map(str::to_owned).collect();
    let hello: FromGuest = read_frame(&mut channel).expect("a greeting");
    assert!(matches!(hello, FromGuest::Hello { version: 1, .. }), "{hello:?}");
    write_frame(&mut channel, &ToGuest::Configure(task(argv))).expect("told");
    channel
}

fn task(argv: Vec<String>) -> Configure {
    let workload = Workload::Task { argv, cwd: String::new() };
    Configure { hostname: "job".into(), workload, env: vec![], files: vec![], pids: 32 }
}

fn finish(driver: &QemuDriver, id: &MachineId, words: &[&str]) -> Outcome {
    let mut channel = configure(driver, id, words);
    let mut outcome = Outcome { stdout: String::new(), code: None, failure: None };
    while outcome.code.is_none() && outcome.failure.is_none() {
        match read_frame(&mut channel).expect("a frame") {
            FromGuest::Output { data, .. } => {
                let bytes = data_encoding::BASE64.decode(data.as_bytes()).expect("base64");
                outcome.stdout.push_str(&String::from_utf8_lossy(&bytes));
            }
            FromGuest::Exited { code } => outcome.code = Some(code),
            FromGuest::Failed { reason } => outcome.failure = Some(reason),
            FromGuest::Hello { .. } | FromGuest::Ready { .. } | FromGuest::Artefact { .. } => {}
        }
    }
    outcome
}

fn half_created(rig: &Rig) -> Vec<HalfCreate<'_>> {
    let folder = |spec: &MachineSpec| {
        let path = rig.root().join("machines").join(spec.id.as_str());
        fs::create_dir_all(&path).expect("a folder");
        path
    };
    vec![
        Box::new(move |spec| drop(folder(spec))),
        Box::new(move |spec| {
            let text = serde_json::to_vec(spec).expect("text");
            fs::write(folder(spec).join("spec.json"), text).expect("written");
            fs::create_dir_all(folder(spec).join("own")).expect("a folder");
            fs::write(folder(spec).join("own/disk.next"), vec![0; 4096]).expect("written");
        }),
    ]
}

#[test]
fn it_conforms() {
    let Some(rig) = Rig::new() else { return };
    rig.forget();
    let open = || Box::new(rig.driver()) as Box<dyn Driver>;
    let subject = Subject {
        open: &open,
        spec: rig.spec("one"),
        half_created: half_created(&rig),
        task: Some(task(["/bin/worker", "echo-port", "4000"].map(String::from).into())),
        open_port: 4000,
        closed_port: 9,
    };
    check(&subject).unwrap_or_else(|violation| panic!("{violation}"));
    rig.assert_no_trace();
}

#[test]
fn a_kernel_of_its_own_with_limits_that_hold() {
    let Some(rig) = Rig::new() else { return };
    let driver = rig.driver();
    println!("{:?}", driver.probe().expect("usable"));
    for (name, words, wanted) in [
        ("memory", vec!["eat", "400"], None),
        ("pids", vec!["fork", "200"], Some("refused")),
        ("disk", vec!["fill-disk", "1500"], Some("full")),
    ] {
        let spec = rig.spec(name);
        driver.create(&spec).expect("created");
        driver.start(&spec.id).expect("started");
        let outcome = finish(&driver, &spec.id, &words);
        let console = fs::read_to_string(driver.prepared(&spec.id).expect("prepared").console).unwrap_or_default();
        match wanted {
            Some(word) => assert_eq!(outcome.stdout.trim(), word, "{name}: {outcome:?}\n{console}"),
            None => assert_ne!(outcome.code, Some(0), "{name}: {outcome:?}\n{console}"),
        }
        driver.delete(&spec.id).expect("deleted");
    }
    rig.assert_no_trace();
}

#[test]
fn a_task_cannot_tell_who_runs_it_nor_when() {
    let Some(rig) = Rig::new() else { return };
    let driver = rig.driver();
    let look = |name: &str| {
        let resources = Resources { vcpus: Vcpus(1), ..rig.spec(name).resources };
        let spec = MachineSpec { resources, clock: Clock::Fixed, ..rig.spec(name) };
        driver.create(&spec).expect("created");
        driver.start(&spec.id).expect("started");
        let outcome = finish(&driver, &spec.id, &["look"]);
        driver.delete(&spec.id).expect("deleted");
        looks::parts(&outcome.stdout)
    };
    let [all, host, time] = look("job-7");
    assert!(all.starts_with(looks::LOOKS), "{all}");
    assert_eq!(looks::limit(&all, "Max open files"), ["1024", "16384"]);
    let [other, other_host, other_time] = look("mediation-of-job-7");
    assert_eq!((all, host), (other, other_host));
    for time in [time, other_time] {
        let seconds: u64 = time.trim().parse().expect("a number");
        assert!((1_735_689_600..1_735_689_600 + 3600).contains(&seconds), "the first hour of 2025: {seconds}");
    }
    rig.assert_no_trace();
}

#[test]
fn what_a_machine_wrote_survives_a_stop_and_a_killed_qemu_is_seen() {
    let Some(rig) = Rig::new() else { return };
    let (driver, spec) = (rig.driver(), rig.spec("keeps"));
    driver.create(&spec).expect("created");
    for wanted in ["written", "found"] {
        driver.start(&spec.id).expect("started");
        let outcome = finish(&driver, &spec.id, &["remember"]);
        assert_eq!(outcome.stdout.trim(), wanted, "{outcome:?}");
        driver.stop(&spec.id, Seconds(60)).expect("stopped");
    }
    let console = fs::read_to_string(driver.prepared(&spec.id).expect("prepared").console).expect("a console");
    assert!(console.matches("shutting down").count() == 2, "the power button was heard: {console}");

    driver.start(&spec.id).expect("started");
    let text = fs::read(rig.root().join("machines/keeps/run.json")).expect("read");
    let running: serde_json::Value = serde_json::from_slice(&text).expect("parsed");
    let pid = i32::try_from(running["qemu"]["pid"].as_i64().expect("a pid")).expect("small");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("killed");
    eventually("it is stopped", || (driver.observe(&spec.id).ok()? == Observed::Stopped).then_some(()));
    assert!(matches!(driver.dial(&spec.id, 22), Err(DriverError::WrongState { .. })));
    driver.delete(&spec.id).expect("deleted");
    rig.assert_no_trace();
}

#[test]
fn a_port_inside_is_reached_and_qemu_owns_nothing() {
    let Some(rig) = Rig::new() else { return };
    let (driver, spec) = (rig.driver(), rig.spec("ports"));
    driver.create(&spec).expect("created");
    driver.start(&spec.id).expect("started");
    let _channel = configure(&driver, &spec.id, &["echo-port", "4000"]);
    let mut stream = eventually("the port answers", || driver.dial(&spec.id, 4000).ok());
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(b"hello").expect("written");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("read");
    assert_eq!(&back, b"hello");
    let text = fs::read(rig.root().join("machines/ports/run.json")).expect("read");
    let running: serde_json::Value = serde_json::from_slice(&text).expect("parsed");
    let status = fs::read_to_string(format!("/proc/{}/status", running["qemu"]["pid"])).expect("it runs");
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("there").trim().to_owned();
    assert_eq!(line("CapEff:"), "0000000000000000");
    assert_eq!(line("Seccomp:"), "2");
    assert_eq!(line("NoNewPrivs:"), "1");
    assert!(!line("Uid:").starts_with("0\t"), "{}", line("Uid:"));
    if nix::unistd::geteuid().is_root() {
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", running["qemu"]["pid"])).expect("it runs");
        assert!(groups.lines().any(|line| line.contains("/sublet-") && line.ends_with("/ports")), "{groups}");
    }
    driver.delete(&spec.id).expect("deleted");
    rig.assert_no_trace();
}

#[test]
fn nothing_works_without_a_kernel_and_the_reason_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let helper = Helper::new(PathBuf::from(env!("CARGO_BIN_EXE_sublet-driver-helper")));
    let open = |qemu: &str, kernel: &str| {
        let (kernel, initrd) = (folder.path().join(kernel), folder.path().join("initrd"));
        fs::write(&initrd, "no initrd").expect("written");
        let config =
            QemuConfig { root: folder.path().join("qemu"), helper: helper.clone(), qemu: qemu.into(), kernel, initrd };
        QemuDriver::new(config).expect("opens").probe().expect_err("unusable").to_string()
    };
    assert!(open("/nonexistent/qemu", "kernel").contains("install the package qemu-system-x86"));
    if Command::new("qemu-system-x86_64").arg("--version").output().is_ok() {
        assert!(open("qemu-system-x86_64", "kernel").contains("make build"));
    }
}
