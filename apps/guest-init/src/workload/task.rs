//! One run of a program: its output is kept as it comes, and when it ends so does everything it started.

use std::io::{self, Read};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sublet_wire::guest::{CHUNK, OUTPUTS, Stream};

use crate::machine::{Machine, Phase};
use crate::retained::MAX_RETAINED;
use crate::{launch, shutdown};

/// Runs the task to its end.
///
/// # Errors
/// Why it could not be run, or its output not be kept, in a sentence.
pub(super) fn run(machine: &Arc<Machine>, argv: &[String], cwd: &str, env: &[String]) -> Result<(), String> {
    let folder = machine.layout.path(if cwd.is_empty() { "/" } else { cwd });
    if !folder.is_dir() {
        return Err(format!("this image has no folder {cwd}"));
    }
    let outputs = machine.layout.path(OUTPUTS);
    std::fs::create_dir_all(outputs).map_err(|e| format!("cannot make {OUTPUTS}: {e}"))?;
    machine.keep_output().map_err(|e| format!("there is no place to keep output: {e}"))?;
    let code = start(machine, argv, &folder, env)?;
    machine.advance(Phase::Ended { code });
    Ok(())
}

fn start(machine: &Arc<Machine>, argv: &[String], cwd: &Path, env: &[String]) -> Result<i32, String> {
    let (name, arguments) = argv.split_first().ok_or("a task needs a program")?;
    let env = super::environment(env);
    let program = super::find_program(&machine.layout, name, cwd, env.get("PATH").copied().unwrap_or_default())?;
    let mut command = launch::command(&program, arguments, super::group(&machine.layout));
    command.envs(env).current_dir(cwd).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (pid, mut child) = machine.reaper.spawn(&mut command).map_err(|e| format!("cannot start {name}: {e}"))?;
    let trouble = Arc::new(Mutex::new(None));
    let mut readers = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        readers.push(keep(machine, Stream::Stdout, stdout, pid, &trouble)?);
    }
    if let Some(stderr) = child.stderr.take() {
        readers.push(keep(machine, Stream::Stderr, stderr, pid, &trouble)?);
    }
    let code = machine.reaper.wait(pid);
    // Whatever it left behind holds its pipes open and could go on changing its outputs.
    if machine.layout.owns_all_processes() {
        shutdown::kill_all(machine);
    } else {
        let _ = kill(Pid::from_raw(-pid.as_raw()), Signal::SIGKILL);
    }
    for reader in readers {
        let _ = reader.join();
    }
    let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
    trouble.map_or(Ok(code), Err)
}

/// Keeps what comes out of a pipe until it closes. A task whose output cannot be kept is killed.
fn keep(
    machine: &Arc<Machine>,
    stream: Stream,
    mut pipe: impl Read + Send + 'static,
    pid: Pid,
    trouble: &Arc<Mutex<Option<String>>>,
) -> Result<JoinHandle<()>, String> {
    let (machine, trouble) = (Arc::clone(machine), Arc::clone(trouble));
    let read = move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match pipe.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if let Err(e) = machine.append_output(stream, &chunk[..count]) {
                let limit = MAX_RETAINED >> 20;
                let reason = format!("the task's output cannot be kept (at most {limit} MiB are): {e}");
                trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
                let _ = kill(Pid::from_raw(-pid.as_raw()), Signal::SIGKILL);
                let _ = kill(pid, Signal::SIGKILL);
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("output".into())
        .spawn(read)
        .map_err(|e| format!("cannot read the task's output: {e}"))
}
