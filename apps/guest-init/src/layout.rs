//! Where the init finds and puts things, and how much of the machine is its own to arrange.

use std::path::{Path, PathBuf};

/// What the init runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// PID 1 of a kernel of its own: mounts, network and limits are its work.
    VirtualMachine,
    /// PID 1 of a container: those are the driver's work.
    Container,
    /// An ordinary process that treats a folder as the machine's root and touches nothing outside it.
    Folder,
}

/// Paths and ports.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// What surrounds the init.
    pub(crate) place: Place,
    /// The machine's root folder.
    pub(crate) root: PathBuf,
    /// Port the login service answers on.
    pub(crate) ssh_port: u16,
}

impl Default for Layout {
    fn default() -> Self {
        Self { place: Place::Container, root: PathBuf::from("/"), ssh_port: 22 }
    }
}

impl Layout {
    /// An absolute path of the machine, as this process reaches it.
    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(Path::new(absolute.trim_start_matches('/')))
    }

    /// Whether every process we can see is the machine's, so that all of them may be killed.
    pub(crate) fn owns_all_processes(&self) -> bool {
        self.place != Place::Folder && std::process::id() == 1
    }
}
