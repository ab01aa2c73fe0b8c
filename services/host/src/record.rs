//! What a host remembers of a machine. Stored before each effect, so that a restart can finish what was under way.

use serde::{Deserialize, Serialize};
use sublet_base::{MachineId, UnixTime};
use sublet_machine::{DriverKind, Guest, Lifecycle, Phase};
use sublet_wire::host::{MachineRequest, MachineView, TaskResult};

use crate::printable;

/// Characters that callers see of why something failed.
const MAX_FAILURE: usize = 1000;

/// A machine in the host's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was asked for.
    pub request: MachineRequest,
    /// What runs it.
    pub driver: DriverKind,
    /// Where it is.
    pub life: Lifecycle,
    /// Keys that replaced those of the request.
    pub keys: Option<Vec<String>>,
    /// When it was last started.
    pub started: Option<UnixTime>,
    /// The stored result of its task.
    pub result: Option<TaskResult>,
    /// Kernel release its guest reported.
    pub kernel: Option<String>,
    /// Why the last operation that could be undone failed, or why the machine stopped though nobody asked it to.
    pub trouble: Option<String>,
}

impl Record {
    /// A machine that is about to be created.
    #[must_use]
    pub fn new(request: MachineRequest, driver: DriverKind) -> Self {
        let life = Lifecycle::new();
        Self { request, driver, life, keys: None, started: None, result: None, kernel: None, trouble: None }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &MachineId {
        &self.request.id
    }

    /// What callers see of it.
    #[must_use]
    pub fn view(&self) -> MachineView {
        let short = |reason: &str| printable(reason, MAX_FAILURE);
        let phase = match self.life.phase() {
            Phase::Failed(reason) => Phase::Failed(short(reason)),
            phase => phase.clone(),
        };
        let guest = match self.life.guest() {
            Guest::GaveUp { reason } => Guest::GaveUp { reason: short(reason) },
            guest => guest.clone(),
        };
        MachineView {
            id: self.request.id.clone(),
            driver: self.driver,
            resources: self.request.resources,
            image: self.request.image.clone(),
            phase,
            guest,
            result: self.result,
            kernel: self.kernel.clone(),
        }
    }
}
