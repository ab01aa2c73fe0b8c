//! The channel's two forms: a unix socket we listen on, and a virtio-serial port that is always there but not always
//! connected. Each connection becomes one [`session`](crate::session).

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use sublet_wire::guest::PORT_NAME;

use crate::machine::Machine;
use crate::session::{self, Ended};
use crate::{log, shutdown};

/// Where the host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The virtio-serial port named [`PORT_NAME`].
    Port,
    /// A unix socket to listen on.
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(format!("a channel is unix:/ABSOLUTE/PATH, not {text}")),
        }
    }
}

/// How often to look for a host that is not there: the port cannot tell when one comes.
const LOOK: Duration = Duration::from_millis(50);

/// Serves the channel as long as it can.
pub(crate) fn serve(machine: &Arc<Machine>, endpoint: &Endpoint) {
    let result = match endpoint {
        Endpoint::Port => serve_port(machine),
        Endpoint::Unix(path) => serve_socket(machine, path),
    };
    if let Err(e) = result {
        log(&format!("channel: {e}"));
    }
}

fn serve_socket(machine: &Arc<Machine>, path: &Path) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept()?;
        if !from_outside(machine, &stream) {
            continue;
        }
        stream.set_nonblocking(true)?;
        end(machine, session::run(machine, &stream));
    }
}

/// Whether the other end is the host. A process in our own PID namespace has a number here; one outside has none.
fn from_outside(machine: &Machine, stream: &UnixStream) -> bool {
    !machine.layout.owns_all_processes()
        || getsockopt(stream, sockopt::PeerCredentials).is_ok_and(|peer| peer.pid() == 0)
}

fn serve_port(machine: &Arc<Machine>) -> io::Result<()> {
    let path = find_port()?;
    let port = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    loop {
        while !connected(&port)? {
            std::thread::sleep(LOOK);
        }
        let ended = session::run(machine, &port);
        // What follows an unreadable frame has no beginning; the host must hang up to begin anew.
        while ended == Ended::Garbage && connected(&port)? {
            discard(&port);
            std::thread::sleep(LOOK);
        }
        end(machine, ended);
    }
}

fn end(machine: &Arc<Machine>, ended: Ended) {
    match ended {
        Ended::HungUp => {}
        Ended::Garbage => log("channel: the host sent what cannot be read"),
        Ended::Shutdown => shutdown::run(machine),
    }
}

fn connected(port: &File) -> io::Result<bool> {
    let mut polled = [PollFd::new(port.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO)?;
    Ok(!polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
}

fn discard(mut port: &File) {
    let mut rest = [0; 4096];
    while io::Read::read(&mut port, &mut rest).is_ok_and(|count| count > 0) {}
}

/// The device of the port with our name.
fn find_port() -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim() == PORT_NAME) {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "there is no port for the host yet"))
}
