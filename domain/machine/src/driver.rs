//! The driver port: the operations every backend offers, what it can do beyond them, and how it fails.

use std::fmt;
use std::net::TcpStream;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sublet_base::{MachineId, Seconds};
use thiserror::Error;

use crate::MachineSpec;

/// Which backend runs a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverKind {
    /// QEMU, with KVM where the boot probe passes, else emulated.
    Qemu,
    /// An OCI container through libcontainer.
    Container,
    /// In memory, for simulation.
    Fake,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "qemu",
            Self::Container => "container",
            Self::Fake => "fake",
        })
    }
}

/// What separates a machine from its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A kernel of its own on virtual hardware.
    VirtualMachine,
    /// Namespaces and cgroups on the host's kernel.
    Namespaces,
    /// None: nothing real runs.
    Simulated,
}

/// What a driver can do on this host, found by trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What separates its machines from the host.
    pub isolation: Isolation,
    /// Can `pause` and `resume`.
    pub pause: bool,
    /// Hardware acceleration: the guest runs on the processor itself.
    pub accelerated: bool,
    /// What people should know: why emulated, which limit is not enforced.
    pub notes: Vec<String>,
}

/// Why a driver cannot be used on this host, and what would make it usable.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{reason}; {remedy}")]
pub struct Unusable {
    /// What was tried and how it failed.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a driver sees of a machine, whatever anybody remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observed {
    /// No trace of it on this host.
    Absent,
    /// Its files exist, nothing runs.
    Stopped,
    /// Its process runs.
    Running,
    /// Its process runs, its processors do not.
    Paused,
}

/// What a create leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Unix socket on which the guest channel is served once the machine runs. One client at a time.
    pub guest_channel: PathBuf,
    /// File that receives the machine's console.
    pub console: PathBuf,
}

/// What a machine uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStats {
    /// Resident memory of the machine on the host, bytes.
    pub memory_bytes: u64,
    /// Processor time used since start, microseconds.
    pub cpu_micros: u64,
    /// Writable layer, bytes.
    pub disk_bytes: u64,
}

/// How a driver's operation fails.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The driver has no such machine.
    #[error("there is no machine {0} here")]
    NotFound(MachineId),
    /// A machine of this name exists and is to be something else.
    #[error("machine {0} exists, and is to be something else")]
    Taken(MachineId),
    /// The machine exists but is in the wrong state for this.
    #[error("machine {id} is {observed:?}, which does not allow to {operation}")]
    WrongState {
        /// The machine.
        id: MachineId,
        /// What it is.
        observed: Observed,
        /// What was asked.
        operation: &'static str,
    },
    /// The driver never does this.
    #[error("the {0} driver cannot {1}")]
    Unsupported(DriverKind, &'static str),
    /// The host lacks disk or memory for it. Retry elsewhere.
    #[error("the host has no room: {0}")]
    NoRoom(String),
    /// Looking for machines failed.
    #[error("the {0} driver could not look for machines")]
    Listing(DriverKind, #[source] std::io::Error),
    /// The machine's backend refused or died.
    #[error("could not {operation} machine {id}: {detail}")]
    Backend {
        /// The machine.
        id: MachineId,
        /// What was tried.
        operation: &'static str,
        /// What the backend said, trimmed.
        detail: String,
    },
    /// The operating system refused.
    #[error("could not {operation} machine {id}")]
    Io {
        /// The machine.
        id: MachineId,
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// A backend that runs machines. Every operation may block, and none keeps state in memory that the next process needs:
/// a new driver over the same folder sees the machines an earlier one left, running or not.
pub trait Driver: Send + Sync {
    /// Which backend this is.
    fn kind(&self) -> DriverKind;

    /// What it can do here. Runs a guest to completion the first time it is asked (the boot probe).
    ///
    /// # Errors
    /// [`Unusable`] with the reason and the remedy.
    fn probe(&self) -> Result<Capabilities, Unusable>;

    /// Prepares disks and folders. Repeating it with the same spec is harmless; a half-done create is completed.
    ///
    /// # Errors
    /// [`DriverError::Taken`] for another spec; whatever was made is removed by [`Driver::delete`].
    fn create(&self, spec: &MachineSpec) -> Result<Prepared, DriverError>;

    /// Starts a stopped machine; it runs on when this process dies.
    ///
    /// # Errors
    /// [`DriverError::WrongState`] unless stopped.
    fn start(&self, id: &MachineId) -> Result<(), DriverError>;

    /// Stops the machine: asks, waits up to `grace`, then kills. Harmless when already stopped.
    ///
    /// # Errors
    /// [`DriverError::NotFound`] if absent.
    fn stop(&self, id: &MachineId, grace: Seconds) -> Result<(), DriverError>;

    /// Kills what runs, also while another operation is under way, so that a stop need not take its grace. Removes
    /// nothing. Harmless when nothing runs.
    ///
    /// # Errors
    /// The machine may run on then.
    fn kill(&self, id: &MachineId) -> Result<(), DriverError>;

    /// Halts the machine's processors.
    ///
    /// # Errors
    /// [`DriverError::WrongState`] unless running.
    fn pause(&self, id: &MachineId) -> Result<(), DriverError>;

    /// Lets them go on.
    ///
    /// # Errors
    /// [`DriverError::WrongState`] unless paused.
    fn resume(&self, id: &MachineId) -> Result<(), DriverError>;

    /// Kills what runs and removes every trace: processes, namespaces, mounts, cgroups, files. Harmless when absent.
    ///
    /// # Errors
    /// [`DriverError`] if something could not be removed; repeat it.
    fn delete(&self, id: &MachineId) -> Result<(), DriverError>;

    /// What is there, by looking; waits for an operation under way. What can never run again is done away with and
    /// counts as stopped.
    ///
    /// # Errors
    /// [`DriverError`] if looking failed, which says nothing about the machine.
    fn observe(&self, id: &MachineId) -> Result<Observed, DriverError>;

    /// Every machine with a trace on this host.
    ///
    /// # Errors
    /// [`DriverError`] if looking failed.
    fn list(&self) -> Result<Vec<MachineId>, DriverError>;

    /// Where a created machine's channel and console are.
    ///
    /// # Errors
    /// [`DriverError::NotFound`] if absent.
    fn prepared(&self, id: &MachineId) -> Result<Prepared, DriverError>;

    /// A byte stream to a TCP port inside a running machine; the machine needs no route to anywhere for it.
    ///
    /// # Errors
    /// [`DriverError::Io`] when nothing listens there.
    fn dial(&self, id: &MachineId, port: u16) -> Result<TcpStream, DriverError>;

    /// What it uses now.
    ///
    /// # Errors
    /// [`DriverError::WrongState`] unless running.
    fn stats(&self, id: &MachineId) -> Result<MachineStats, DriverError>;
}
