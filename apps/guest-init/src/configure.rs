//! Carrying out what is common to every workload. What it is asked for was checked before.

use std::fs;

use sublet_wire::guest::Configure;

use crate::files;
use crate::layout::{Layout, Place};
use crate::vm;

/// Names the machine, limits its processes and writes its files.
///
/// # Errors
/// What could not be done, in a sentence.
pub(crate) fn apply(layout: &Layout, wish: &Configure) -> Result<(), String> {
    if layout.place == Place::VirtualMachine {
        // In a container the runtime did these.
        fs::write("/proc/sys/kernel/hostname", &wish.hostname).map_err(|e| format!("cannot set the host name: {e}"))?;
        let limit = format!("{}/pids.max", vm::WORKLOAD_GROUP);
        fs::write(limit, wish.pids.max(1).to_string()).map_err(|e| format!("cannot limit processes: {e}"))?;
        vm::set_clock().map_err(|e| format!("cannot set the clock: {e}"))?;
    }
    let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {}\n::1 localhost ip6-localhost ip6-loopback\n", wish.hostname);
    for (path, text) in [("/etc/hosts", hosts), ("/etc/hostname", format!("{}\n", wish.hostname))] {
        files::replace(&layout.path(path), 0o644, text.as_bytes()).map_err(|e| format!("cannot write {path}: {e}"))?;
    }
    for file in &wish.files {
        files::replace(&layout.path(&file.path), file.mode, file.content.as_bytes())
            .map_err(|e| format!("cannot write {}: {e}", file.path))?;
    }
    Ok(())
}
