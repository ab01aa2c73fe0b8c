//! What a fake machine runs: a thread that speaks the guest channel and obeys a few words.
//!
//! A login is ready at once, with a host key that says it is fake. A task's first argument decides:
//! `exit N` ends with that code, `sleep` never ends, `flood` writes for ever, `save NAME TEXT` leaves an output file,
//! `fail REASON` gives up; anything else prints its arguments and ends with 0.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sublet_wire::guest::{CHUNK, Configure, FromGuest, Stream, ToGuest, Workload, read_frame, write_frame};

/// The host key every fake machine reports.
pub const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA fake";

/// A running fake guest; dropping it pulls the plug.
#[derive(Debug)]
pub(super) struct FakeGuest {
    socket: PathBuf,
    plug: Arc<Plug>,
}

/// True once the guest is off, by its own will or because it was pulled; whoever sees it first acts, the other does not.
#[derive(Debug, Default)]
struct Plug(Mutex<bool>);

impl Plug {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeGuest {
    /// Listens on `socket`; calls `powered_off` when the host tells the guest to shut down.
    pub(super) fn boot(socket: &Path, powered_off: impl Fn() -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        std::fs::remove_file(socket).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
        // The path may be longer than an address holds, so it is named through its folder's descriptor.
        let (folder, name) = (socket.parent().unwrap_or(Path::new(".")), socket.file_name().unwrap_or_default());
        let folder = std::fs::File::open(folder)?;
        let through = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder))).join(name);
        let listener = UnixListener::bind(through)?;
        let plug = Arc::new(Plug::default());
        let ours = plug.clone();
        std::thread::Builder::new().name("fake-guest".into()).spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                if *ours.lock() {
                    return;
                }
                let ended = serve(&mut stream);
                let mut off = ours.lock();
                if !*off && matches!(ended, Ok(End::PowerOff)) {
                    *off = true;
                    powered_off().ok();
                }
                if *off {
                    return;
                }
            }
        })?;
        Ok(Self { socket: socket.to_owned(), plug })
    }
}

impl Drop for FakeGuest {
    fn drop(&mut self) {
        *self.plug.lock() = true;
        // Wakes the thread out of its wait; if nobody listens any more it has ended already.
        crate::guest::connect(&self.socket).ok();
    }
}

enum End {
    HungUp,
    PowerOff,
}

fn serve(stream: &mut UnixStream) -> io::Result<End> {
    let hello = FromGuest::Hello { version: 1, boot: "fake".into(), kernel: "0.0.0-fake".into() };
    write_frame(stream, &hello)?;
    loop {
        match read_frame(stream) {
            Ok(ToGuest::Configure(configure)) => run(stream, &configure)?,
            Ok(ToGuest::SetKeys { .. }) => {}
            Ok(ToGuest::Shutdown) => return Ok(End::PowerOff),
            Err(_) => return Ok(End::HungUp),
        }
    }
}

fn run(stream: &mut UnixStream, configure: &Configure) -> io::Result<()> {
    let argv = match &configure.workload {
        Workload::Login { .. } => return write_frame(stream, &FromGuest::Ready { ssh_host_key: HOST_KEY.into() }),
        Workload::Task { argv, .. } => argv,
    };
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    match words[..] {
        ["exit", code] => write_frame(stream, &FromGuest::Exited { code: code.parse().unwrap_or(127) }),
        ["sleep"] => Ok(()),
        ["fail", reason] => write_frame(stream, &FromGuest::Failed { reason: reason.into() }),
        ["flood"] => loop {
            print(stream, &[b'x'; CHUNK])?;
        },
        ["save", name, text] => {
            let data = base64(&one_file(name, text.as_bytes()));
            write_frame(stream, &FromGuest::Artefact { data })?;
            write_frame(stream, &FromGuest::Exited { code: 0 })
        }
        _ => {
            print(stream, format!("{}\n", words.join(" ")).as_bytes())?;
            write_frame(stream, &FromGuest::Exited { code: 0 })
        }
    }
}

fn print(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    write_frame(stream, &FromGuest::Output { stream: Stream::Stdout, data: base64(bytes) })
}

fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

/// A tar of one file. The name is put in as it is, so that a hostile guest can be played.
fn one_file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    let kept = name.len().min(99);
    header.as_old_mut().name[..kept].copy_from_slice(&name.as_bytes()[..kept]);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    // Writing to memory does not fail; if it did, there would be no output.
    archive.append(&header, content).ok();
    archive.into_inner().unwrap_or_default()
}
