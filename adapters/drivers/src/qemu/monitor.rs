//! QEMU's monitor (QMP): one short conversation a question. Whatever QEMU says is bounded in size and time, because a
//! guest may have taken it over.

use std::io::{self, BufRead, BufReader, Read, Take};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use qapi::qmp::{self, RunState};
use qapi::{Command, Qmp, Stream};

use crate::guest;

/// How long QEMU may take to answer on a busy host.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most bytes one conversation may have from QEMU.
const MOST: u64 = 1 << 20;

/// A conversation.
pub(super) struct Monitor {
    qmp: Qmp<Stream<BufReader<Take<UnixStream>>, UnixStream>>,
}

/// What the guest's processors do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processors {
    /// They run.
    Run,
    /// They were halted and can go on.
    Halted,
    /// They cannot go on: QEMU met what it cannot emulate, or the guest crashed.
    Broken,
}

impl Monitor {
    /// Begins one with the QEMU that listens at `path`.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` if QEMU ends before it has greeted.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let stream = guest::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?.take(MOST));
        // The client takes a missing greeting for a broken promise and panics.
        if reader.fill_buf()?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut qmp = Qmp::new(Stream::new(reader, stream));
        qmp.handshake()?;
        Ok(Self { qmp })
    }

    /// What the processors do.
    pub(super) fn processors(&mut self) -> io::Result<Processors> {
        let status = self.ask(&qmp::query_status {})?.status;
        Ok(match status {
            RunState::running => Processors::Run,
            RunState::internal_error | RunState::guest_panicked | RunState::io_error | RunState::watchdog => {
                Processors::Broken
            }
            _ => Processors::Halted,
        })
    }

    /// Halts them.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        self.ask(&qmp::stop {}).map(drop)
    }

    /// Lets them go on.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.ask(&qmp::cont {}).map(drop)
    }

    /// Presses the power button.
    pub(super) fn press_power_button(&mut self) -> io::Result<()> {
        self.ask(&qmp::system_powerdown {}).map(drop)
    }

    fn ask<C: Command>(&mut self, command: &C) -> io::Result<C::Ok> {
        self.qmp.execute(command).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}"#;

    /// A monitor that says `lines` before each answer it owes, whatever it is asked.
    fn fake(lines: Vec<String>) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).expect("bound");
        thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else { return };
            for line in lines {
                // The other end may have had enough.
                if stream.write_all(line.as_bytes()).and_then(|()| stream.write_all(b"\n")).is_err() {
                    return;
                }
            }
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        (folder, path)
    }

    fn status(text: &str) -> io::Result<Processors> {
        let answer = format!(r#"{{"return": {{"status": "{text}", "singlestep": false, "running": false}}}}"#);
        let event = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#.to_owned();
        let (_folder, path) = fake(vec![GREETING.into(), r#"{"return": {}}"#.into(), event, answer]);
        Monitor::open(&path)?.processors()
    }

    #[test]
    fn a_guest_that_cannot_go_on_is_told_from_a_halted_one() -> io::Result<()> {
        assert_eq!(status("running")?, Processors::Run);
        assert_eq!(status("paused")?, Processors::Halted);
        assert_eq!(status("internal-error")?, Processors::Broken);
        assert!(status("no-such-state").is_err());
        Ok(())
    }

    #[test]
    fn a_monitor_that_hangs_up_or_talks_without_end_is_an_error() {
        let (_folder, path) = fake(vec![]);
        assert!(Monitor::open(&path).is_err());
        let (_folder, path) = fake(vec!["x".repeat(4 << 20)]);
        assert!(Monitor::open(&path).is_err());
        let (_folder, path) = fake(vec![GREETING.into(), r#"{"return": {}}"#.into()]);
        assert!(Monitor::open(&path).and_then(|mut monitor| monitor.pause()).is_err());
    }
}
