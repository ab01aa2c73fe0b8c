//! The `sublet` command line as a person or a script uses it, in a home of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// A home directory and the binary.
pub struct Sublet {
    binary: PathBuf,
    home: TempDir,
}

impl Sublet {
    /// A fresh home, removed when the test ends.
    pub fn new() -> Result<Self> {
        Ok(Self { binary: binary()?, home: tempfile::Builder::new().prefix("sublet-e2e-").tempdir()? })
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The command line with these arguments, not started.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("SUBLET_HOME", self.home()).current_dir(self.home());
        command
    }

    /// Runs to the end, whatever the outcome.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().with_context(|| format!("running sublet {arguments:?}"))
    }

    /// Runs, and expects success; the standard output.
    pub fn succeed(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        if !output.status.success() {
            bail!("sublet {arguments:?}: {}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// Runs with `--json`, expects success; the parsed answer.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let answer = self.succeed(&all)?;
        serde_json::from_str(&answer).with_context(|| format!("sublet {arguments:?} --json printed: {answer}"))
    }

    /// Runs, and expects a clean refusal: exit code not 0, no panic, and every one of `words` in the message.
    pub fn refuse(&self, arguments: &[&str], words: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let message = text(&output.stderr);
        ensure!(!output.status.success(), "sublet {arguments:?} succeeded:\n{}", text(&output.stdout));
        ensure!(!message.contains("panicked"), "sublet {arguments:?} panicked:\n{message}");
        for word in words {
            ensure!(message.contains(word), "sublet {arguments:?} should speak of `{word}`:\n{message}");
        }
        Ok(message)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("SUBLET_BIN")
        .context("SUBLET_BIN names no binary: run these tests with `make test`, or build and set it")?;
    Ok(PathBuf::from(path).canonicalize()?)
}
