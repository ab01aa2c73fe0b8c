//! The first process of every machine, static, in the shared initrd and bind-mounted into containers.
//!
//! ```text
//! virtual machine   initrd: stage1 (modules, disks, overlay, switch root) ──exec──▶ stage 2
//! container                                        --channel unix:PATH ──────────▶ stage 2
//! stage 2           channel ◀──▶ Machine (what was asked, how far it got) ◀── workload: login | task
//! ```
//! It makes the machine what the host's `Configure` says and reports over the guest channel (`sublet_wire::guest`).
//! It must outlive anything its machine or its host does: no input ends it, and a thread that dies is started again.

mod artefact;
mod channel;
mod configure;
mod files;
mod launch;
mod layout;
mod machine;
mod reaper;
mod retained;
mod session;
mod shutdown;
mod stage1;
mod sys;
mod vm;
mod workload;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use layout::{Layout, Place};
use machine::Machine;

/// Argument that marks the second start in a virtual machine.
const STAGE2: &str = "--vm";

/// How the process was started.
enum Role {
    /// In the initrd, as the kernel started it.
    Stage1,
    /// As the machine's init.
    Init(Layout, channel::Endpoint),
    /// Between fork and exec of a workload.
    Launch(Vec<OsString>),
}

fn main() -> ExitCode {
    match role(std::env::args_os().skip(1).collect()) {
        Ok(Role::Stage1) => stage1::run(STAGE2),
        Ok(Role::Init(layout, endpoint)) => serve(layout, endpoint),
        Ok(Role::Launch(args)) => launch::main(&args),
        Err(reason) => {
            log(&reason);
            ExitCode::FAILURE
        }
    }
}

fn role(args: Vec<OsString>) -> Result<Role, String> {
    if args.first().is_some_and(|arg| arg == launch::WORD) {
        return Ok(Role::Launch(args[1..].to_vec()));
    }
    let mut layout = Layout::default();
    let mut endpoint = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value =
            || args.next().and_then(|v| v.into_string().ok()).ok_or_else(|| format!("{} needs a value", arg.display()));
        match arg.to_str() {
            Some(STAGE2) => {
                layout.place = Place::VirtualMachine;
                endpoint = Some(channel::Endpoint::Port);
            }
            Some("--channel") => endpoint = Some(value()?.parse()?),
            Some("--root") => {
                layout.root = PathBuf::from(value()?);
                layout.place = Place::Folder;
            }
            Some("--ssh-port") => {
                layout.ssh_port = value()?.parse().map_err(|_| "--ssh-port takes a port".to_owned())?
            }
            // The kernel hands words of its command line that it does not know to the first process.
            _ if std::process::id() == 1 && endpoint.is_none() => return Ok(Role::Stage1),
            _ => return Err(format!("unknown argument {}", arg.display())),
        }
    }
    match endpoint {
        Some(endpoint) => Ok(Role::Init(layout, endpoint)),
        None if std::process::id() == 1 => Ok(Role::Stage1),
        None => Err("usage: --channel unix:PATH [--root FOLDER] [--ssh-port PORT]".to_owned()),
    }
}

/// Stage 2. Returns only if it cannot begin.
fn serve(layout: Layout, endpoint: channel::Endpoint) -> ExitCode {
    sys::block_signals();
    // In a container it would be that of whoever started the host.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    if layout.place == Place::VirtualMachine {
        vm::prepare();
    }
    let machine = match Machine::new(layout) {
        Ok(machine) => Arc::new(machine),
        Err(e) => {
            log(&format!("cannot begin: {e}"));
            return ExitCode::FAILURE;
        }
    };
    shutdown::on_signal(&machine);
    loop {
        let (machine, endpoint) = (Arc::clone(&machine), endpoint.clone());
        let server =
            std::thread::Builder::new().name("channel".into()).spawn(move || channel::serve(&machine, &endpoint));
        match server.map(std::thread::JoinHandle::join) {
            Ok(_) => log("the channel's thread ended; starting it again"),
            Err(e) => log(&format!("cannot start the channel's thread: {e}")),
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// One line on the console.
fn log(line: &str) {
    use std::io::Write;
    // Nobody may be there to read it; that must not matter.
    let _ = writeln!(std::io::stderr(), "sublet-init: {line}");
}
