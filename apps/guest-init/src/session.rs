//! One connection of the host: reads its frames, and plays everything the machine has to say from the beginning.
//!
//! A single loop owns both directions, so frames never interleave and a hang-up is seen even in the middle of a frame.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sublet_wire::guest::{CHUNK, FromGuest, MAX_FRAME, OUTPUTS, ToGuest, Workload, check_keys, write_frame};

use crate::artefact::Artefact;
use crate::machine::{Configured, Machine, Phase};
use crate::{files, log, workload};

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The host went away.
    HungUp,
    /// The host sent something that is no frame of ours.
    Garbage,
    /// The host wants the machine to end.
    Shutdown,
}

/// Serves one connection (not blocking) to its end.
pub(crate) fn run<S: AsFd>(machine: &Arc<Machine>, stream: &S) -> Ended
where
    for<'a> &'a S: Read + Write,
{
    let mut player = Player::default();
    let mut incoming = Incoming::default();
    let mut outgoing = Outgoing::default();
    loop {
        // Never a loop that only writes: what the host says must be heard between two frames.
        if outgoing.is_empty()
            && let Some(frame) = player.next(machine)
        {
            outgoing.load(&frame);
        }
        let Ok(readable) = wait(machine, stream, !outgoing.is_empty()) else { return Ended::HungUp };
        if readable {
            match incoming.fill(stream) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Ended::HungUp,
            }
            loop {
                match incoming.take() {
                    Ok(None) => break,
                    Ok(Some(ToGuest::Shutdown)) => return Ended::Shutdown,
                    Ok(Some(message)) => player.notices.extend(handle(machine, message)),
                    Err(_) => return Ended::Garbage,
                }
            }
        }
        if outgoing.push(stream).is_err() {
            return Ended::HungUp;
        }
    }
}

/// Waits until there is something to read, room to write, or news. True if there is something to read.
fn wait(machine: &Machine, stream: &impl AsFd, writing: bool) -> io::Result<bool> {
    let wish = if writing { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
    let mut polled = [PollFd::new(stream.as_fd(), wish), PollFd::new(machine.heard.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(e) => return Err(e.into()),
    }
    let events = polled[0].revents().unwrap_or(PollFlags::empty());
    let mut bell = [0; 256];
    while (&machine.heard).read(&mut bell).is_ok_and(|count| count > 0) {}
    if events.contains(PollFlags::POLLIN) {
        return Ok(true);
    }
    if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(false)
}

/// Does what the host says; what it returns is for this connection only.
fn handle(machine: &Arc<Machine>, message: ToGuest) -> Option<FromGuest> {
    let refused = |reason: String| Some(FromGuest::Failed { reason });
    match message {
        ToGuest::Configure(wish) => {
            let decided = machine.configure(&wish);
            match decided {
                Configured::Begin => workload::begin(machine, wish),
                Configured::Already => {}
                Configured::Differently => return refused("this machine was configured differently before".to_owned()),
            }
            None
        }
        ToGuest::SetKeys { authorized_keys } => {
            let is_login = machine.configured().is_some_and(|wish| matches!(wish.workload, Workload::Login { .. }));
            if !is_login {
                return refused("this machine has no login to change the keys of".to_owned());
            }
            let checked = check_keys(&authorized_keys).map_err(|e| e.to_string());
            let installed = checked.and_then(|()| {
                files::install_keys(&machine.layout.path("/root"), &authorized_keys).map_err(|e| e.to_string())
            });
            installed.err().and_then(|e| refused(format!("cannot install keys: {e}")))
        }
        // Ends the session before it gets here.
        ToGuest::Shutdown => None,
    }
}

/// Decides what the host hears next.
#[derive(Default)]
struct Player {
    greeted: bool,
    /// Answers to this connection alone.
    notices: Vec<FromGuest>,
    /// How much of the output it has.
    offset: u64,
    outputs: Outputs,
    said: Said,
}

/// The last state this connection heard of.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    Ready,
    /// Nothing follows.
    Final,
}

#[derive(Default)]
enum Outputs {
    #[default]
    NotBegun,
    Going(Artefact),
    Done,
}

impl Player {
    fn next(&mut self, machine: &Machine) -> Option<FromGuest> {
        if !std::mem::replace(&mut self.greeted, true) {
            let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
            return Some(FromGuest::Hello { version: 1, boot: machine.boot.clone(), kernel });
        }
        if let Some(notice) = self.notices.pop() {
            return Some(notice);
        }
        // The phase first: output that was kept before it is then certainly seen below.
        let phase = machine.phase();
        let result = match machine.output_at(self.offset) {
            Ok(Some(record)) => {
                self.offset = record.next;
                return Some(FromGuest::Output { stream: record.stream, data: STANDARD.encode(record.data) });
            }
            Ok(None) => self.last_word(machine, phase),
            Err(e) => Err(e),
        };
        result.unwrap_or_else(|e| {
            self.said = Said::Final;
            Some(FromGuest::Failed { reason: format!("cannot read the task's results: {e}") })
        })
    }

    fn last_word(&mut self, machine: &Machine, phase: Phase) -> io::Result<Option<FromGuest>> {
        let word = match phase {
            _ if self.said == Said::Final => return Ok(None),
            Phase::Idle | Phase::Working => return Ok(None),
            Phase::Ready { .. } if self.said == Said::Ready => return Ok(None),
            Phase::Ready { ssh_host_key } => {
                self.said = Said::Ready;
                return Ok(Some(FromGuest::Ready { ssh_host_key }));
            }
            Phase::Failed { reason } => FromGuest::Failed { reason },
            Phase::Ended { code } => match self.outputs.next(machine)? {
                Some(data) => return Ok(Some(FromGuest::Artefact { data: STANDARD.encode(data) })),
                None => FromGuest::Exited { code },
            },
        };
        self.said = Said::Final;
        Ok(Some(word))
    }
}

impl Outputs {
    fn next(&mut self, machine: &Machine) -> io::Result<Option<Vec<u8>>> {
        if matches!(self, Self::NotBegun) {
            *self = Artefact::of(machine.layout.path(OUTPUTS))?.map_or(Self::Done, Self::Going);
        }
        let Self::Going(artefact) = self else { return Ok(None) };
        let mut chunk = vec![0; CHUNK];
        let count = artefact.read(&mut chunk)?;
        chunk.truncate(count);
        if count < CHUNK
            && let Self::Going(whole) = std::mem::replace(self, Self::Done)
        {
            whole.finish()?;
        }
        Ok((count > 0).then_some(chunk))
    }
}

/// Bytes that came and are not yet frames.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    /// Reads what is there; false at the end of the stream.
    fn fill<S>(&mut self, stream: &S) -> io::Result<bool>
    where
        for<'a> &'a S: Read,
    {
        let mut chunk = [0; 16 << 10];
        let mut reader = stream;
        match Read::read(&mut reader, &mut chunk) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.bytes.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// The next whole frame. At most one frame and one read are ever held: a length over the limit ends the session.
    fn take(&mut self) -> io::Result<Option<ToGuest>> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }
}

/// The frame being sent.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn load(&mut self, frame: &FromGuest) {
        self.bytes.clear();
        self.sent = 0;
        if let Err(e) = write_frame(&mut self.bytes, frame) {
            log(&format!("channel: a frame of ours cannot be sent: {e}"));
            self.bytes.clear();
        }
    }

    fn push<S>(&mut self, stream: &S) -> io::Result<()>
    where
        for<'a> &'a S: Write,
    {
        let mut writer = stream;
        while !self.is_empty() {
            match Write::write(&mut writer, &self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
