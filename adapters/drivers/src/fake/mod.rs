//! A driver that runs nothing: machines are files, guests are threads, ports are loopback echoes, faults come on request.
//!
//! Everything it does is decided by what it is told, so a simulation can be repeated. What a machine "runs" is in
//! [`guest`]; which ports answer is [`PORTS`].

mod guest;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sublet_base::{MachineId, Seconds};
use sublet_machine::{
    Capabilities, Clock, Driver, DriverError, DriverKind, Isolation, MachineSpec, MachineStats, Observed, Prepared,
    Unusable,
};

use crate::files;
use crate::folder::{Folders, Kept, check_state, failed};
use guest::FakeGuest;
pub use guest::HOST_KEY;

/// Ports inside every fake machine on which something listens: it sends back what it gets.
pub const PORTS: [u16; 2] = [7, 22];

/// Machines without substance, under one folder.
#[derive(Debug)]
pub struct FakeDriver {
    folders: Folders,
    guests: Mutex<HashMap<MachineId, FakeGuest>>,
    /// Steps until one fails; zero means never.
    fuse: AtomicU64,
    stubborn: AtomicBool,
    /// Who was killed, for stops that wait.
    killed: (Mutex<HashSet<MachineId>>, Condvar),
    blind: AtomicBool,
    unusable: AtomicBool,
}

impl FakeDriver {
    /// Fake machines in `root`, among them those an earlier driver left running there.
    ///
    /// # Errors
    /// The system's, if the folder cannot be made or read.
    pub fn new(root: &Path) -> io::Result<Self> {
        let driver = Self {
            folders: Folders::open(root)?,
            guests: Mutex::default(),
            fuse: AtomicU64::new(0),
            stubborn: AtomicBool::new(false),
            killed: Default::default(),
            blind: AtomicBool::new(false),
            unusable: AtomicBool::new(false),
        };
        for id in driver.list().map_err(io::Error::other)? {
            match driver.state(&id)? {
                Observed::Running | Observed::Paused => driver.boot(&id)?,
                Observed::Stopped | Observed::Absent => {}
            }
        }
        Ok(driver)
    }

    /// Lets the `step`th step from now fail (the first is 1); zero for none. Every change to a file is a step.
    pub fn fail_step(&self, step: u64) {
        self.fuse.store(step, Ordering::SeqCst);
    }

    /// From now on machines ignore that they are asked to stop: a stop takes its whole grace, or until a kill.
    pub fn be_stubborn(&self) {
        self.stubborn.store(true, Ordering::SeqCst);
    }

    /// From now on nobody can see what a machine is doing.
    pub fn be_blind(&self) {
        self.blind.store(true, Ordering::SeqCst);
    }

    /// From now on the probe fails, or passes again.
    pub fn be_unusable(&self, unusable: bool) {
        self.unusable.store(unusable, Ordering::SeqCst);
    }

    fn wait_for_kill(&self, id: &MachineId, grace: Seconds) {
        let killed = self.killed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let grace = Duration::from_secs(grace.0.into());
        let waited = self.killed.1.wait_timeout_while(killed, grace, |killed| !killed.contains(id));
        waited.unwrap_or_else(PoisonError::into_inner).0.remove(id);
    }

    fn step(&self) -> io::Result<()> {
        let before = self.fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if before == Ok(1) { Err(io::Error::other("a fault was asked for")) } else { Ok(()) }
    }

    fn state(&self, id: &MachineId) -> io::Result<Observed> {
        if !self.folders.of(id).is_dir() {
            return Ok(Observed::Absent);
        }
        match files::read_if_any(&self.folders.of(id).join("state"))?.as_deref() {
            Some(b"running") => Ok(Observed::Running),
            Some(b"paused") => Ok(Observed::Paused),
            _ => Ok(Observed::Stopped),
        }
    }

    fn set_state(&self, id: &MachineId, state: &str) -> io::Result<()> {
        self.step()?;
        files::replace(&self.folders.of(id).join("state"), state.as_bytes())
    }

    fn guests(&self) -> MutexGuard<'_, HashMap<MachineId, FakeGuest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot(&self, id: &MachineId) -> io::Result<()> {
        let folder = self.folders.of(id);
        let state = folder.join("state");
        let guest = FakeGuest::boot(&folder.join("guest.sock"), move || files::replace(&state, b"stopped"))?;
        self.guests().insert(id.clone(), guest);
        Ok(())
    }

    fn expect(&self, id: &MachineId, allowed: &[Observed], operation: &'static str) -> Result<(), DriverError> {
        check_state(id, self.observe(id)?, allowed, operation)
    }
}

impl Driver for FakeDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Fake
    }

    fn probe(&self) -> Result<Capabilities, Unusable> {
        if self.unusable.load(Ordering::SeqCst) {
            return Err(Unusable { reason: "it was told to be unusable".into(), remedy: "tell it otherwise".into() });
        }
        let notes = vec!["nothing real runs; for simulation only".to_owned()];
        Ok(Capabilities { isolation: Isolation::Simulated, pause: true, accelerated: false, notes })
    }

    fn create(&self, spec: &MachineSpec) -> Result<Prepared, DriverError> {
        self.folders.known(spec)?;
        let folder = self.folders.of(&spec.id);
        let make = || {
            self.step()?;
            files::private_folder(&folder)?;
            self.step()?;
            self.folders.keep(&Kept { spec: spec.clone(), first_id: None })?;
            self.step()?;
            files::replace(&folder.join("console"), b"a fake machine\n")?;
            if files::read_if_any(&folder.join("state"))?.is_none() {
                self.set_state(&spec.id, "stopped")
            } else {
                Ok(())
            }
        };
        make().map_err(failed(&spec.id, "create"))?;
        self.prepared(&spec.id)
    }

    fn start(&self, id: &MachineId) -> Result<(), DriverError> {
        self.expect(id, &[Observed::Stopped], "start")?;
        self.killed.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.set_state(id, "running").and_then(|()| self.boot(id)).map_err(failed(id, "start"))
    }

    fn stop(&self, id: &MachineId, grace: Seconds) -> Result<(), DriverError> {
        self.expect(id, &[Observed::Stopped, Observed::Running, Observed::Paused], "stop")?;
        if self.stubborn.load(Ordering::SeqCst) {
            self.wait_for_kill(id, grace);
        }
        self.guests().remove(id);
        self.set_state(id, "stopped").map_err(failed(id, "stop"))
    }

    fn kill(&self, id: &MachineId) -> Result<(), DriverError> {
        self.killed.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        self.killed.1.notify_all();
        match self.observe(id)? {
            Observed::Running | Observed::Paused => {
                self.guests().remove(id);
                self.set_state(id, "stopped").map_err(failed(id, "kill"))
            }
            Observed::Stopped | Observed::Absent => Ok(()),
        }
    }

    fn pause(&self, id: &MachineId) -> Result<(), DriverError> {
        self.expect(id, &[Observed::Running], "pause")?;
        self.set_state(id, "paused").map_err(failed(id, "pause"))
    }

    fn resume(&self, id: &MachineId) -> Result<(), DriverError> {
        self.expect(id, &[Observed::Paused], "resume")?;
        self.set_state(id, "running").map_err(failed(id, "resume"))
    }

    fn delete(&self, id: &MachineId) -> Result<(), DriverError> {
        self.guests().remove(id);
        self.step().and_then(|()| files::remove_folder(&self.folders.of(id))).map_err(failed(id, "delete"))
    }

    fn observe(&self, id: &MachineId) -> Result<Observed, DriverError> {
        if self.blind.load(Ordering::SeqCst) {
            return Err(failed(id, "observe")(io::Error::other("it cannot be seen")));
        }
        self.state(id).map_err(failed(id, "observe"))
    }

    fn list(&self) -> Result<Vec<MachineId>, DriverError> {
        self.folders.list(DriverKind::Fake)
    }

    fn prepared(&self, id: &MachineId) -> Result<Prepared, DriverError> {
        let folder = self.folders.of(id);
        if !folder.is_dir() {
            return Err(DriverError::NotFound(id.clone()));
        }
        Ok(Prepared { guest_channel: folder.join("guest.sock"), console: folder.join("console") })
    }

    fn dial(&self, id: &MachineId, port: u16) -> Result<TcpStream, DriverError> {
        self.expect(id, &[Observed::Running], "dial")?;
        if !PORTS.contains(&port) {
            return Err(failed(id, "dial")(io::ErrorKind::ConnectionRefused.into()));
        }
        echo().map_err(failed(id, "dial"))
    }

    fn stats(&self, id: &MachineId) -> Result<MachineStats, DriverError> {
        self.expect(id, &[Observed::Running, Observed::Paused], "measure")?;
        Ok(MachineStats::default())
    }
}

/// A connection to a thread that sends back what it gets.
fn echo() -> io::Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, peer) = listener.accept()?;
    if peer != client.local_addr()? {
        return Err(io::Error::other("somebody else connected"));
    }
    std::thread::Builder::new().name("fake-port".into()).spawn(move || {
        let mut reader = server.try_clone()?;
        io::copy(&mut reader, &mut server)?;
        server.shutdown(std::net::Shutdown::Write)
    })?;
    Ok(client)
}

/// The machine the tests use.
///
/// # Panics
/// Never with a valid name.
#[must_use]
pub fn example_spec(name: &str) -> MachineSpec {
    let resources = sublet_machine::Resources {
        vcpus: sublet_base::Vcpus(1),
        memory: sublet_base::MiB(64),
        disk: sublet_base::GiB(1),
        pids: 64,
    };
    let image = sublet_machine::DiskImage {
        digest: sublet_base::Digest([0; 32]),
        rootfs: PathBuf::from("/nonexistent.erofs"),
        config: sublet_machine::ImageConfig::default(),
    };
    let id = MachineId::from_str(name).expect("a valid name");
    MachineSpec { id, resources, image, hostname: "machine".into(), clock: Clock::Host }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{HalfCreate, Subject, check};

    #[test]
    fn it_conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("fake");
        let open = || Box::new(FakeDriver::new(&root).expect("opens")) as Box<dyn Driver>;
        let half_created = (1..=4).map(|step| {
            let root = root.clone();
            Box::new(move |spec: &MachineSpec| {
                let driver = FakeDriver::new(&root).expect("opens");
                driver.fail_step(step);
                assert!(driver.create(spec).is_err(), "step {step} should fail");
            }) as HalfCreate<'_>
        });
        let subject = Subject {
            open: &open,
            spec: example_spec("one"),
            half_created: half_created.collect(),
            task: None,
            open_port: 7,
            closed_port: 9,
        };
        check(&subject).unwrap_or_else(|violation| panic!("{violation}"));
    }
}
