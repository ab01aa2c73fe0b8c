//! What a fake machine runs: a thread that speaks the guest channel and obeys a few words.
//!
//! A login is ready at once, with a host key that says it is fake. A task's first argument decides:
//! `exit N` ends with that code, `sleep` never ends, `flood` writes for ever, `save NAME TEXT` leaves an output file,
//! `fail REASON` gives up; anything else prints its arguments and ends with 0.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sublet_wire::guest::{CHUNK, Configure, FromGuest, Stream, ToGuest, Workload, read_frame, write_frame};

/// The host key every fake machine reports.
pub const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA fake";

/// A running fake guest; dropping it pulls the plug.
#[derive(Debug)]
pub(super) struct FakeGuest {
    socket: PathBuf,
    off: Arc<AtomicBool>,
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
        let off = Arc::new(AtomicBool::new(false));
        let plug = off.clone();
        std::thread::Builder::new().name("fake-guest".into()).spawn(move || {
            for stream in listener.incoming() {
                if plug.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { return };
                if matches!(serve(&mut stream), Ok(End::PowerOff)) {
                    powered_off().ok();
                    return;
                }
            }
        })?;
        Ok(Self { socket: socket.to_owned(), off })
    }
}

impl Drop for FakeGuest {
    fn drop(&mut self) {
        self.off.store(true, Ordering::SeqCst);
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

/// A tar of one file.
fn one_file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    // Writing to memory fails only for a name a tar cannot hold; then there is no output.
    archive.append_data(&mut header, name, content).ok();
    archive.into_inner().unwrap_or_default()
}
