//! What every driver keeps on the disk: a folder for each machine, with what it is to be and a lock.
//!
//! ```text
//! ROOT/machines/ID/  spec.json  lock  and what the driver adds
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sublet_base::{MachineId, keccak256};
use sublet_machine::{DriverError, DriverKind, MachineSpec, Observed};

use crate::files;

/// Held during an operation, also by the helpers that take part in it.
pub(crate) type Lock = Flock<File>;

/// A driver's machines.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    root: PathBuf,
    instance: String,
}

/// What is remembered of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What it is to be.
    #[serde(flatten)]
    pub(crate) spec: MachineSpec,
    /// First of its user and group ids on the host, where it has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_id: Option<u32>,
}

impl Folders {
    /// Those in `root`, which is made.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        files::private_folder(root)?;
        let root = fs::canonicalize(root)?;
        let instance = format!("{:x}", keccak256(root.as_os_str().as_encoded_bytes()))[..8].to_owned();
        Ok(Self { root, instance })
    }

    /// The driver's own folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the driver's machines have their control groups; keeps drivers with different folders, and machines of one
    /// name in them, apart.
    pub(crate) fn groups(&self) -> String {
        format!("/sublet-{}", self.instance)
    }

    /// A machine's control group.
    pub(crate) fn group(&self, id: &MachineId) -> String {
        format!("{}/{id}", self.groups())
    }

    /// A machine's folder.
    pub(crate) fn of(&self, id: &MachineId) -> PathBuf {
        self.root.join("machines").join(id.as_str())
    }

    /// Every machine that has one, sorted.
    ///
    /// # Errors
    /// [`DriverError::Listing`].
    pub(crate) fn list(&self, kind: DriverKind) -> Result<Vec<MachineId>, DriverError> {
        self.machines().map_err(|e| DriverError::Listing(kind, e))
    }

    fn machines(&self) -> io::Result<Vec<MachineId>> {
        let entries = match fs::read_dir(self.root.join("machines")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Makes a machine's folder and locks it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn make(&self, id: &MachineId) -> Result<Lock, DriverError> {
        files::private_folder(&self.of(id)).map_err(failed(id, "create"))?;
        self.lock(id)
    }

    /// One operation at a time on a machine, also across processes: a helper inherits the lock, so that whoever comes
    /// after a daemon that died in the middle waits until its helper is done.
    ///
    /// # Errors
    /// [`DriverError::NotFound`] if it has no folder.
    pub(crate) fn lock(&self, id: &MachineId) -> Result<Lock, DriverError> {
        self.lock_if_any(id)?.ok_or_else(|| DriverError::NotFound(id.clone()))
    }

    /// The same; nothing if it has no folder.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn lock_if_any(&self, id: &MachineId) -> Result<Option<Lock>, DriverError> {
        match lock_file(&self.of(id).join("lock"), FlockArg::LockExclusive) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            lock => lock.map(Some).map_err(failed(id, "lock")),
        }
    }

    /// What is remembered of a machine.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn kept(&self, id: &MachineId) -> io::Result<Option<Kept>> {
        let text = files::read_if_any(&self.of(id).join("spec.json"))?;
        Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?)
    }

    /// What is remembered of every machine.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn all_kept(&self) -> io::Result<Vec<Kept>> {
        let kept = self.machines()?.into_iter().map(|id| self.kept(&id));
        kept.filter_map(Result::transpose).collect()
    }

    /// What is remembered of the machine that is to be made.
    ///
    /// # Errors
    /// [`DriverError::Taken`] if it is to be something else.
    pub(crate) fn known(&self, spec: &MachineSpec) -> Result<Option<Kept>, DriverError> {
        match self.kept(&spec.id).map_err(failed(&spec.id, "create"))? {
            Some(kept) if kept.spec != *spec => Err(DriverError::Taken(spec.id.clone())),
            kept => Ok(kept),
        }
    }

    /// Remembers it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn keep(&self, kept: &Kept) -> io::Result<()> {
        files::replace(&self.of(&kept.spec.id).join("spec.json"), &serde_json::to_vec(kept)?)
    }
}

/// Locks a file, which is made.
///
/// # Errors
/// The system's; `NotFound` if its folder is missing.
pub(crate) fn lock_file(path: &Path, how: FlockArg) -> io::Result<Lock> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Flock::lock(file, how).map_err(|(_, e)| e.into())
}

/// How an operation on a machine fails when the system refuses.
pub(crate) fn failed(id: &MachineId, operation: &'static str) -> impl FnOnce(io::Error) -> DriverError {
    let id = id.clone();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull => DriverError::NoRoom(source.to_string()),
        _ => DriverError::Io { id, operation, source },
    }
}

/// Refuses an operation in a state that is not one of `allowed`.
///
/// # Errors
/// [`DriverError::NotFound`] or [`DriverError::WrongState`].
pub(crate) fn check_state(
    id: &MachineId,
    observed: Observed,
    allowed: &[Observed],
    operation: &'static str,
) -> Result<(), DriverError> {
    match observed {
        _ if allowed.contains(&observed) => Ok(()),
        Observed::Absent => Err(DriverError::NotFound(id.clone())),
        _ => Err(DriverError::WrongState { id: id.clone(), observed, operation }),
    }
}
