//! What the helper does to start a container: mounts in a namespace of its own, then libcontainer, then it is gone.
//!
//! Nothing it mounts is seen outside, and everything disappears with the container. The mounts are made on a tmpfs over
//! [`STAGE`], because root of the container is an ordinary user who could not reach into the daemon's private folders.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};
use sublet_machine::MachineSpec;

use super::config::{Places, runtime_config};
use super::mounts;
use crate::helper::{Helper, HelperResult};
use crate::process::Process;
use crate::{files, netns};

/// Name of the helper; its argument is a [`Launch`] as JSON, its standard input the machine's lock.
pub(crate) const LAUNCH: &str = "container-launch";

/// Where the helper mounts things, in its own mount namespace.
const STAGE: &str = "/run/sublet-stage";

/// What the helper is to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Launch {
    /// The machine's folder.
    pub(super) folder: PathBuf,
    /// Where its image is mounted.
    pub(super) image: PathBuf,
    /// Our init.
    pub(super) init: PathBuf,
    /// Its cgroup.
    pub(super) cgroup: String,
    /// First of its user and group ids.
    pub(super) first_id: u32,
    /// Whether the kernel counts swap.
    pub(super) swap: bool,
}

/// The helper.
pub(crate) fn launch_helper(args: &[OsString]) -> HelperResult {
    let [text] = args else { return Err(format!("usage: {LAUNCH} JSON")) };
    let launch: Launch =
        serde_json::from_slice(text.as_encoded_bytes()).map_err(|e| format!("the helper was told nonsense: {e}"))?;
    start(&launch).map_err(|e| with_causes(e.as_ref()))
}

fn start(launch: &Launch) -> Result<(), Box<dyn Error>> {
    let spec: MachineSpec = serde_json::from_slice(&fs::read(launch.folder.join("spec.json"))?)?;
    let stage = Stage::set()?;
    stage.mount_root(launch)?;
    stage.mount_shared(launch)?;
    let config = stage.config(launch, &spec)?;
    fs::write(stage.at("config.json"), serde_json::to_vec(&config)?)?;
    run(launch, &spec, &stage)
}

struct Stage(PathBuf);

impl Stage {
    fn set() -> Result<Self, Box<dyn Error>> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        fs::create_dir_all(STAGE)?;
        mounts::mount_tmpfs(Path::new(STAGE), "mode=755,size=1m")?;
        Ok(Self(PathBuf::from(STAGE)))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.at(name);
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// The image with its owners shifted, below the machine's own disk, which is a file of limited size.
    fn mount_root(&self, launch: &Launch) -> Result<(), Box<dyn Error>> {
        let (lower, disk, root) = (self.folder("lower")?, self.folder("disk")?, self.folder("rootfs")?);
        let binary = std::env::current_exe()?;
        let ids = mounts::lend_ids(&Helper::new(binary), launch.first_id)?;
        mounts::bind_shifted(&launch.image, &lower, &ids)
            .map_err(|e| format!("cannot shift the image's owners: {e}"))?;
        mounts::mount_file(&launch.folder.join("disk.img"), "ext4", "noatime,nosuid,nodev", &disk, Stdio::inherit())?;
        for name in ["upper", "work"] {
            let path = disk.join(name);
            match fs::create_dir(&path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
                _ => chown(&path, Some(launch.first_id), Some(launch.first_id))?,
            }
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            disk.join("upper").display(),
            disk.join("work").display()
        );
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::MS_NODEV, Some(layers.as_str()))
            .map_err(|e| format!("cannot lay the machine's disk over its image: {e}"))?;
        Ok(())
    }

    fn mount_shared(&self, launch: &Launch) -> Result<(), Box<dyn Error>> {
        mounts::bind(&launch.folder.join("run/channel"), &self.folder("channel")?)?;
        File::create(self.at("init"))?;
        mounts::bind(&launch.init, &self.at("init"))
            .map_err(|e| format!("cannot reach {}: {e}", launch.init.display()))?;
        Ok(())
    }

    fn config(&self, launch: &Launch, spec: &MachineSpec) -> Result<serde_json::Value, Box<dyn Error>> {
        let text = |name: &str| self.at(name).to_string_lossy().into_owned();
        Ok(runtime_config(
            spec,
            &Places {
                rootfs: &text("rootfs"),
                channel: &text("channel"),
                init: &text("init"),
                cgroup: &launch.cgroup,
                first_id: launch.first_id,
                swap: launch.swap,
            },
        ))
    }
}

fn run(launch: &Launch, spec: &MachineSpec, stage: &Stage) -> Result<(), Box<dyn Error>> {
    let console = OpenOptions::new().append(true).create(true).mode(0o600).open(launch.folder.join("run/console"))?;
    let mut container = ContainerBuilder::new(spec.id.to_string(), SyscallType::default())
        .with_root_path(stage.folder("state")?)?
        .with_stdin(File::open("/dev/null")?)
        .with_stdout(console.try_clone()?)
        .with_stderr(console)
        .as_init(stage.0.clone())
        .with_systemd(false)
        .build()?;
    let pid = container.pid().ok_or("the container has no process")?.as_raw();
    // Written before it runs: a container that was started is always found again.
    Process::of(pid)?.save(&launch.folder.join("init.json"))?;
    netns::enter(pid.unsigned_abs())?;
    netns::raise_loopback()?;
    container.start()?;
    Ok(())
}

/// An error and what caused it, on one line, without repeating what an error says of its own cause.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

/// Makes the file that becomes a machine's disk: sparse, formatted, and whole or not there. The lock stays taken until it
/// is formatted, even if this process dies meanwhile.
pub(super) fn make_disk(path: &Path, bytes: u64, owner: u32, lock: Stdio) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let next = path.with_extension("next");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.set_len(bytes)?;
    drop(file);
    let output = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-E"])
        .arg(format!("lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner={owner}:{owner}"))
        .arg(&next)
        .stdin(lock)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(crate::helper::first_words(&output.stderr)));
    }
    fs::rename(&next, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Writes the spec where the helper reads it.
pub(super) fn save_spec(folder: &Path, spec: &MachineSpec) -> io::Result<()> {
    files::replace(&folder.join("spec.json"), &serde_json::to_vec(spec)?)
}
