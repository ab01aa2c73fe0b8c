//! Reaching into a machine's network namespace, from which there is no route to anywhere.
//!
//! A helper enters the namespaces of a process of the machine, connects there, and passes the connected socket back:
//! a socket belongs to the namespace it was made in, wherever it is used.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::helper::{Helper, HelperResult, last_words};

/// Name of the helper behind [`dial`]: `netns-dial PID ADDRESS:PORT`, socket to answer on as standard input.
pub(crate) const DIAL: &str = "netns-dial";

/// How long a guest may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to `address` inside the network namespace of process `pid` (and its user namespace, where that is needed).
///
/// # Errors
/// `ConnectionRefused` when nothing listens there; otherwise what the helper said.
pub fn dial(helper: &Helper, pid: u32, address: SocketAddr) -> io::Result<TcpStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = helper.command(DIAL);
    command.arg(pid.to_string()).arg(address.to_string());
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn()?;
    // The command holds the helper's end open; without this a helper that dies would leave us reading for ever.
    drop(command);
    let received = receive(&ours);
    let output = child.wait_with_output()?;
    match received? {
        Some(socket) => Ok(TcpStream::from(socket)),
        None => {
            let words = last_words(&output.stderr);
            let kind = if words.contains(REFUSED) { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::Other };
            Err(io::Error::new(kind, words))
        }
    }
}

const REFUSED: &str = "nothing listens on";

/// Enters the network namespace of `pid`. Only for a process with a single thread.
///
/// # Errors
/// The system's.
pub fn enter(pid: u32) -> io::Result<()> {
    let net = File::open(format!("/proc/{pid}/ns/net"))?;
    match setns(&net, CloneFlags::CLONE_NEWNET) {
        // Not ours to enter: become root of the user namespace that owns it.
        Err(Errno::EPERM) => {
            setns(File::open(format!("/proc/{pid}/ns/user"))?, CloneFlags::CLONE_NEWUSER)?;
            Ok(setns(&net, CloneFlags::CLONE_NEWNET)?)
        }
        entered => Ok(entered?),
    }
}

/// The helper's side of [`dial`].
pub(crate) fn dial_helper(args: &[OsString]) -> HelperResult {
    let [pid, address] = args else { return Err(format!("usage: {DIAL} PID ADDRESS:PORT")) };
    let pid: u32 = parse(pid, "process id")?;
    let address: SocketAddr = parse(address, "address")?;
    // A process id that has passed to somebody else must not lead to the host's own loopback.
    let own = network("self")?;
    enter(pid).map_err(|e| format!("cannot enter the network of process {pid}: {e}"))?;
    if own == network("self")? {
        return Err(format!("process {pid} is no machine's"));
    }
    let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(|e| match e.kind() {
        io::ErrorKind::ConnectionRefused => format!("{REFUSED} {address} in the machine"),
        _ => format!("cannot connect to {address} in the machine: {e}"),
    })?;
    let fds = [socket.as_raw_fd()];
    sendmsg::<()>(
        io::stdin().as_fd().as_raw_fd(),
        &[IoSlice::new(b"+")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .map(drop)
    .map_err(|e| format!("cannot pass the connection back: {e}"))
}

/// The network namespace of a process.
fn network(process: &str) -> Result<PathBuf, String> {
    std::fs::read_link(format!("/proc/{process}/ns/net"))
        .map_err(|e| format!("cannot tell network namespaces apart: {e}"))
}

fn parse<T: std::str::FromStr>(arg: &OsString, what: &str) -> Result<T, String> {
    arg.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{} is not a {what}", arg.display()))
}

/// The socket the helper passes, or nothing if it closes its end.
#[allow(unsafe_code)]
fn receive(from: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<()>(from.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let [fd] = fds[..]
        {
            // SAFETY: the kernel made this descriptor for us just now, so nobody else owns it.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(None)
}

/// Brings up `lo` in the current network namespace.
///
/// # Errors
/// The system's; `PermissionDenied` without `CAP_NET_ADMIN` over the namespace.
#[allow(unsafe_code)]
pub fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: an all-zero ifreq is valid, "lo" fits its name, and the ioctls read and write only within it.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request))?;
        request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request))?;
    }
    Ok(())
}
