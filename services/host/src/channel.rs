//! The guest channel from the host's side: tells the guest what to do, collects what it says, trusts none of it.
//!
//! The guest repeats everything after each reconnect, so a connection that breaks, or a host that restarts, loses
//! nothing: what was collected is thrown away at every `Hello`. Lengths, counts and texts are bounded here.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::{SinkExt, StreamExt};
use sublet_base::Seconds;
use sublet_daemon::with_causes;
use sublet_wire::guest::{Configure, FromGuest, MAX_FRAME, Stream, ToGuest, Workload};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::archive::{ArchiveError, Folder, Packed, pack};
use crate::printable;

/// Pause between attempts to connect, and after a connection that ended; doubled each time up to [`MAX_PAUSE`].
const RETRY: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_secs(4);
/// How long a guest may take to read one message.
const SLOWEST_READER: Duration = Duration::from_secs(30);
/// Connections on which the guest may speak nonsense; the rest of a frame that another host had begun to read looks
/// like that too.
const MAX_FAULTS: u32 = 5;
/// Characters that are kept of what a guest says about its failure.
const MAX_REASON: usize = 500;

/// What the guest turned out to say.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It runs this kernel.
    Kernel(String),
    /// A login answers, with this host key.
    Ready(String),
    /// The task ended; its result is stored.
    Exited { code: i32, packed: Packed },
    /// It failed, or broke a rule: its own doing.
    GaveUp(String),
    /// The host cannot go on: the guest is overdue, or what it says cannot be kept.
    Broken(String),
    /// The connection broke; the channel keeps trying.
    Lost,
}

/// What a channel needs to know.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) socket: PathBuf,
    pub(crate) configure: Configure,
    /// Keys that replaced those in `configure`.
    pub(crate) keys: Option<Vec<String>>,
    pub(crate) folder: Folder,
    pub(crate) max_output: u64,
    pub(crate) boot_timeout: Duration,
    /// It has reported before: whoever holds the machine has waited already, and nobody ends it for being quiet.
    pub(crate) booted: bool,
}

/// An open channel; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Channel {
    commands: mpsc::Sender<ToGuest>,
    heard: mpsc::Receiver<Heard>,
    task: AbortHandle,
}

impl Channel {
    /// Starts to connect, and reconnect, until dropped.
    pub(crate) fn open(setup: Setup) -> Self {
        let (commands, orders) = mpsc::channel(16);
        let (reports, heard) = mpsc::channel(16);
        let deadline = Instant::now() + setup.boot_timeout;
        let task = tokio::spawn(Talk { booted: setup.booted, setup, orders, reports, deadline }.run()).abort_handle();
        Self { commands, heard, task }
    }

    /// The next report; nothing once the guest has said its last word.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Passes a message on, if the guest keeps up.
    pub(crate) fn tell(&self, message: ToGuest) {
        if self.commands.try_send(message).is_err() {
            tracing::debug!("the guest does not listen");
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a connection ended.
enum Over {
    /// The last word was said.
    Finished,
    /// The other side went away.
    Lost,
    /// It spoke nonsense.
    Fault(String),
}

struct Talk {
    setup: Setup,
    orders: mpsc::Receiver<ToGuest>,
    reports: mpsc::Sender<Heard>,
    deadline: Instant,
    booted: bool,
}

type Wire = Framed<UnixStream, LengthDelimitedCodec>;

impl Talk {
    async fn run(mut self) {
        let (mut faults, mut pause) = (0, RETRY);
        loop {
            let Some(stream) = self.connect().await else { return };
            let begun = Instant::now();
            match self.converse(stream).await {
                Over::Finished => return,
                Over::Lost => self.report(Heard::Lost).await,
                Over::Fault(reason) => {
                    faults += 1;
                    tracing::warn!(%reason, "the guest broke the protocol");
                    if faults > MAX_FAULTS {
                        return self.gave_up(&format!("the guest breaks the protocol: {reason}")).await;
                    }
                }
            }
            // One that hangs up at once is asked ever less often: each time costs the host a look and files.
            pause = if begun.elapsed() > MAX_PAUSE { RETRY } else { (pause * 2).min(MAX_PAUSE) };
            sleep(pause).await;
        }
    }

    async fn report(&self, heard: Heard) {
        // Nobody listens only if the machine's owner is gone, and then this task is about to be.
        self.reports.send(heard).await.ok();
    }

    async fn gave_up(&self, reason: &str) {
        self.report(Heard::GaveUp(printable(reason, MAX_REASON))).await;
    }

    /// A connection; nothing once the guest is overdue. One that does not accept is one that is not there yet.
    async fn connect(&self) -> Option<Wire> {
        loop {
            let connected = sublet_drivers::guest::connect(&self.setup.socket).and_then(|stream| {
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream)
            });
            match connected {
                Ok(stream) => {
                    let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec();
                    return Some(Framed::new(stream, codec));
                }
                Err(e) if !self.booted && Instant::now() > self.deadline => {
                    self.report(Heard::Broken(format!("{}: {e}", self.overdue()))).await;
                    return None;
                }
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    fn overdue(&self) -> String {
        format!("the guest did not report within {} s", self.setup.boot_timeout.as_secs())
    }

    async fn converse(&mut self, mut wire: Wire) -> Over {
        let mut collector: Option<Collector> = None;
        loop {
            let frame = tokio::select! {
                frame = wire.next() => frame,
                order = self.orders.recv() => {
                    let Some(order) = order else { return Over::Finished };
                    if let ToGuest::SetKeys { authorized_keys } = &order {
                        self.setup.keys = Some(authorized_keys.clone());
                    }
                    // Keys for a guest that has not greeted yet are sent after its greeting.
                    let early = collector.is_none() && matches!(order, ToGuest::SetKeys { .. });
                    if !early && send(&mut wire, &order).await.is_err() { return Over::Lost }
                    continue;
                }
                () = sleep_until(self.deadline), if !self.booted => {
                    self.report(Heard::Broken(self.overdue())).await;
                    return Over::Finished;
                }
            };
            let frame = match frame {
                None => return Over::Lost,
                Some(Err(e)) if e.kind() == io::ErrorKind::InvalidData => return fault(&e.to_string()),
                Some(Err(_)) => return Over::Lost,
                Some(Ok(frame)) => frame,
            };
            match serde_json::from_slice(&frame) {
                Err(e) => return fault(&format!("not a message: {e}")),
                Ok(FromGuest::Hello { .. }) if collector.is_some() => return fault("a second greeting"),
                Ok(FromGuest::Hello { version, kernel, .. }) => {
                    if version != 1 {
                        self.gave_up(&format!("the guest speaks version {version} of the protocol")).await;
                        return Over::Finished;
                    }
                    match self.greet(&mut wire, &kernel).await {
                        Ok(fresh) => collector = Some(fresh),
                        Err(over) => return over,
                    }
                }
                Ok(message) => {
                    // What comes before a greeting was meant for somebody else.
                    let Some(collector) = &mut collector else { continue };
                    if let Some(over) = self.take(message, collector).await {
                        return over;
                    }
                }
            }
        }
    }

    async fn greet(&mut self, wire: &mut Wire, kernel: &str) -> Result<Collector, Over> {
        let collector = match Collector::new(&self.setup.folder, self.setup.max_output).await {
            Ok(collector) => collector,
            Err(e) => {
                self.report(Heard::Broken(format!("the host could not collect the output: {e}"))).await;
                return Err(Over::Finished);
            }
        };
        self.report(Heard::Kernel(printable(kernel, 128))).await;
        if matches!(self.setup.configure.workload, Workload::Task { .. }) {
            self.booted = true;
        }
        send(wire, &ToGuest::Configure(self.setup.configure.clone())).await.map_err(|_| Over::Lost)?;
        if let Some(authorized_keys) = self.setup.keys.clone() {
            send(wire, &ToGuest::SetKeys { authorized_keys }).await.map_err(|_| Over::Lost)?;
        }
        Ok(collector)
    }

    /// Handles what follows a greeting; says so if that was the last word.
    async fn take(&mut self, message: FromGuest, collector: &mut Collector) -> Option<Over> {
        let is_task = matches!(self.setup.configure.workload, Workload::Task { .. });
        let taken = match message {
            FromGuest::Hello { .. } => return None,
            FromGuest::Ready { .. } if collector.is_ready => return Some(fault("a second word that it is ready")),
            FromGuest::Ready { ssh_host_key } if !is_task => {
                if !is_host_key(&ssh_host_key) {
                    return Some(fault("not an ssh host key"));
                }
                collector.is_ready = true;
                self.booted = true;
                self.report(Heard::Ready(ssh_host_key)).await;
                return None;
            }
            FromGuest::Output { stream, data } if is_task => collector.output(stream, &data).await,
            FromGuest::Artefact { data } if is_task => collector.artefact(&data).await,
            FromGuest::Exited { code } if is_task => match collector.finish(code).await {
                Ok(packed) => {
                    self.report(Heard::Exited { code, packed }).await;
                    return Some(Over::Finished);
                }
                Err(e) => Err(e),
            },
            FromGuest::Failed { reason } => {
                self.gave_up(&reason).await;
                return Some(Over::Finished);
            }
            FromGuest::Ready { .. }
            | FromGuest::Output { .. }
            | FromGuest::Artefact { .. }
            | FromGuest::Exited { .. } => {
                return Some(fault("a message that does not fit what it was told to do"));
            }
        };
        match taken {
            Ok(()) => return None,
            Err(e @ ArchiveError::Unacceptable(_)) => self.gave_up(&with_causes(&e)).await,
            Err(e @ ArchiveError::Io(_)) => self.report(Heard::Broken(with_causes(&e))).await,
        }
        Some(Over::Finished)
    }
}

/// Whatever the guest made goes no further than this at length, or with anything but printable text.
fn fault(reason: &str) -> Over {
    Over::Fault(printable(reason, MAX_REASON))
}

async fn send(wire: &mut Wire, message: &ToGuest) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    timeout(SLOWEST_READER, wire.send(Bytes::from(body))).await?
}

fn is_host_key(line: &str) -> bool {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["ssh-ed25519", key, ..] => {
            line.len() <= 400
                && line.split(' ').all(plain)
                && BASE64
                    .decode(key.as_bytes())
                    .is_ok_and(|blob| blob.len() == 51 && blob.starts_with(b"\0\0\0\x0bssh-ed25519"))
        }
        _ => false,
    }
}

/// What a guest has said since its greeting.
struct Collector {
    is_ready: bool,
    folder: Folder,
    stdout: File,
    stderr: File,
    outputs: File,
    left: u64,
    most: u64,
}

impl Collector {
    async fn new(folder: &Folder, most: u64) -> io::Result<Self> {
        tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder.0).await?;
        Ok(Self {
            is_ready: false,
            stdout: File::create(folder.stdout()).await?,
            stderr: File::create(folder.stderr()).await?,
            outputs: File::create(folder.outputs()).await?,
            folder: folder.clone(),
            left: most,
            most,
        })
    }

    /// The bytes of a message, if there is still room for them.
    fn admit(&mut self, data: &str) -> Result<Vec<u8>, ArchiveError> {
        let bad = |reason: &str| ArchiveError::Unacceptable(reason.to_owned());
        let bytes = BASE64.decode(data.as_bytes()).map_err(|_| bad("not base64"))?;
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| bad(&format!("longer than the {} MiB this host takes", self.most >> 20)))?;
        Ok(bytes)
    }

    async fn output(&mut self, stream: Stream, data: &str) -> Result<(), ArchiveError> {
        let bytes = self.admit(data)?;
        let file = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        file.write_all(&bytes).await?;
        // So that whoever follows the log sees it now.
        Ok(file.flush().await?)
    }

    async fn artefact(&mut self, data: &str) -> Result<(), ArchiveError> {
        let bytes = self.admit(data)?;
        Ok(self.outputs.write_all(&bytes).await?)
    }

    async fn finish(&mut self, code: i32) -> Result<Packed, ArchiveError> {
        self.outputs.flush().await?;
        let folder = self.folder.clone();
        let packed = tokio::task::spawn_blocking(move || pack(&folder, code)).await;
        packed.map_err(|e| ArchiveError::Io(io::Error::other(e)))?
    }
}

/// Whole seconds, rounded up, of a length of time.
pub(crate) fn whole_seconds(length: u64) -> Seconds {
    Seconds(u32::try_from(length.saturating_add(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_host_keys_are_pinned() {
        assert!(is_host_key(sublet_drivers::fake::HOST_KEY));
        for bad in ["", "ssh-rsa AAAA", "ssh-ed25519 AAAA", "ssh-ed25519", "* ssh-ed25519 AAAA", "ssh-ed25519 \n"] {
            assert!(!is_host_key(bad), "{bad:?}");
        }
        let two_lines = format!("{}\nevil", sublet_drivers::fake::HOST_KEY);
        assert!(!is_host_key(&two_lines));
    }

    #[test]
    fn what_a_guest_did_wrong_is_told_in_few_printable_words() {
        let Over::Fault(reason) = fault(&"\n\x1b[31mevil".repeat(1000)) else { panic!("it is a fault") };
        assert!(reason.len() <= MAX_REASON && !reason.contains(char::is_control), "{reason}");
    }
}
