//! Roles that run as processes of their own, beside `sublet up`: a gateway, hosts, providers.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Process;
use crate::sublet::Sublet;

const START: Duration = Duration::from_secs(60);

/// A host and the provider that rents it out, each a process.
pub struct Seller {
    sublet: Sublet,
    name: String,
    config: PathBuf,
    passphrase: PathBuf,
    /// The provider's account.
    pub account: String,
    /// Stopped before the host, as fields are dropped in order.
    pub agent: Process,
    /// `sublet host run`.
    pub host: Process,
}

impl Seller {
    /// Makes the account with 500 SUB, and starts both. `offers` is the `[[provider.offers]]` part of the configuration.
    pub fn start(sublet: &Sublet, name: &str, offers: &str) -> Result<Self> {
        let home = sublet.home();
        let passphrase = home.join(format!("{name}.passphrase"));
        private(&passphrase, "correct horse\n")?;
        let file = passphrase.to_string_lossy();
        let made = sublet.json(&["account", "new", name, "--passphrase-file", &file])?;
        let account = made["address"].as_str().context("no address")?.to_owned();
        sublet.succeed(&["account", "faucet", "600", "--account", name])?;
        sublet.succeed(&["account", "deposit", "500", "--account", name, "--passphrase-file", &file])?;
        let config = home.join(format!("{name}.toml"));
        let data = home.join("hosts").join(name);
        let text = format!(
            "[host]\ndata = {data:?}\nsocket = {:?}\n[host.capacity]\nvcpus = 8\nmemory_mib = 4096\ndisk_gib = 40\n\
             [provider]\nname = {name:?}\n{offers}",
            data.join("host.sock")
        );
        std::fs::write(&config, text)?;
        let host = run(sublet, name, host_command(sublet, &config), "host", "serving on")?;
        let agent = run(sublet, name, agent_command(sublet, name, &config, &passphrase), "agent", "renting out as")?;
        Ok(Self { sublet: sublet.clone(), name: name.to_owned(), config, passphrase, account, agent, host })
    }

    /// Where its host listens, for `sublet machine --host`.
    pub fn socket(&self) -> String {
        self.sublet.home().join("hosts").join(&self.name).join("host.sock").to_string_lossy().into_owned()
    }

    /// The names of the machines on its host.
    pub fn machines(&self) -> Result<Vec<String>> {
        let listed = self.sublet.json(&["machine", "list", "--host", &self.socket()])?;
        let machines = listed.as_array().context("not a list")?;
        Ok(machines.iter().filter_map(|machine| machine["id"].as_str()).map(str::to_owned).collect())
    }

    /// SIGKILL to the agent, and a new one at once.
    pub fn crash_agent(&mut self) -> Result<()> {
        self.agent.crash()?;
        let command = agent_command(&self.sublet, &self.name, &self.config, &self.passphrase);
        self.agent = run(&self.sublet, &self.name, command, "agent", "renting out as")?;
        Ok(())
    }

    /// SIGKILL to the host, and a new one at once.
    pub fn crash_host(&mut self) -> Result<()> {
        self.host.crash()?;
        self.host = run(&self.sublet, &self.name, host_command(&self.sublet, &self.config), "host", "serving on")?;
        Ok(())
    }
}

impl Drop for Seller {
    /// Machines outlive their host, so a test that failed half-way takes them away itself.
    fn drop(&mut self) {
        for machine in self.machines().unwrap_or_default() {
            let _ = self.sublet.run(&["machine", "delete", &machine, "--host", &self.socket()]);
        }
    }
}

/// `sublet gateway run` on `port`, or on a free one for 0; its URL.
pub fn gateway(sublet: &Sublet, port: u16) -> Result<(Process, String)> {
    let listen = format!("127.0.0.1:{port}");
    let command = sublet.command(["gateway", "run", "--listen", &listen]);
    let process = run(sublet, "gateway", command, "role", " with key ")?;
    let text = process.output();
    let url = text.lines().find_map(|line| line.strip_prefix("relaying on ")?.split(' ').next());
    Ok((process, url.context("the gateway does not say where it is")?.to_owned()))
}

fn host_command(sublet: &Sublet, config: &Path) -> Command {
    let mut command = sublet.command(["host", "run", "--config"]);
    command.arg(config);
    command
}

fn agent_command(sublet: &Sublet, name: &str, config: &Path, passphrase: &Path) -> Command {
    let socket = sublet.home().join("hosts").join(name).join("host.sock");
    let mut command = sublet.command(["provider", "run", "--account", name, "--passphrase-file"]);
    command.arg(passphrase).arg("--config").arg(config).arg("--host").arg(socket);
    command
}

/// Starts with a log of its own, numbered, so that `ready` is found in what this very process printed.
fn run(sublet: &Sublet, name: &str, command: Command, role: &str, ready: &str) -> Result<Process> {
    let log = (0..).map(|n| sublet.home().join(format!("{name}-{role}-{n}.log"))).find(|log| !log.exists());
    let mut process = Process::start(&format!("{role} of {name}"), command, &log.context("no log is free")?)?;
    process.wait_for_output(ready, START)?;
    Ok(process)
}

fn private(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, Permissions::from_mode(0o600))?)
}
