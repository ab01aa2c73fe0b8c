//! The `sublet` command line as a person or a script uses it, in a home of its own.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::money::units;
use crate::process::Process;
use crate::user::User;

/// A home directory and the binary. The home is removed with the last clone.
#[derive(Clone)]
pub struct Sublet {
    binary: PathBuf,
    home: Arc<TempDir>,
    /// What processes print, elsewhere: a test may fill up the home.
    logs: Arc<TempDir>,
    /// Who runs it, if not who runs the test.
    user: Option<Arc<User>>,
}

impl Sublet {
    /// A fresh home, removed when the test ends.
    pub fn new() -> Result<Self> {
        let folder = || tempfile::Builder::new().prefix("sublet-e2e-").tempdir().map(Arc::new);
        Ok(Self { binary: binary()?, home: folder()?, logs: folder()?, user: None })
    }

    /// A home of an ordinary user, who is known in this mount namespace.
    pub fn of_user() -> Result<Self> {
        let user = User::new(&binary()?)?;
        let home = tempfile::Builder::new().prefix("sublet-").tempdir_in(user.home())?;
        user.owns(home.path())?;
        let logs = Arc::new(tempfile::Builder::new().prefix("sublet-e2e-").tempdir()?);
        Ok(Self { binary: user.binary(), home: Arc::new(home), logs, user: Some(Arc::new(user)) })
    }

    /// A command in the background, its output kept under its name.
    pub fn begin<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Result<Process> {
        let log = (0..).map(|n| self.logs.path().join(format!("{name}-{n}.log"))).find(|log| !log.exists());
        Process::start(name, self.command(arguments), &log.context("no log is free")?)
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The command line with these arguments, not started.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("PATH", path()).current_dir(self.home());
        if let Some(user) = &self.user {
            user.runs(&mut command);
        }
        command.env("SUBLET_HOME", self.home());
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

    /// Token units that the default account may spend inside the contract.
    pub fn free(&self) -> Result<u128> {
        units(&self.json(&["account", "show"])?["free"])
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

/// The binary may be built outside the clone, where it does not find the chain that `npm ci` put beside the sources.
fn path() -> OsString {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let chain = format!("../node_modules/@foundry-rs/anvil-linux-{architecture}/bin");
    let chain = Path::new(env!("CARGO_MANIFEST_DIR")).join(chain);
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(chain).chain(std::env::split_paths(&usual));
    std::env::join_paths(all).unwrap_or(usual.clone())
}

fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("SUBLET_BIN")
        .context("SUBLET_BIN names no binary: run these tests with `make test`, or build and set it")?;
    Ok(PathBuf::from(path).canonicalize()?)
}
