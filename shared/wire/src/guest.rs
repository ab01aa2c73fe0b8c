//! The guest channel, version 1: what a host and the init inside a machine say to each other.
//!
//! A byte stream (virtio-serial port `org.sublet.guest` in a virtual machine, unix socket `/run/sublet/guest.sock` in a
//! container) carries frames: a big-endian `u32` length, at most [`MAX_FRAME`], then that many bytes of JSON.
//!
//! ```text
//! guest → host   Hello
//! host  → guest  Configure          (once a boot; the guest keeps it, so a host that reconnects sends it again harmlessly)
//! guest → host   Ready              (a service answers on its port)   or   Output… Artefact… Exited   (a task ran)
//! host  → guest  Shutdown
//! ```
//! Either side may reconnect at any time; after a reconnect the guest repeats `Hello`, then everything from the last
//! state it reached (`Ready`, or the task's whole output and `Exited`), so a host that restarted loses nothing.
//! The guest is hostile: every field is bounded by the receiver.
//!
//! In a container the driver starts the init as `/run/sublet/init --channel unix:/run/sublet/guest.sock`. It listens
//! there (removing what an earlier boot left), serves one client at a time, and takes SIGTERM as [`ToGuest::Shutdown`].
//! Host name, mounts, `lo` and limits are the driver's: it is refused them and goes on. Without `--channel` it is PID 1
//! of a virtual machine and does all of that itself.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Largest frame either side accepts, bytes.
pub const MAX_FRAME: usize = 1 << 20;
/// Payload of one [`FromGuest::Output`] or [`FromGuest::Artefact`], bytes, before hex or JSON grows it.
pub const CHUNK: usize = 64 << 10;
/// What the init prints on the console when it was booted only to see whether that works (`sublet.mode=probe`).
pub const PROBE_MARKER: &str = "sublet-probe: the guest runs";
/// Name of the virtio-serial port.
pub const PORT_NAME: &str = "org.sublet.guest";
/// Where the channel is inside a container.
pub const CONTAINER_SOCKET: &str = "/run/sublet/guest.sock";
/// Folder whose files become the task's outputs, inside the machine.
pub const OUTPUTS: &str = "/outputs";

/// What a machine is to do. Sent once a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// Host name inside.
    pub hostname: String,
    /// What to run.
    pub workload: Workload,
    /// `NAME=value`, added to the workload's environment.
    pub env: Vec<String>,
    /// Files to write before anything runs, at most [`CHUNK`] bytes each.
    pub files: Vec<File>,
    /// Processes at once, enforced by the guest where the host cannot.
    pub pids: u32,
}

/// A file to write into the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// UTF-8 content.
    pub content: String,
}

/// What runs inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Workload {
    /// A machine to log in to: host key made, keys installed for root, `sshd` kept running on port 22.
    Login {
        /// Lines of `authorized_keys`.
        authorized_keys: Vec<String>,
    },
    /// One run of a program, whose output and `/outputs` come back.
    Task {
        /// Program and arguments; never a shell line.
        argv: Vec<String>,
        /// Working directory.
        cwd: String,
    },
}

/// Which of the task's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// From the init to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromGuest {
    /// First on every connection.
    Hello {
        /// Protocol version: 1.
        version: u32,
        /// Differs at every boot.
        boot: String,
        /// Kernel release inside.
        kernel: String,
    },
    /// The login service answers.
    Ready {
        /// `ssh-ed25519 AAAA…`, the machine's public host key.
        ssh_host_key: String,
    },
    /// Bytes the task wrote, in order.
    Output {
        /// Where to.
        stream: Stream,
        /// Standard base64.
        data: String,
    },
    /// Bytes of an uncompressed tar of [`OUTPUTS`], in order; none when the folder is empty.
    Artefact {
        /// Standard base64.
        data: String,
    },
    /// The task ended; nothing of it follows.
    Exited {
        /// Exit code, or 128 + signal.
        code: i32,
    },
    /// The init could not do what it was told.
    Failed {
        /// Why, in a sentence.
        reason: String,
    },
}

/// From the host to the init.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToGuest {
    /// See [`Configure`].
    Configure(Configure),
    /// Replace the login keys.
    SetKeys {
        /// Lines of `authorized_keys`.
        authorized_keys: Vec<String>,
    },
    /// Sync, stop everything, power off.
    Shutdown,
}

/// Writes one frame.
///
/// # Errors
/// The stream's; `InvalidInput` if the message is longer than [`MAX_FRAME`].
pub fn write_frame<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    if body.len() > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too long"));
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame)?;
    stream.flush()
}

/// Reads one frame.
///
/// # Errors
/// The stream's; `InvalidData` if it is too long or not the expected JSON. The stream is then out of step: close it.
pub fn read_frame<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(io::Error::from)
}
