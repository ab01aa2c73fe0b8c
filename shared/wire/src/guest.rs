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
//! The kernel's host name, mounts, `lo` and limits are the driver's. Without `--channel` it is PID 1
//! of a virtual machine and does all of that itself.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Largest frame either side accepts, bytes.
pub const MAX_FRAME: usize = 1 << 20;
/// Payload of one [`FromGuest::Output`] or [`FromGuest::Artefact`], bytes, before hex or JSON grows it.
pub const CHUNK: usize = 64 << 10;
/// What the init prints on the console when it was booted only to see whether that works (`sublet.mode=probe`).
pub const PROBE_MARKER: &str = "sublet-probe: the guest runs";
/// Name of the virtio-serial port.
pub const PORT_NAME: &str = "org.sublet.guest";
/// Word on the kernel's command line, followed by a number: the Unix time at which the workload begins. Without it the
/// clock is the host's.
pub const CLOCK_WORD: &str = "sublet.clock=";
/// Where the channel is inside a container.
pub const CONTAINER_SOCKET: &str = "/run/sublet/guest.sock";
/// Folder whose files become the task's outputs, inside the machine.
pub const OUTPUTS: &str = "/outputs";

/// Most of arguments, environment entries, files or keys in one request.
pub const MAX_ITEMS: usize = 256;
/// Longest argument, environment entry or key, bytes: what a job's document may carry, in any script.
pub const MAX_TEXT: usize = 64 << 10;
/// Longest path, bytes.
pub const MAX_PATH: usize = 4096;

/// A wish that says something impossible. Fields are called as in the host's interface.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Malformed {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

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

impl Configure {
    /// Checks that it can be delivered and carried out, as far as that can be told without doing it. Both ends ask: the
    /// host before it makes a machine, the init before it does anything.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn check(&self) -> Result<(), Malformed> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        let name = self.hostname.as_bytes();
        if name.is_empty() || name.len() > 63 || !name.iter().all(|&c| plain(c)) || name.starts_with(b"-") {
            return Err(Malformed::new("guest.hostname", format!("{:?} is no host name", self.hostname)));
        }
        bounded("guest.env", &self.env)?;
        self.env.iter().try_for_each(|entry| check_variable(entry))?;
        check_files(&self.files)?;
        match &self.workload {
            Workload::Login { authorized_keys } => {
                check_keys(authorized_keys)?;
                // The login service takes its environment as one line.
                if self.env.iter().any(|entry| entry.contains(['\n', '\r'])) {
                    return Err(Malformed::new("guest.env", "an entry for a login is one line"));
                }
            }
            Workload::Task { argv, cwd } => check_task(argv, cwd)?,
        }
        fits("guest", &ToGuest::Configure(self.clone()))
    }
}

/// Checks lines of `authorized_keys`.
///
/// # Errors
/// [`Malformed`] if there are too many, one is too long, or one is not a single line.
pub fn check_keys(keys: &[String]) -> Result<(), Malformed> {
    let field = "authorized_keys";
    bounded(field, keys)?;
    if keys.iter().any(|key| key.trim().is_empty() || key.contains(['\n', '\r'])) {
        return Err(Malformed::new(field, "each key is one line"));
    }
    fits(field, &ToGuest::SetKeys { authorized_keys: keys.to_vec() })
}

fn check_variable(entry: &str) -> Result<(), Malformed> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let name = entry.split_once('=').map_or("", |(name, _)| name).as_bytes();
    match name.first() {
        Some(first) if !first.is_ascii_digit() && name.iter().all(|&c| inner(c)) => Ok(()),
        _ => Err(Malformed::new("guest.env", "each entry is NAME=value, a name of letters, digits and _")),
    }
}

fn check_task(argv: &[String], cwd: &str) -> Result<(), Malformed> {
    bounded("guest.task.argv", argv)?;
    if argv.first().is_none_or(String::is_empty) {
        return Err(Malformed::new("guest.task.argv", "names no program"));
    }
    if !(cwd.is_empty() || cwd.starts_with('/')) || cwd.contains('\0') || cwd.len() > MAX_PATH {
        return Err(Malformed::new("guest.task.cwd", "must be absolute, or empty for the root"));
    }
    Ok(())
}

fn check_files(files: &[File]) -> Result<(), Malformed> {
    if files.len() > MAX_ITEMS {
        return Err(Malformed::new("guest.files", format!("more than {MAX_ITEMS} entries")));
    }
    for file in files {
        let parts = file.path.strip_prefix('/').unwrap_or("").split('/');
        if file.path.len() > MAX_PATH
            || file.path.contains('\0')
            || parts.into_iter().any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(Malformed::new("guest.files.path", "must be absolute, each part a name"));
        }
        if file.content.len() > CHUNK {
            return Err(Malformed::new("guest.files.content", format!("longer than {CHUNK} bytes")));
        }
    }
    Ok(())
}

fn bounded(field: &'static str, items: &[String]) -> Result<(), Malformed> {
    if items.len() > MAX_ITEMS {
        return Err(Malformed::new(field, format!("more than {MAX_ITEMS} entries")));
    }
    match items.iter().find(|text| text.len() > MAX_TEXT || text.contains('\0')) {
        Some(_) => {
            Err(Malformed::new(field, format!("an entry is longer than {MAX_TEXT} bytes or contains a zero byte")))
        }
        None => Ok(()),
    }
}

fn fits(field: &'static str, message: &ToGuest) -> Result<(), Malformed> {
    let length = serde_json::to_vec(message).map_err(|e| Malformed::new(field, e.to_string()))?.len();
    if length <= MAX_FRAME {
        return Ok(());
    }
    Err(Malformed::new(field, format!("{length} bytes together, of which a machine takes {MAX_FRAME}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Configure {
        Configure {
            hostname: "job-7".into(),
            workload: Workload::Task { argv: vec!["true".into()], cwd: String::new() },
            env: vec!["A=b=c".into(), "B=two\nlines".into()],
            files: vec![File { path: "/etc/x".into(), mode: 0o600, content: "x".into() }],
            pids: 10,
        }
    }

    fn login(keys: Vec<String>) -> Workload {
        Workload::Login { authorized_keys: keys }
    }

    #[test]
    fn only_wishes_that_can_be_carried_out_pass() {
        assert_eq!(task().check(), Ok(()));
        type Spoil = fn(&mut Configure);
        let spoil: [(&str, Spoil); 21] = [
            ("guest.hostname", |w| w.hostname = String::new()),
            ("guest.hostname", |w| w.hostname = "a\nb".into()),
            ("guest.env", |w| w.env.push("no value".into())),
            ("guest.env", |w| w.env.push("=x".into())),
            ("guest.env", |w| w.env.push("1A=x".into())),
            ("guest.env", |w| w.env.push("A=x\0".into())),
            ("guest.env", |w| w.workload = login(vec![])),
            ("guest.files.path", |w| w.files[0].path = "relative".into()),
            ("guest.files.path", |w| w.files[0].path = "/etc/../../x".into()),
            ("guest.files.path", |w| w.files[0].path = "/a//b".into()),
            ("guest.files.path", |w| w.files[0].path = "/".into()),
            ("guest.files.content", |w| w.files[0].content = "x".repeat(CHUNK + 1)),
            ("guest.task.argv", |w| w.workload = Workload::Task { argv: vec![], cwd: String::new() }),
            ("guest.task.argv", |w| w.workload = Workload::Task { argv: vec![String::new()], cwd: String::new() }),
            ("guest.task.argv", |w| w.workload = Workload::Task { argv: vec!["a\0".into()], cwd: String::new() }),
            ("guest.task.cwd", |w| w.workload = Workload::Task { argv: vec!["a".into()], cwd: "srv".into() }),
            ("authorized_keys", |w| w.workload = login(vec!["a\nb".into()])),
            ("authorized_keys", |w| w.workload = login(vec![" ".into()])),
            ("authorized_keys", |w| w.workload = login(vec!["x".repeat(MAX_TEXT); 20])),
            ("guest", |w| w.env = vec![format!("A={}", "x".repeat(MAX_TEXT - 2)); 20]),
            ("guest", |w| w.files = vec![File { content: "\u{1}".repeat(CHUNK), ..w.files[0].clone() }; 3]),
        ];
        for (field, spoil) in spoil {
            let mut bad = task();
            spoil(&mut bad);
            assert_eq!(bad.check().map_err(|e| e.field), Err(field), "{bad:.200?}");
        }
    }

    #[test]
    fn what_passes_fits_into_a_frame() {
        let mut full = task();
        full.env = vec![format!("A={}", "x".repeat(MAX_TEXT - 2)); 15];
        assert_eq!(full.check(), Ok(()));
        write_frame(&mut Vec::new(), &ToGuest::Configure(full)).expect("fits");
    }
}
