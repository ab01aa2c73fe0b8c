//! What the helper does to start a container: mounts in a namespace of its own, then libcontainer, then it is gone.
//!
//! Nothing it mounts is seen outside, and everything disappears with the container. The mounts are made on a tmpfs over
//! [`STAGE`], because root of the container is an ordinary user who could not reach into the daemon's private folders.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::setgroups;
use serde::{Deserialize, Serialize};
use sublet_daemon::with_causes;
use sublet_machine::MachineSpec;

use super::config::{ID_COUNT, Places, runtime_config};
use super::{limits, mounts};
use crate::cgroup::hold_parent;
use crate::folder::Kept;
use crate::helper::{Helper, HelperResult};
use crate::netns;
use crate::process::Process;

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
    /// What is held while that is made.
    pub(super) parent_lock: PathBuf,
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
    // Ours are those of whoever started the host, and the machine would keep them.
    setgroups(&[])?;
    let kept: Kept = serde_json::from_slice(&fs::read(launch.folder.join("spec.json"))?)?;
    let first_id = kept.first_id.ok_or("the machine has no user ids")?;
    let stage = Stage::set()?;
    stage.mount_root(launch, first_id)?;
    stage.mount_shared(launch)?;
    let config = stage.config(launch, &kept.spec, first_id);
    fs::write(stage.at("config.json"), serde_json::to_vec(&config)?)?;
    limits::pin(kept.spec.resources.vcpus, first_id / ID_COUNT)?;
    run(launch, &kept.spec, &stage)
}

struct Stage(PathBuf);

impl Stage {
    fn set() -> Result<Self, Box<dyn Error>> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        fs::create_dir_all(STAGE)?;
        mounts::mount_tmpfs(Path::new(STAGE), "mode=755,size=16m")?;
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
    fn mount_root(&self, launch: &Launch, first_id: u32) -> Result<(), Box<dyn Error>> {
        let (lower, disk, root) = (self.folder("lower")?, self.folder("disk")?, self.folder("rootfs")?);
        let binary = std::env::current_exe()?;
        let ids = mounts::lend_ids(&Helper::new(binary), first_id)?;
        mounts::bind_shifted(&launch.image, &lower, &ids)
            .map_err(|e| format!("cannot shift the image's owners: {e}"))?;
        mounts::mount_file(&launch.folder.join("disk.img"), "ext4", "noatime,nosuid,nodev", &disk, Stdio::inherit())?;
        for name in ["upper", "work"] {
            let path = disk.join(name);
            match fs::create_dir(&path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
                _ => chown(&path, Some(first_id), Some(first_id))?,
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
        // A copy: of a file that is mounted, the machine would see where on the host it is.
        let init = self.at("init");
        fs::copy(&launch.init, &init).map_err(|e| format!("cannot copy {}: {e}", launch.init.display()))?;
        Ok(fs::set_permissions(&init, Permissions::from_mode(0o755))?)
    }

    fn config(&self, launch: &Launch, spec: &MachineSpec, first_id: u32) -> serde_json::Value {
        let text = |name: &str| self.at(name).to_string_lossy().into_owned();
        let places = Places {
            rootfs: &text("rootfs"),
            channel: &text("channel"),
            init: &text("init"),
            cgroup: &launch.cgroup,
            first_id,
            swap: launch.swap,
        };
        runtime_config(spec, &places)
    }
}

fn run(launch: &Launch, spec: &MachineSpec, stage: &Stage) -> Result<(), Box<dyn Error>> {
    let console = OpenOptions::new().append(true).create(true).mode(0o600).open(launch.folder.join("run/console"))?;
    let _parent = hold_parent(&launch.parent_lock)?;
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
