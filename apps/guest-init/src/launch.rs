//! Between fork and exec of a workload: a copy of this program joins the workload's group, undoes what the init set up
//! for itself, and becomes the program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::setsid;

/// First argument of such a copy; then the group's folder (or empty), the program, and its arguments.
pub(crate) const WORD: &str = "__launch";

/// A command that runs `program` as a workload, in a session of its own, with no environment yet.
pub(crate) fn command(program: &Path, arguments: &[String], group: Option<&str>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(WORD).arg(group.unwrap_or_default()).arg(program).args(arguments).env_clear();
    command
}

/// Limits of every workload, soft and hard, so that no two machines differ in what their kernels or hosts preset. A
/// group bounds the processes.
const LIMITS: [(Resource, u64, u64); 7] = [
    (Resource::RLIMIT_CORE, 0, 0),
    (Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
    (Resource::RLIMIT_MSGQUEUE, 819_200, 819_200),
    (Resource::RLIMIT_NOFILE, 1024, 16_384),
    (Resource::RLIMIT_NPROC, 65_536, 65_536),
    (Resource::RLIMIT_SIGPENDING, 16_384, 16_384),
    (Resource::RLIMIT_STACK, 8 << 20, RLIM_INFINITY),
];

/// Sets [`LIMITS`]; where the runtime allows less, that stays.
fn limit() {
    for (resource, soft, hard) in LIMITS {
        if setrlimit(resource, soft, hard).is_err()
            && let Ok((_, most)) = getrlimit(resource)
        {
            let _ = setrlimit(resource, soft.min(most), hard.min(most));
        }
    }
}

/// Becomes the program; returns only if that fails: 126 as a shell would, 127 if there is no program.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let [group, program, arguments @ ..] = args else { return ExitCode::from(127) };
    if !group.is_empty()
        && let Err(e) = std::fs::write(Path::new(group).join("cgroup.procs"), "0")
    {
        crate::log(&format!("cannot join {}: {e}", group.display()));
        return ExitCode::from(126);
    }
    let _ = setsid();
    let _ = SigSet::empty().thread_set_mask();
    limit();
    // Standard error is the workload's already.
    let error = Command::new(program).args(arguments).exec();
    crate::log(&format!("cannot run {}: {error}", program.display()));
    ExitCode::from(126)
}
