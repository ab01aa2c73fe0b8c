//! The suite every driver must pass: what callers rely on, whichever backend runs the machine.
//!
//! It drives a real machine through its life with the driver alone, and speaks to the guest only to see it boot.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use sublet_base::Seconds;
use sublet_machine::{Driver, DriverError, MachineSpec, Observed, Prepared};
use sublet_wire::guest::{Configure, FromGuest, ToGuest, read_frame, write_frame};
use thiserror::Error;

/// How long a guest may take to report; generous, because emulation on a busy host is slow.
const BOOT: Duration = Duration::from_secs(120);
/// A guest that runs says hello within this.
const GREETING: Duration = Duration::from_secs(5);

/// What is checked.
pub struct Subject<'a> {
    /// Opens the driver anew over the same folder, as a restarted daemon would.
    pub open: &'a dyn Fn() -> Box<dyn Driver>,
    /// A machine whose guest is our init, or speaks like it.
    pub spec: MachineSpec,
    /// Each leaves a create of the spec half done, at a different place.
    pub half_created: Vec<HalfCreate<'a>>,
    /// What to tell the guest, so that something listens on the open port.
    pub task: Option<Configure>,
    /// A port in the machine that sends back what it gets, once the guest does what it was told.
    pub open_port: u16,
    /// A port in the machine on which nothing listens.
    pub closed_port: u16,
}

/// Leaves a create of the given machine half done.
pub type HalfCreate<'a> = Box<dyn Fn(&MachineSpec) + 'a>;

/// A driver that breaks a rule.
#[derive(Debug, Error)]
#[error("{rule}: {found}")]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What happened instead.
    pub found: String,
}

type Checked = Result<(), Violation>;

fn broken(rule: &'static str, found: impl Debug) -> Violation {
    Violation { rule, found: format!("{found:?}") }
}

fn works<T>(rule: &'static str, result: Result<T, DriverError>) -> Result<T, Violation> {
    result.map_err(|e| broken(rule, e))
}

fn sees(driver: &dyn Driver, spec: &MachineSpec, wanted: Observed, rule: &'static str) -> Checked {
    let seen = works(rule, driver.observe(&spec.id))?;
    if seen == wanted { Ok(()) } else { Err(broken(rule, seen)) }
}

fn not_found<T: Debug>(rule: &'static str, result: Result<T, DriverError>) -> Checked {
    match result {
        Err(DriverError::NotFound(_)) => Ok(()),
        other => Err(broken(rule, other)),
    }
}

fn wrong_state<T: Debug>(rule: &'static str, result: Result<T, DriverError>) -> Checked {
    match result {
        Err(DriverError::WrongState { .. }) => Ok(()),
        other => Err(broken(rule, other)),
    }
}

/// Runs the suite. Whatever happens, the machine is deleted at the end.
///
/// # Errors
/// The first [`Violation`].
pub fn check(subject: &Subject<'_>) -> Result<(), Violation> {
    let result = life(subject).and_then(|()| half_done_creates(subject));
    (subject.open)().delete(&subject.spec.id).map_err(|e| broken("the machine can be deleted in the end", e))?;
    result
}

fn life(subject: &Subject<'_>) -> Checked {
    let driver = (subject.open)();
    let driver = driver.as_ref();
    works("the probe passes", driver.probe().map_err(|e| DriverError::NoRoom(e.to_string())))?;
    nothing_there(driver, &subject.spec)?;
    let prepared = stopped(driver, &subject.spec)?;
    let boot = running(driver, subject, &prepared)?;
    let adopted = (subject.open)();
    adoption(adopted.as_ref(), subject, &prepared, &boot)?;
    pausing(adopted.as_ref(), subject)?;
    stopping(adopted.as_ref(), &subject.spec)?;
    again(adopted.as_ref(), &subject.spec, &boot)?;
    gone(adopted.as_ref(), &subject.spec)
}

fn nothing_there(driver: &dyn Driver, spec: &MachineSpec) -> Checked {
    sees(driver, spec, Observed::Absent, "an unknown machine is absent")?;
    not_found("an unknown machine cannot be started", driver.start(&spec.id))?;
    not_found("an unknown machine cannot be stopped", driver.stop(&spec.id, Seconds(0)))?;
    not_found("an unknown machine has no channel", driver.prepared(&spec.id))?;
    works("deleting an absent machine is harmless", driver.delete(&spec.id))
}

fn stopped(driver: &dyn Driver, spec: &MachineSpec) -> Result<Prepared, Violation> {
    let first = works("create works", driver.create(spec))?;
    let second = works("create can be repeated", driver.create(spec))?;
    if first != second {
        return Err(broken("a repeated create gives the same paths", (first, second)));
    }
    let other = MachineSpec { hostname: "other".into(), ..spec.clone() };
    match driver.create(&other) {
        Err(DriverError::Taken(_)) => {}
        made => return Err(broken("another spec under the same name is refused", made)),
    }
    sees(driver, spec, Observed::Stopped, "a created machine is stopped")?;
    if !works("list works", driver.list())?.contains(&spec.id) {
        return Err(broken("a created machine is listed", driver.list()));
    }
    works("stopping a stopped machine is harmless", driver.stop(&spec.id, Seconds(0)))?;
    wrong_state("a stopped machine cannot be paused", driver.pause(&spec.id))?;
    wrong_state("a stopped machine cannot be resumed", driver.resume(&spec.id))?;
    wrong_state("a stopped machine has no use to measure", driver.stats(&spec.id))?;
    wrong_state("a stopped machine has no ports", driver.dial(&spec.id, 22).map(drop))?;
    Ok(first)
}

fn running(driver: &dyn Driver, subject: &Subject<'_>, prepared: &Prepared) -> Result<String, Violation> {
    let spec = &subject.spec;
    works("start works", driver.start(&spec.id))?;
    sees(driver, spec, Observed::Running, "a started machine is running")?;
    wrong_state("a running machine cannot be started", driver.start(&spec.id))?;
    wrong_state("a running machine cannot be resumed", driver.resume(&spec.id))?;
    let boot = hello(prepared)?;
    // Held until the guest has acted on it: what is under way to a guest may be lost with the connection.
    let told = subject.task.as_ref().map(|task| tell(prepared, task)).transpose();
    let _channel = told.map_err(|e| broken("the guest takes its task", e))?;
    works("a running machine's use is measured", driver.stats(&spec.id))?;
    ports(driver, subject)?;
    Ok(boot)
}

fn ports(driver: &dyn Driver, subject: &Subject<'_>) -> Checked {
    let id = &subject.spec.id;
    match driver.dial(id, subject.closed_port) {
        Err(DriverError::Io { source, .. }) if source.kind() == io::ErrorKind::ConnectionRefused => {}
        other => return Err(broken("a port without a listener refuses", other)),
    }
    let rule = "bytes travel to a port and back";
    let mut stream = works(rule, dial_when_open(driver, subject))?;
    let mut back = Vec::new();
    let mut talk = || {
        stream.set_read_timeout(Some(BOOT))?;
        stream.write_all(b"there and back")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_end(&mut back)
    };
    talk().map_err(|e| broken(rule, e))?;
    if back == b"there and back" { Ok(()) } else { Err(broken(rule, back)) }
}

/// The guest may still be about to listen.
fn dial_when_open(driver: &dyn Driver, subject: &Subject<'_>) -> Result<TcpStream, DriverError> {
    let deadline = Instant::now() + BOOT;
    loop {
        match driver.dial(&subject.spec.id, subject.open_port) {
            Err(DriverError::Io { source, .. })
                if source.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            dialled => return dialled,
        }
    }
}

fn adoption(driver: &dyn Driver, subject: &Subject<'_>, prepared: &Prepared, boot: &str) -> Checked {
    let rule = "a new driver finds the running machine";
    sees(driver, &subject.spec, Observed::Running, rule)?;
    let found = works(rule, driver.prepared(&subject.spec.id))?;
    if &found != prepared {
        return Err(broken(rule, found));
    }
    let same = hello(&found)?;
    if same != boot {
        return Err(broken("the machine ran on while nobody drove it", same));
    }
    ports(driver, subject)
}

fn pausing(driver: &dyn Driver, subject: &Subject<'_>) -> Checked {
    let id = &subject.spec.id;
    works("pause works", driver.pause(id))?;
    sees(driver, &subject.spec, Observed::Paused, "a paused machine is paused")?;
    wrong_state("a paused machine cannot be paused", driver.pause(id))?;
    wrong_state("a paused machine cannot be started", driver.start(id))?;
    works("resume works", driver.resume(id))?;
    sees(driver, &subject.spec, Observed::Running, "a resumed machine is running")?;
    works("pause works again", driver.pause(id))
}

/// From paused, so that stopping has to cope with it.
fn stopping(driver: &dyn Driver, spec: &MachineSpec) -> Checked {
    works("a paused machine can be stopped", driver.stop(&spec.id, Seconds(1)))?;
    sees(driver, spec, Observed::Stopped, "a stopped machine is stopped")?;
    works("stop can be repeated", driver.stop(&spec.id, Seconds(1)))
}

fn again(driver: &dyn Driver, spec: &MachineSpec, boot: &str) -> Checked {
    works("a stopped machine can be started again", driver.start(&spec.id))?;
    let prepared = works("it keeps its paths", driver.prepared(&spec.id))?;
    let next = hello(&prepared)?;
    // A fake boots with the same name every time; anything real must not.
    if next == boot && driver.kind() != sublet_machine::DriverKind::Fake {
        return Err(broken("another start is another boot", next));
    }
    works("a running machine can be killed", driver.kill(&spec.id))?;
    sees(driver, spec, Observed::Stopped, "a killed machine is stopped")?;
    works("kill can be repeated", driver.kill(&spec.id))?;
    works("a killed machine can be started again", driver.start(&spec.id))
}

/// From running, so that deleting has to kill it.
fn gone(driver: &dyn Driver, spec: &MachineSpec) -> Checked {
    works("a running machine can be deleted", driver.delete(&spec.id))?;
    sees(driver, spec, Observed::Absent, "a deleted machine is absent")?;
    if works("list works", driver.list())?.contains(&spec.id) {
        return Err(broken("a deleted machine is not listed", driver.list()));
    }
    works("delete can be repeated", driver.delete(&spec.id))
}

fn half_done_creates(subject: &Subject<'_>) -> Checked {
    for leave_half in &subject.half_created {
        leave_half(&subject.spec);
        let driver = (subject.open)();
        works("a half-done create can be deleted", driver.delete(&subject.spec.id))?;
        sees(driver.as_ref(), &subject.spec, Observed::Absent, "nothing is left of a half-done create")?;
        leave_half(&subject.spec);
        let driver = (subject.open)();
        works("a half-done create can be completed", driver.create(&subject.spec))?;
        sees(driver.as_ref(), &subject.spec, Observed::Stopped, "a completed create is stopped")?;
        works("and deleted", driver.delete(&subject.spec.id))?;
    }
    Ok(())
}

/// Waits for the guest to report; returns the name of its boot.
fn hello(prepared: &Prepared) -> Result<String, Violation> {
    greeted(prepared).map(|(_, boot)| boot).map_err(|e| broken("the guest reports on its channel", e))
}

fn tell(prepared: &Prepared, task: &Configure) -> io::Result<UnixStream> {
    let (mut channel, _) = greeted(prepared)?;
    write_frame(&mut channel, &ToGuest::Configure(task.clone()))?;
    Ok(channel)
}

/// A channel on which the guest said hello, and which boot it is. It may still be booting; and one that misses that a
/// connection followed another at once greets nobody, so that a host connects again.
fn greeted(prepared: &Prepared) -> io::Result<(UnixStream, String)> {
    let deadline = Instant::now() + BOOT;
    loop {
        let greeting = || {
            let mut channel = crate::guest::connect(&prepared.guest_channel)?;
            channel.set_read_timeout(Some(GREETING))?;
            let first: FromGuest = read_frame(&mut channel)?;
            channel.set_read_timeout(Some(BOOT))?;
            Ok((channel, first))
        };
        match greeting() {
            Ok((channel, FromGuest::Hello { boot, .. })) => return Ok((channel, boot)),
            Ok((_, other)) => return Err(io::Error::other(format!("{other:?} before a hello"))),
            Err(e) if Instant::now() > deadline => return Err(e),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
