//! What both sides do alike: tell the guest whom to let in, wait until it is ready, and log in once.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sublet_drivers::guest;
use sublet_wire::guest::{Configure, FromGuest, ToGuest, Workload, read_frame, write_frame};

/// Patience with an emulated guest on a busy host.
const PATIENCE: Duration = Duration::from_secs(300);
/// Name under which a machine's host key is known.
const ALIAS: &str = "bench";

/// A person with a key.
pub(crate) struct Person {
    key: PathBuf,
    public: String,
}

/// When things happened, from the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// QEMU was started.
    pub(crate) started: Duration,
    /// The init spoke.
    pub(crate) hello: Duration,
    /// The login service answered.
    pub(crate) ready: Duration,
    /// A command ran through ssh.
    pub(crate) login: Duration,
}

impl Person {
    /// One with a new key in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let key = folder.join("key");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]).arg(&key);
        ensure!(keygen.status().context("cannot run ssh-keygen")?.success(), "ssh-keygen failed");
        let public = fs::read_to_string(key.with_extension("pub"))?.trim().to_owned();
        Ok(Self { key, public })
    }

    /// Takes a machine whose channel is at `channel` from its start to a command run by ssh, whose way there is `route`.
    pub(crate) fn log_in<S: AsRef<OsStr>>(&self, begun: Instant, channel: &Path, route: &[S]) -> Result<Times> {
        let started = begun.elapsed();
        let mut stream = loop {
            match guest::connect(channel) {
                Ok(stream) => break stream,
                Err(e) if begun.elapsed() > PATIENCE => return Err(e).context("the channel does not answer"),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let FromGuest::Hello { .. } = read_frame(&mut stream)? else { bail!("the guest speaks out of turn") };
        let hello = begun.elapsed();
        let workload = Workload::Login { authorized_keys: vec![self.public.clone()] };
        let wish = Configure { hostname: ALIAS.into(), workload, env: vec![], files: vec![], pids: 512 };
        write_frame(&mut stream, &ToGuest::Configure(wish))?;
        let ssh_host_key = match read_frame(&mut stream)? {
            FromGuest::Ready { ssh_host_key } => ssh_host_key,
            other => bail!("the guest is not ready: {other:?}"),
        };
        let ready = begun.elapsed();
        let known = self.key.with_file_name("known_hosts");
        fs::write(&known, format!("{ALIAS} {ssh_host_key}\n"))?;
        self.ssh(&known, route)?;
        Ok(Times { started, hello, ready, login: begun.elapsed() })
    }

    fn ssh<S: AsRef<OsStr>>(&self, known: &Path, route: &[S]) -> Result<()> {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]);
        ssh.args(["-o", &format!("HostKeyAlias={ALIAS}"), "-o", &format!("UserKnownHostsFile={}", known.display())]);
        ssh.arg("-i").arg(&self.key).args(route).args(["root@127.0.0.1", "true"]).stdin(Stdio::null());
        let output = ssh.output().context("cannot run ssh")?;
        ensure!(output.status.success(), "ssh: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}
