//! The host's interface, version 1: generated messages in [`v1`], and what they mean in domain types.
//!
//! `proto/sublet/host/v1/host.proto` is the reference, with its how-to inline. Conversions check everything a caller
//! may get wrong, so that behind them only valid requests exist.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sublet_base::{B256, Digest, GiB, MachineId, MiB, Seconds, Vcpus};
use sublet_machine::{Clock, DriverKind, Guest, ImageRef, Isolation, Phase, Resources};

use crate::guest::{Configure, File, Workload};
pub use crate::guest::{MAX_ITEMS, Malformed, check_keys};

/// Messages, client and server as generated from the interface.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    tonic::include_proto!("sublet.host.v1");
}

/// The compiled interface, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("host");

/// Largest message either side accepts, bytes.
pub const MAX_MESSAGE: usize = 4 << 20;
/// A machine somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRequest {
    /// Its name on the host.
    pub id: MachineId,
    /// What it may use.
    pub resources: Resources,
    /// What it boots.
    pub image: ImageRef,
    /// Which driver; `None` leaves it to the host.
    pub driver: Option<DriverKind>,
    /// What runs inside. Its `pids` is `resources.pids`.
    pub guest: Configure,
    /// What the time inside is.
    #[serde(default)]
    pub clock: Clock,
}

/// A machine as its host reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// Its name on the host.
    pub id: MachineId,
    /// What runs it.
    pub driver: DriverKind,
    /// What it may use.
    pub resources: Resources,
    /// What it boots.
    pub image: ImageRef,
    /// Where it is.
    pub phase: Phase,
    /// What its inside reported.
    pub guest: Guest,
    /// The task's result, once stored.
    pub result: Option<TaskResult>,
    /// Kernel release the guest reported.
    pub kernel: Option<String>,
}

/// The stored result of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Exit code, or 128 + signal.
    pub exit_code: i32,
    /// Length of the archive.
    pub bytes: u64,
    /// keccak256 of the archive.
    pub hash: B256,
    /// From start to exit, rounded up.
    pub seconds: Seconds,
}

/// A driver of a host and whether it can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverReport {
    /// Which.
    pub kind: DriverKind,
    /// What it can do, or why it cannot be used.
    pub state: Result<sublet_machine::Capabilities, sublet_machine::Unusable>,
}

/// What a host has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// What it offers to machines in total.
    pub total: Resources,
    /// What of it is not taken.
    pub free: Resources,
    /// Its drivers.
    pub drivers: Vec<DriverReport>,
}

/// Which bytes of a machine to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// The machine's console.
    Console,
    /// The task's standard output.
    Stdout,
    /// The task's standard error.
    Stderr,
}

impl From<Resources> for v1::Resources {
    fn from(r: Resources) -> Self {
        Self { vcpus: r.vcpus.0, memory_mib: r.memory.0, disk_gib: r.disk.0, pids: r.pids }
    }
}

impl From<v1::Resources> for Resources {
    fn from(r: v1::Resources) -> Self {
        Self { vcpus: Vcpus(r.vcpus), memory: MiB(r.memory_mib), disk: GiB(r.disk_gib), pids: r.pids }
    }
}

impl From<DriverKind> for v1::Driver {
    fn from(kind: DriverKind) -> Self {
        match kind {
            DriverKind::Qemu => Self::Qemu,
            DriverKind::Container => Self::Container,
            DriverKind::Fake => Self::Fake,
        }
    }
}

fn driver_of(number: i32) -> Result<Option<DriverKind>, Malformed> {
    match v1::Driver::try_from(number) {
        Ok(v1::Driver::Auto) => Ok(None),
        Ok(v1::Driver::Qemu) => Ok(Some(DriverKind::Qemu)),
        Ok(v1::Driver::Container) => Ok(Some(DriverKind::Container)),
        Ok(v1::Driver::Fake) => Ok(Some(DriverKind::Fake)),
        Err(_) => Err(malformed("driver", format!("there is no driver {number}"))),
    }
}

impl From<Clock> for v1::Clock {
    fn from(clock: Clock) -> Self {
        match clock {
            Clock::Host => Self::Host,
            Clock::Fixed => Self::Fixed,
        }
    }
}

fn clock_of(number: i32) -> Result<Clock, Malformed> {
    match v1::Clock::try_from(number) {
        Ok(v1::Clock::Host) => Ok(Clock::Host),
        Ok(v1::Clock::Fixed) => Ok(Clock::Fixed),
        Err(_) => Err(malformed("clock", format!("there is no clock {number}"))),
    }
}

fn malformed(field: &'static str, problem: impl Into<String>) -> Malformed {
    Malformed::new(field, problem)
}

fn parse<T: FromStr<Err: std::fmt::Display>>(field: &'static str, text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|e: T::Err| malformed(field, e.to_string()))
}

/// The name a request carries.
///
/// # Errors
/// [`Malformed`] if it cannot name a machine.
pub fn machine_id(name: &str) -> Result<MachineId, Malformed> {
    parse("name", name)
}

fn check_resources(r: Resources) -> Result<Resources, Malformed> {
    let zero = [("resources.vcpus", r.vcpus.0), ("resources.memory_mib", r.memory.0), ("resources.disk_gib", r.disk.0)];
    if let Some((field, _)) = zero.into_iter().find(|(_, amount)| *amount == 0) {
        return Err(malformed(field, "must be at least 1"));
    }
    if r.pids < 8 { Err(malformed("resources.pids", "must be at least 8")) } else { Ok(r) }
}

impl TryFrom<v1::CreateMachineRequest> for MachineRequest {
    type Error = Malformed;

    fn try_from(request: v1::CreateMachineRequest) -> Result<Self, Malformed> {
        let resources = request.resources.ok_or_else(|| malformed("resources", "missing"))?;
        let resources = check_resources(resources.into())?;
        let digest: Digest = parse("image_digest", &request.image_digest)?;
        let guest = request.guest.ok_or_else(|| malformed("guest", "missing"))?;
        Ok(Self {
            id: machine_id(&request.name)?,
            resources,
            image: ImageRef { name: request.image_name, digest },
            driver: driver_of(request.driver)?,
            guest: configure(guest, resources.pids)?,
            clock: clock_of(request.clock)?,
        })
    }
}

fn configure(guest: v1::Guest, pids: u32) -> Result<Configure, Malformed> {
    let hostname: MachineId = parse("guest.hostname", &guest.hostname)?;
    let workload = match guest.workload {
        Some(v1::guest::Workload::Login(login)) => Workload::Login { authorized_keys: login.authorized_keys },
        Some(v1::guest::Workload::Task(task)) => Workload::Task { argv: task.argv, cwd: task.cwd },
        None => return Err(malformed("guest.workload", "missing")),
    };
    let file = |file: v1::File| File { path: file.path, mode: file.mode & 0o7777, content: file.content };
    let files = guest.files.into_iter().map(file).collect();
    let configure = Configure { hostname: hostname.into(), workload, env: guest.env, files, pids };
    configure.check().map(|()| configure)
}

impl From<MachineRequest> for v1::CreateMachineRequest {
    fn from(request: MachineRequest) -> Self {
        let guest = request.guest;
        let workload = match guest.workload {
            Workload::Login { authorized_keys } => v1::guest::Workload::Login(v1::Login { authorized_keys }),
            Workload::Task { argv, cwd } => v1::guest::Workload::Task(v1::Task { argv, cwd }),
        };
        let files = guest.files.into_iter().map(|f| v1::File { path: f.path, mode: f.mode, content: f.content });
        Self {
            name: request.id.into(),
            resources: Some(request.resources.into()),
            image_name: request.image.name,
            image_digest: request.image.digest.to_string(),
            driver: request.driver.map_or(v1::Driver::Auto, Into::into).into(),
            clock: v1::Clock::from(request.clock).into(),
            guest: Some(v1::Guest {
                hostname: guest.hostname,
                workload: Some(workload),
                env: guest.env,
                files: files.collect(),
            }),
        }
    }
}

impl From<&Phase> for v1::Phase {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Creating => Self::Creating,
            Phase::Stopped => Self::Stopped,
            Phase::Starting => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Pausing => Self::Pausing,
            Phase::Paused => Self::Paused,
            Phase::Resuming => Self::Resuming,
            Phase::Stopping => Self::Stopping,
            Phase::Failed(_) => Self::Failed,
            Phase::Deleting | Phase::Deleted => Self::Deleting,
        }
    }
}

impl From<MachineView> for v1::Machine {
    fn from(view: MachineView) -> Self {
        let failure = match (&view.phase, &view.guest) {
            (Phase::Failed(reason), _) | (_, Guest::GaveUp { reason }) => reason.clone(),
            _ => String::new(),
        };
        let ssh_host_key = match view.guest {
            Guest::Ready { ssh_host_key } => ssh_host_key,
            Guest::Silent | Guest::Exited { .. } | Guest::GaveUp { .. } => String::new(),
        };
        Self {
            name: view.id.into(),
            driver: v1::Driver::from(view.driver).into(),
            resources: Some(view.resources.into()),
            image_name: view.image.name,
            image_digest: view.image.digest.to_string(),
            phase: v1::Phase::from(&view.phase).into(),
            ssh_host_key,
            result: view.result.map(Into::into),
            failure,
            kernel: view.kernel.unwrap_or_default(),
        }
    }
}

impl From<TaskResult> for v1::TaskResult {
    fn from(result: TaskResult) -> Self {
        Self { exit_code: result.exit_code, bytes: result.bytes, hash: result.hash.to_vec(), seconds: result.seconds.0 }
    }
}

impl TryFrom<v1::TaskResult> for TaskResult {
    type Error = Malformed;

    fn try_from(result: v1::TaskResult) -> Result<Self, Malformed> {
        let hash = B256::try_from(&result.hash[..]).map_err(|_| malformed("result.hash", "not 32 bytes"))?;
        Ok(Self { exit_code: result.exit_code, bytes: result.bytes, hash, seconds: Seconds(result.seconds) })
    }
}

impl TryFrom<v1::Machine> for MachineView {
    type Error = Malformed;

    fn try_from(machine: v1::Machine) -> Result<Self, Malformed> {
        let phase = match machine.phase() {
            v1::Phase::Unknown => return Err(malformed("phase", "unknown")),
            v1::Phase::Creating => Phase::Creating,
            v1::Phase::Stopped => Phase::Stopped,
            v1::Phase::Starting => Phase::Starting,
            v1::Phase::Running => Phase::Running,
            v1::Phase::Pausing => Phase::Pausing,
            v1::Phase::Paused => Phase::Paused,
            v1::Phase::Resuming => Phase::Resuming,
            v1::Phase::Stopping => Phase::Stopping,
            v1::Phase::Failed => Phase::Failed(machine.failure.clone()),
            v1::Phase::Deleting => Phase::Deleting,
        };
        let result: Option<TaskResult> = machine.result.map(TryInto::try_into).transpose()?;
        let guest = match (&result, machine.ssh_host_key.is_empty(), &phase) {
            (Some(result), _, _) => Guest::Exited { code: result.exit_code },
            (None, false, _) => Guest::Ready { ssh_host_key: machine.ssh_host_key },
            (None, true, Phase::Failed(_)) => Guest::Silent,
            (None, true, _) if machine.failure.is_empty() => Guest::Silent,
            (None, true, _) => Guest::GaveUp { reason: machine.failure },
        };
        Ok(Self {
            id: machine_id(&machine.name)?,
            driver: driver_of(machine.driver)?.ok_or_else(|| malformed("driver", "unknown"))?,
            resources: machine.resources.ok_or_else(|| malformed("resources", "missing"))?.into(),
            image: ImageRef { name: machine.image_name, digest: parse("image_digest", &machine.image_digest)? },
            phase,
            guest,
            result,
            kernel: Some(machine.kernel).filter(|kernel| !kernel.is_empty()),
        })
    }
}

impl From<DriverReport> for v1::DriverInfo {
    fn from(report: DriverReport) -> Self {
        let driver = v1::Driver::from(report.kind).into();
        match report.state {
            Ok(can) => Self {
                driver,
                usable: true,
                isolation: match can.isolation {
                    Isolation::VirtualMachine => v1::Isolation::VirtualMachine,
                    Isolation::Namespaces => v1::Isolation::Namespaces,
                    Isolation::Simulated => v1::Isolation::Simulated,
                }
                .into(),
                pause: can.pause,
                accelerated: can.accelerated,
                notes: can.notes,
                ..Self::default()
            },
            Err(unusable) => Self { driver, reason: unusable.reason, remedy: unusable.remedy, ..Self::default() },
        }
    }
}

impl TryFrom<v1::DriverInfo> for DriverReport {
    type Error = Malformed;

    fn try_from(info: v1::DriverInfo) -> Result<Self, Malformed> {
        let kind = driver_of(info.driver)?.ok_or_else(|| malformed("driver", "unknown"))?;
        if !info.usable {
            let unusable = sublet_machine::Unusable { reason: info.reason, remedy: info.remedy };
            return Ok(Self { kind, state: Err(unusable) });
        }
        let isolation = match info.isolation() {
            v1::Isolation::VirtualMachine => Isolation::VirtualMachine,
            v1::Isolation::Namespaces => Isolation::Namespaces,
            v1::Isolation::Simulated => Isolation::Simulated,
            v1::Isolation::Unknown => return Err(malformed("isolation", "unknown")),
        };
        let (pause, accelerated, notes) = (info.pause, info.accelerated, info.notes);
        Ok(Self { kind, state: Ok(sublet_machine::Capabilities { isolation, pause, accelerated, notes }) })
    }
}

impl From<HostReport> for v1::GetHostResponse {
    fn from(report: HostReport) -> Self {
        Self {
            total: Some(report.total.into()),
            free: Some(report.free.into()),
            drivers: report.drivers.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::GetHostResponse> for HostReport {
    type Error = Malformed;

    fn try_from(response: v1::GetHostResponse) -> Result<Self, Malformed> {
        Ok(Self {
            total: response.total.ok_or_else(|| malformed("total", "missing"))?.into(),
            free: response.free.ok_or_else(|| malformed("free", "missing"))?.into(),
            drivers: response.drivers.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<LogSource> for v1::Source {
    fn from(source: LogSource) -> Self {
        match source {
            LogSource::Console => Self::Console,
            LogSource::Stdout => Self::Stdout,
            LogSource::Stderr => Self::Stderr,
        }
    }
}

impl From<v1::Source> for LogSource {
    fn from(source: v1::Source) -> Self {
        match source {
            v1::Source::Console => Self::Console,
            v1::Source::Stdout => Self::Stdout,
            v1::Source::Stderr => Self::Stderr,
        }
    }
}
