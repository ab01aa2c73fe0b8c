//! Starting QEMU: a copy of our binary arranges what surrounds it and then becomes it, so that its process id stays and
//! it lives on when the daemon dies.
//!
//! ```text
//! own session ─▶ console's reader ─▶ control group ─▶ network namespace (and user namespace, unless root)
//!            ─▶ tap, or a pair of devices and its carrier ─▶ run.json: who we are ─▶ fence ─▶ exec
//! ```

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{getegid, geteuid, setsid};
use serde::{Deserialize, Serialize};

use super::config::{self, Backend, CHANNEL, MONITOR, OWN};
use super::console::CONSOLE;
use super::limits::Limits;
use super::monitor::Monitor;
use super::process::Hold;
use super::{carrier, fence, tap, veth};
use crate::folder::Lock;
use crate::helper::{Helper, HelperResult, WORD, last_words};
use crate::process::Process;
use crate::{files, netns};

/// Name of the helper: `qemu-run LAUNCH`, the machine's lock as standard input.
pub(crate) const RUN: &str = "qemu-run";

/// What the guest prints.
pub(super) const CONSOLE_FILE: &str = "console";
const RUNNING: &str = "run.json";
/// How long QEMU may take to listen, on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Launch {
    /// The machine's folder; QEMU's own within it becomes the working directory.
    pub(super) folder: PathBuf,
    pub(super) program: PathBuf,
    /// All flags but those about descriptors.
    pub(super) args: Vec<String>,
    pub(super) limits: Option<Limits>,
    /// Files it reads, besides those in its own folder.
    pub(super) reads: Vec<PathBuf>,
}

/// The processes of a running machine.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) qemu: Process,
    console: Process,
    /// Where there is no tap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    carrier: Option<Process>,
}

impl Running {
    /// What was started in this folder last, if anything was.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn load(folder: &Path) -> io::Result<Option<Self>> {
        Ok(files::read_if_any(&folder.join(RUNNING))?.map(|text| serde_json::from_slice(&text)).transpose()?)
    }

    /// Waits until everything QEMU said is in the console's file. QEMU must have ended.
    ///
    /// # Errors
    /// The system's; `TimedOut` if the reader does not end.
    pub(super) fn wait_console(&self) -> io::Result<()> {
        match Hold::on(&self.console)? {
            Some(hold) if !hold.wait(PATIENCE)? => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// Whether a process carries its network, for want of a tap.
    pub(super) fn is_carried(&self) -> bool {
        self.carrier.is_some()
    }

    /// Kills what still runs and forgets it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn clear(folder: &Path) -> io::Result<()> {
        if let Some(running) = Self::load(folder)? {
            for process in [&running.qemu, &running.console].into_iter().chain(&running.carrier) {
                if let Some(hold) = Hold::on(process)? {
                    hold.kill()?;
                }
            }
        }
        let own = folder.join(OWN);
        for file in [own.join(MONITOR), own.join(CHANNEL), folder.join(RUNNING)] {
            match fs::remove_file(file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Starts QEMU and waits until it answers. Collecting its end is left to a thread.
///
/// # Errors
/// The system's; `Other` with QEMU's last words, or the helper's.
pub(super) fn start(helper: &Helper, launch: &Launch, lock: &Lock) -> io::Result<Running> {
    let mut command = helper.command(RUN);
    command.arg(serde_json::to_string(launch)?).stdin(Stdio::from(lock.try_clone()?)).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let words = child.stderr.take().map(heard).transpose()?.unwrap_or_default();
    let failed = !words.is_empty() || child.try_wait()?.is_some();
    collect(child)?;
    if failed {
        let reason = if words.is_empty() { said(&launch.folder) } else { last_words(&words) };
        return Err(io::Error::other(reason));
    }
    let running =
        Running::load(&launch.folder)?.ok_or_else(|| io::Error::other("the helper left no trace of itself"))?;
    let begun = Instant::now();
    loop {
        match Monitor::open(&launch.folder.join(OWN).join(MONITOR)) {
            Ok(_) => return Ok(running),
            Err(_) if !running.qemu.is_alive()? => return Err(io::Error::other(said(&launch.folder))),
            Err(e) if begun.elapsed() > PATIENCE => return Err(e),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Everything the helper says until it becomes QEMU, which closes the pipe.
fn heard(pipe: impl Read) -> io::Result<Vec<u8>> {
    let mut words = Vec::new();
    pipe.take(64 << 10).read_to_end(&mut words)?;
    Ok(words)
}

/// So that a dead QEMU does not stay in the process table while we live.
fn collect(mut child: Child) -> io::Result<()> {
    std::thread::Builder::new().name("qemu-end".into()).stack_size(64 << 10).spawn(move || child.wait()).map(drop)
}

/// The last line on the console, where QEMU's own complaints are as well.
pub(super) fn said(folder: &Path) -> String {
    last_words(&fs::read(folder.join(CONSOLE_FILE)).unwrap_or_default())
}

/// The helper.
pub(crate) fn run_helper(args: &[OsString]) -> HelperResult {
    let launch = args.first().and_then(|text| text.to_str()).ok_or_else(|| format!("usage: {RUN} LAUNCH"))?;
    let launch: Launch = serde_json::from_str(launch).map_err(|e| format!("unreadable launch: {e}"))?;
    let error = prepare(&launch)?.exec();
    Err(format!("cannot run {}: {error}", launch.program.display()))
}

fn prepare(launch: &Launch) -> Result<Command, String> {
    let told = |what: &'static str| move |e: io::Error| format!("cannot {what}: {e}");
    std::env::set_current_dir(&launch.folder).map_err(told("enter the machine's folder"))?;
    // Our standard input is the machine's lock. It stays open until exec: by then run.json is there for whoever is next.
    setsid().map_err(|e| format!("cannot begin a session: {e}"))?;
    prctl::set_no_new_privs().map_err(|e| format!("cannot give up new privileges: {e}"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|e| format!("cannot forbid core dumps: {e}"))?;
    let (console, console_process) = open_console().map_err(told("start the console's reader"))?;
    if let Some(limits) = &launch.limits {
        limits.enter().map_err(told("set limits"))?;
    }
    isolate().map_err(|e| format!("{NAMESPACE}: {e}"))?;
    netns::raise_loopback().map_err(told("raise lo"))?;
    let (backend, network, carrier) = open_network().map_err(|e| format!("{NETWORK}: {e}"))?;
    let running = Running {
        qemu: Process::of(std::process::id().cast_signed()).map_err(told("look at itself"))?,
        console: console_process,
        carrier,
    };
    let text = serde_json::to_vec(&running).map_err(|e| e.to_string())?;
    files::replace(&launch.folder.join(RUNNING), &text).map_err(told("leave a trace of itself"))?;
    fcntl(&network, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|e| format!("cannot hand over the network: {e}"))?;
    let reads: Vec<PathBuf> = launch.reads.iter().chain([&launch.program]).cloned().collect();
    fence::close(&launch.folder, &reads).map_err(told("fence off the host's files"))?;
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).args(config::network(backend, network.as_raw_fd())).env_clear();
    command.current_dir(launch.folder.join(OWN));
    std::mem::forget(network);
    let errors = console.try_clone().map_err(told("share the console"))?;
    command.stdin(Stdio::null()).stdout(Stdio::from(console)).stderr(Stdio::from(errors));
    Ok(command)
}

/// How a refusal of namespaces begins.
pub(super) const NAMESPACE: &str = "cannot make a network namespace";
/// How a refusal of the network's devices begins.
pub(super) const NETWORK: &str = "cannot make the machine's network";

/// A tap where this user may make one, else a pair of Ethernet devices with somebody who carries frames.
fn open_network() -> io::Result<(Backend, OwnedFd, Option<Process>)> {
    if let Some(device) = tap::open() {
        return Ok((Backend::Tap, tap::make(device)?.into(), None));
    }
    let (network, carrier) = carrier::start(veth::make()?)?;
    Ok((Backend::Frames, network, Some(carrier)))
}

fn open_console() -> io::Result<(OwnedFd, Process)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new("/proc/self/exe");
    command.args([WORD, CONSOLE, CONSOLE_FILE]).env_clear();
    let child =
        command.stdin(Stdio::from(OwnedFd::from(reader))).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok((OwnedFd::from(writer), Process::of(child.id().cast_signed())?))
}

/// Leaves the host's network. An ordinary user needs a user namespace for that, in which they stay who they are: the
/// privileges they have there until exec make its devices and are gone after it.
fn isolate() -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(unshare(CloneFlags::CLONE_NEWNET)?);
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}
