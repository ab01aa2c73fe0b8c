//! What the machine is for: a login service, or one run of a program.

mod login;
mod task;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sublet_wire::guest::{Configure, Workload};

use crate::configure;
use crate::layout::{Layout, Place};
use crate::machine::{Machine, Phase};
use crate::vm::WORKLOAD_GROUP;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Carries out a wish on a thread of its own; the machine tells how it goes.
pub(crate) fn begin(machine: &Arc<Machine>, wish: Configure) {
    let worker = Arc::clone(machine);
    let work = move || {
        // The host is trusted to be well meant, not to be free of mistakes.
        let checked = wish.check().map_err(|e| e.to_string());
        let prepared = checked.and_then(|()| configure::apply(&worker.layout, &wish));
        let result = prepared.and_then(|()| match &wish.workload {
            Workload::Login { authorized_keys } => login::run(&worker, authorized_keys, &wish.env),
            Workload::Task { argv, cwd } => task::run(&worker, argv, cwd, &wish.env),
        });
        if let Err(reason) = result {
            worker.advance(Phase::Failed { reason });
        }
    };
    if let Err(e) = std::thread::Builder::new().name("workload".into()).spawn(work) {
        machine.advance(Phase::Failed { reason: format!("cannot start a thread: {e}") });
    }
}

/// The whole environment of a workload: nothing of the init's own.
fn environment(env: &[String]) -> BTreeMap<&str, &str> {
    let mut all = BTreeMap::from([("PATH", PATH), ("HOME", "/root")]);
    all.extend(env.iter().filter_map(|entry| entry.split_once('=')));
    all
}

/// The group that limits a workload, where it is ours to use.
fn group(layout: &Layout) -> Option<&'static str> {
    (layout.place == Place::VirtualMachine).then_some(WORKLOAD_GROUP)
}

/// The file a program name means: itself if it has a slash, else the first in `PATH`.
fn find_program(layout: &Layout, name: &str, cwd: &Path, path: &str) -> Result<PathBuf, String> {
    use std::os::unix::fs::PermissionsExt;
    let runs =
        |file: &PathBuf| file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0);
    let found = if name.contains('/') {
        Some(if name.starts_with('/') { layout.path(name) } else { cwd.join(name) }).filter(runs)
    } else {
        path.split(':').filter(|folder| folder.starts_with('/')).map(|folder| layout.path(folder).join(name)).find(runs)
    };
    found.ok_or_else(|| format!("this image has no program {name}"))
}
