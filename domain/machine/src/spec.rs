//! What a machine is asked to be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sublet_base::{Digest, GiB, MachineId, MiB, Vcpus};

/// What a machine may use, enforced by its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Virtual processors.
    pub vcpus: Vcpus,
    /// Memory.
    pub memory: MiB,
    /// Writable disk, on top of the read-only image.
    pub disk: GiB,
    /// Processes and threads at once; a driver with a kernel of its own enforces it inside the guest.
    pub pids: u32,
}

/// An image by name for people and by manifest digest for everyone else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRef {
    /// `debian-12`, or a registry reference.
    pub name: String,
    /// Digest of the OCI manifest; what is actually run.
    pub digest: Digest,
}

/// How an image wants to be run, from its OCI configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Entrypoint followed by command.
    pub argv: Vec<String>,
    /// `NAME=value` pairs.
    pub env: Vec<String>,
    /// Working directory; empty means `/`.
    pub cwd: String,
}

/// An image made ready on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskImage {
    /// Manifest digest it was made from.
    pub digest: Digest,
    /// A read-only erofs file, shared by every machine that runs the image.
    pub rootfs: PathBuf,
    /// Its OCI configuration.
    pub config: ImageConfig,
}

/// What the clock inside a machine shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The host's time.
    #[default]
    Host,
    /// The same time at every start, for results that must not depend on when they were made. Only a driver whose
    /// machines have a kernel of their own can give it; elsewhere it is the host's all the same.
    Fixed,
}

/// Everything a driver needs to create a machine. What runs inside is told to the guest over its channel, not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Unique on this host.
    pub id: MachineId,
    /// Limits.
    pub resources: Resources,
    /// Root file system.
    pub image: DiskImage,
    /// Host name inside; never made from `id`, which differs between those who run the same job.
    #[serde(default)]
    pub hostname: String,
    /// The time inside.
    #[serde(default)]
    pub clock: Clock,
}
