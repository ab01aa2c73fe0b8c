//! `sublet ssh LEASE [-- CMD]`: OpenSSH, through the link, with the machine's host key pinned.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use sublet_base::LeaseId;
use sublet_wire::link::{Agreement, MachineState};

use crate::home::Home;
use crate::leases::{host_alias, known_hosts, login_key_file, pin};
use crate::output::{Advise, Output};
use crate::records::Records;
use crate::session::Session;

/// Flags of `sublet ssh`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet ssh web\n  sublet ssh web -- uname -a\n  sublet ssh web --print     the ssh command, to copy or put in a script"
)]
pub(crate) struct Args {
    /// Name, or number like lease-3
    lease: String,
    /// User inside the machine
    #[arg(long, default_value = "root")]
    user: String,
    /// Print the ssh command instead of running it
    #[arg(long)]
    print: bool,
    /// Command to run there; a login shell otherwise
    #[arg(last = true)]
    command: Vec<String>,
}

impl Args {
    /// Replaces this process by `ssh`, so that its exit code, signals and terminal are the user's own.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let records = Records::open(home).await?;
        let (id, _, opened) = records.lease(&self.lease).await?;
        records.close().await;
        if !known_hosts(home, id).exists() {
            let session = Session::reader(home, output).await?;
            let link = session.provider(opened.provider).await?;
            let status = link.client.status(Agreement::Lease(id)).await;
            link.close().await;
            match status?.state {
                MachineState::Ready { ssh_host_key } => pin(home, id, &ssh_host_key)?,
                other => anyhow::bail!("the machine of {id} is not ready: {}", crate::jobs::sentence(&other)),
            }
        }
        let mut ssh = self.ssh(home, id)?;
        if self.print {
            let line: Vec<_> = std::iter::once(ssh.get_program())
                .chain(ssh.get_args())
                .map(|a| quoted(&a.to_string_lossy()))
                .collect();
            output.answer(&line, || line.join(" "))?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(ssh.exec()).context("ssh cannot be run").advise(|| "install the package openssh-client".to_owned())
    }

    fn ssh(&self, home: &Home, id: LeaseId) -> Result<Command> {
        let binary = std::env::current_exe().context("this program cannot tell where it is")?;
        let proxy = format!("{} --home {} __proxy {id} %p", quoted_percent(&binary), quoted_percent(home.root()));
        let secret = login_key_file(home);
        let mut ssh = Command::new("ssh");
        // Nothing of the user's own configuration may weaken the pinning.
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]);
        ssh.args(["-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=10"]);
        ssh.arg("-o").arg(format!("HostKeyAlias={}", host_alias(id)));
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", option_path(&known_hosts(home, id))));
        ssh.args(["-o", "GlobalKnownHostsFile=none", "-o", "UpdateHostKeys=no"]);
        ssh.arg("-o").arg(format!("ProxyCommand={proxy}"));
        ssh.arg("-o").arg(format!("IdentityFile={}", option_path(&secret))).arg("-l").arg(&self.user);
        ssh.arg("--").arg(host_alias(id)).args(&self.command);
        Ok(ssh)
    }
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// For a shell, inside an option in which OpenSSH expands `%`.
fn quoted_percent(path: &Path) -> String {
    quoted(&path.to_string_lossy()).replace('%', "%%")
}

/// For an option that OpenSSH splits at spaces, and in which it expands `%` and `${`.
fn option_path(path: &Path) -> String {
    let mut text = String::from('"');
    for c in path.to_string_lossy().chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' => text.push_str("%%"),
            c => text.push(c),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_survive_the_shell() {
        assert_eq!(quoted("/usr/bin/sublet"), "/usr/bin/sublet");
        assert_eq!(quoted("/a b/c'd"), r"'/a b/c'\''d'");
        assert_eq!(quoted_percent(Path::new("/a%b")), "'/a%%b'");
        assert_eq!(option_path(Path::new(r#"/a b/100%/"c"\d"#)), r#""/a b/100%%/\"c\"\\d""#);
    }
}
