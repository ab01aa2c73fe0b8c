//! Short-lived copies of our own binary, for work that a process with threads must not do itself.
//!
//! `BINARY __helper NAME ARGS…` runs one function of the table in [`main`] and exits: 0 when it worked, else 1 with one
//! line on standard error. The binary calls [`main`] before it starts any thread. A new helper is one line in the table.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};

use nix::unistd::alarm;

use crate::{container, netns, qemu};

/// The hidden argument that makes the binary a helper.
pub const WORD: &str = "__helper";

/// Seconds that a helper may take which is waited for. It ends itself: nobody else has to be there to do it.
const DEADLINE: u32 = 120;

/// A helper's work failed, in a sentence.
pub type HelperResult = Result<(), String>;

/// Starts helpers: knows the binary to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    binary: PathBuf,
}

impl Helper {
    /// Helpers of this binary, which must call [`main`] when its first argument is [`WORD`].
    #[must_use]
    pub fn new(binary: PathBuf) -> Self {
        Self { binary }
    }

    /// A command that runs helper `name`, with no arguments yet and an empty environment.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(WORD)
            .arg(name)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs a command made by [`Helper::command`] and waits for it.
    ///
    /// # Errors
    /// The system's if it could not start; else `Other` with the helper's last words.
    pub fn run(&self, command: &mut Command) -> io::Result<Output> {
        self.finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// Waits for a helper that was started with its standard error piped.
    ///
    /// # Errors
    /// As [`Helper::run`].
    pub fn finish(&self, child: Child) -> io::Result<Output> {
        let output = child.wait_with_output()?;
        if output.status.success() { Ok(output) } else { Err(io::Error::other(last_words(&output.stderr))) }
    }
}

/// The last line of what a helper said, at most 400 characters.
pub(crate) fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("the helper died without a word");
    line.chars().take(400).collect()
}

/// The first line of what a tool said, at most 400 characters; what follows is usually advice.
pub(crate) fn first_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it died without a word");
    line.chars().take(400).collect()
}

/// Runs one helper: the first argument is its name, the others are its own.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let name = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    if matches!(name.to_str(), Some(netns::DIAL | container::LAUNCH | container::LEND_IDS)) {
        alarm::set(DEADLINE);
    }
    let result = match name.to_str() {
        Some(netns::DIAL) => netns::dial_helper(&args),
        Some(container::LAUNCH) => container::launch_helper(&args),
        Some(container::LEND_IDS) => container::lend_ids_helper(),
        Some(qemu::start::RUN) => qemu::start::run_helper(&args),
        Some(qemu::carrier::CARRY) => qemu::carrier::carry_helper(&args),
        Some(qemu::console::CONSOLE) => qemu::console::console_helper(&args),
        _ => Err(format!("there is no helper {}", name.display())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}
