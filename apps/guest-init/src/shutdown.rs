//! The end of the machine: ask every process, wait, kill, put everything on the disk, turn off.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};

use crate::layout::Place;
use crate::machine::Machine;
use crate::{log, sys};

/// How long processes may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long killed ones may take to disappear.
const AFTER_KILL: Duration = Duration::from_secs(2);

/// Ends the machine. Returns at once for all but the first caller.
pub(crate) fn run(machine: &Machine) {
    if !machine.begin_ending() {
        return;
    }
    log("shutting down");
    signal(machine, Signal::SIGTERM);
    machine.reaper.wait_idle(PATIENCE);
    kill_all(machine);
    machine.reaper.wait_idle(AFTER_KILL);
    if machine.layout.place != Place::Folder {
        sync();
    }
    if machine.layout.place == Place::VirtualMachine {
        // Marks every disk clean, wherever it is mounted.
        let _ = std::fs::write("/proc/sysrq-trigger", "u");
        sys::power_off();
    }
    std::process::exit(0);
}

/// Kills every process of the machine but this one.
pub(crate) fn kill_all(machine: &Machine) {
    signal(machine, Signal::SIGKILL);
}

fn signal(machine: &Machine, signal: Signal) {
    if machine.layout.owns_all_processes() {
        // Fails only when there is nobody left.
        let _ = kill(Pid::from_raw(-1), signal);
    } else {
        machine.reaper.signal_all(signal);
    }
}

/// Ends the machine when the init is told to, by signal or by the power button.
pub(crate) fn on_signal(machine: &Arc<Machine>) {
    let waiting = Arc::clone(machine);
    let wait = move || {
        while sys::ending_signals().wait().is_err() {}
        run(&waiting);
    };
    if let Err(e) = std::thread::Builder::new().name("signals".into()).spawn(wait) {
        log(&format!("cannot wait for signals: {e}"));
    }
    if machine.layout.place == Place::VirtualMachine {
        crate::vm::watch_power_button(machine);
    }
}
