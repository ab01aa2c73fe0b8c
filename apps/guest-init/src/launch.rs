//! Between fork and exec of a workload: a copy of this program joins the workload's group, undoes what the init set up
//! for itself, and becomes the program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sys::resource::{Resource, setrlimit};
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
    // As systemd sets them; where the runtime allows less, that stays. Standard error is the workload's already.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, 1024, 524_288);
    let error = Command::new(program).args(arguments).exec();
    crate::log(&format!("cannot run {}: {error}", program.display()));
    ExitCode::from(126)
}
