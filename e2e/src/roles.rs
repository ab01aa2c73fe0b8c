//! Roles that run as processes of their own, beside `sublet up`: a gateway, hosts, providers.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Process;
use crate::sublet::Sublet;

const START: Duration = Duration::from_secs(60);
/// What an agent says once it runs.
pub const RENTS: &str = "renting out as";
const SERVES: &str = "serving on";

/// A host and the provider that rents it out, each a process.
pub struct Seller {
    sublet: Sublet,
    name: String,
    config: OsString,
    passphrase: OsString,
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
        let (config, passphrase) = (config.into_os_string(), passphrase.into_os_string());
        let host = run(sublet, &host_name(name), host_command(&config), SERVES)?;
        let socket = socket(sublet, name).into_os_string();
        let agent = run(sublet, &agent_name(name), agent_command(name, &config, &passphrase, &socket), RENTS)?;
        Ok(Self { sublet: sublet.clone(), name: name.to_owned(), config, passphrase, account, agent, host })
    }

    /// Where its host listens, for `sublet machine --host`.
    pub fn socket(&self) -> String {
        socket(&self.sublet, &self.name).to_string_lossy().into_owned()
    }

    /// The names of the machines on its host.
    pub fn machines(&self) -> Result<Vec<String>> {
        let listed = self.sublet.json(&["machine", "list", "--host", &self.socket()])?;
        let machines = listed.as_array().context("not a list")?;
        Ok(machines.iter().filter_map(|machine| machine["id"].as_str()).map(str::to_owned).collect())
    }

    /// SIGKILL to both, and nobody starts them again.
    pub fn vanish(&mut self) -> Result<()> {
        self.agent.crash()?;
        self.host.crash()
    }

    /// Both start again, over what they left.
    pub fn come_back(&mut self) -> Result<()> {
        self.host = self.another_host()?;
        self.begin_agent()?;
        self.agent.wait_for_output(RENTS, START)
    }

    /// A new agent in the place of one that has ended, not waited for.
    pub fn begin_agent(&mut self) -> Result<()> {
        let socket = socket(&self.sublet, &self.name).into_os_string();
        let command = agent_command(&self.name, &self.config, &self.passphrase, &socket);
        self.agent = self.sublet.begin(&agent_name(&self.name), command)?;
        Ok(())
    }

    /// SIGKILL to the agent, and a new one at once.
    pub fn crash_agent(&mut self) -> Result<()> {
        self.agent.crash()?;
        self.begin_agent()?;
        self.agent.wait_for_output(RENTS, START)
    }

    /// SIGKILL to the host, and a new one at once.
    pub fn crash_host(&mut self) -> Result<()> {
        self.host.crash()?;
        self.host = self.another_host()?;
        Ok(())
    }

    fn another_host(&self) -> Result<Process> {
        run(&self.sublet, &host_name(&self.name), host_command(&self.config), SERVES)
    }
}

impl Drop for Seller {
    /// Machines outlive their host, so a test that failed half-way takes them away itself.
    fn drop(&mut self) {
        if matches!(self.host.ended(), Ok(Some(_)))
            && let Ok(host) = self.another_host()
        {
            self.host = host;
        }
        for machine in self.machines().unwrap_or_default() {
            let _ = self.sublet.run(&["machine", "delete", &machine, "--host", &self.socket()]);
        }
    }
}

fn host_name(seller: &str) -> String {
    format!("host-of-{seller}")
}

fn agent_name(seller: &str) -> String {
    format!("agent-of-{seller}")
}

fn socket(sublet: &Sublet, seller: &str) -> PathBuf {
    sublet.home().join("hosts").join(seller).join("host.sock")
}

fn host_command(config: &OsStr) -> Vec<&OsStr> {
    ["host", "run", "--config"].map(OsStr::new).into_iter().chain([config]).collect()
}

fn agent_command<'a>(name: &'a str, config: &'a OsStr, passphrase: &'a OsStr, socket: &'a OsStr) -> Vec<&'a OsStr> {
    let mut command: Vec<_> = ["provider", "run", "--account", name].map(OsStr::new).into();
    for (flag, value) in [("--passphrase-file", passphrase), ("--config", config), ("--host", socket)] {
        command.extend([OsStr::new(flag), value]);
    }
    command
}

/// `sublet gateway run` on `port`, or on a free one for 0; its URL.
pub fn gateway(sublet: &Sublet, port: u16) -> Result<(Process, String)> {
    let listen = format!("127.0.0.1:{port}");
    let process = run(sublet, "gateway", ["gateway", "run", "--listen", &listen], " with key ")?;
    let text = process.output();
    let url = text.lines().find_map(|line| line.strip_prefix("relaying on ")?.split(' ').next());
    Ok((process, url.context("the gateway does not say where it is")?.to_owned()))
}

/// `sublet solver run` as the account `solver` of this home, not waited for.
pub fn solver(sublet: &Sublet) -> Result<Process> {
    sublet.begin("solver", ["solver", "run", "--account", "solver", "--listen", "127.0.0.1:0"])
}

/// Where a solver is, once it listens.
pub fn solver_url(solver: &mut Process) -> Result<String> {
    solver.wait_for_output("the book is at ", START)?;
    let text = solver.output();
    let url = text.lines().find_map(|line| line.strip_prefix("the book is at ")?.split(',').next());
    Ok(url.context("the solver does not say where it is")?.to_owned())
}

/// The account `name`, made with this much free in the contract, SUB. Commands find its passphrase by themselves.
pub fn funded_account(sublet: &Sublet, name: &str, free: u32) -> Result<String> {
    let address = account(sublet, name)?;
    gas_and_tokens(sublet, name, free + 1)?;
    sublet.succeed(&["account", "deposit", &free.to_string(), "--account", name])?;
    Ok(address)
}

/// The account `name`, with nothing. Commands find its passphrase by themselves.
pub fn account(sublet: &Sublet, name: &str) -> Result<String> {
    let folder = sublet.home().join("accounts");
    std::fs::create_dir_all(&folder)?;
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let passphrase = folder.join(format!("{name}.passphrase"));
    private(&passphrase, "correct horse\n")?;
    let made = sublet.json(&["account", "new", name, "--passphrase-file", &passphrase.to_string_lossy()])?;
    Ok(made["address"].as_str().context("no address")?.to_owned())
}

/// Puts this much into the wallet of an account, named by its name or its address.
pub fn gas_and_tokens(sublet: &Sublet, account: &str, amount: u32) -> Result<()> {
    sublet.succeed(&["account", "faucet", &amount.to_string(), "--account", account]).map(drop)
}

/// Starts a role and waits for it. Its log is its own, so that `ready` is found in what this very process printed.
pub(crate) fn run<S: AsRef<OsStr>>(
    sublet: &Sublet,
    name: &str,
    arguments: impl IntoIterator<Item = S>,
    ready: &str,
) -> Result<Process> {
    let mut process = sublet.begin(name, arguments)?;
    process.wait_for_output(ready, START)?;
    Ok(process)
}

fn private(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, Permissions::from_mode(0o600))?)
}
