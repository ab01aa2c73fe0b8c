//! Mediators, each with an account, a home, a host and a peer key of its own.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::money::SUB;
use crate::network::Network;
use crate::process::Process;
use crate::roles::{account, gas_and_tokens, run};
use crate::sublet::Sublet;
use crate::wait;

const START: Duration = Duration::from_secs(60);
/// What it has in the contract at first, SUB: its bond, and a little to be drawn from.
const FREE: u32 = 11;
/// What `sublet mediator init` writes.
pub const BOND: u128 = 10 * SUB;
const NAME: &str = "judge";
const JUDGES: &str = "judging as";

/// Somebody who could be a member of a set.
pub struct Candidate {
    sublet: Sublet,
    /// Its account.
    pub account: String,
}

/// A mediator that runs, and its host.
pub struct Mediator {
    /// Its home.
    pub sublet: Sublet,
    /// Its account.
    pub account: String,
    /// Stopped before the host, as fields are dropped in order.
    pub agent: Process,
    /// `sublet host run`.
    pub host: Process,
}

impl Candidate {
    /// So many of them, with money in the contract.
    pub fn some(network: &Network, count: usize) -> Result<Vec<Self>> {
        let rpc = network.known()?["rpc"].as_str().context("no rpc")?.to_owned();
        let home = || {
            let sublet = Sublet::new()?;
            network.introduce(&sublet, &rpc, &[])?;
            Ok(sublet)
        };
        let homes = (0..count).map(|_| home()).collect::<Result<Vec<_>>>()?;
        let made = at_once(homes, |sublet| Ok(Self { account: account(&sublet, NAME)?, sublet }))?;
        // The faucet is one account, whose transactions follow each other.
        for candidate in &made {
            gas_and_tokens(&network.sublet, &candidate.account, FREE + 1)?;
        }
        at_once(made, |candidate| {
            candidate.sublet.succeed(&["account", "deposit", &FREE.to_string(), "--account", NAME])?;
            Ok(candidate)
        })
    }

    /// Follows `sublet mediator init`, with less patience, and starts host and mediator.
    fn start(self) -> Result<Mediator> {
        let Self { sublet, account } = self;
        sublet.succeed(&["mediator", "init"])?;
        let file = sublet.home().join("mediator.toml");
        let mut text = std::fs::read_to_string(&file)?;
        for (before, after) in [("# patience = 900", "patience = 5"), ("# driver = ", "driver = ")] {
            ensure!(text.contains(before), "`{before}` is not in what `sublet mediator init` wrote");
            text = text.replace(before, after);
        }
        std::fs::write(&file, text)?;
        let host = run(&sublet, "host", ["host", "run"], "serving on")?;
        let agent = begin(&sublet)?;
        let mut mediator = Mediator { sublet, account, agent, host };
        mediator.agent.wait_for_output(JUDGES, START)?;
        mediator.wait_until_it_serves()?;
        Ok(mediator)
    }
}

/// Starts all, and waits until all serve.
pub fn start(candidates: Vec<Candidate>) -> Result<Vec<Mediator>> {
    at_once(candidates, Candidate::start)
}

impl Mediator {
    fn wait_until_it_serves(&self) -> Result<()> {
        let serves = || {
            let output = self.sublet.run(&["--json", "mediator", "status", "--account", NAME])?;
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            Ok((status["sets"][0]["joined"] == true).then_some(()))
        };
        wait::until("the mediator to join its set", START, serves).with_context(|| self.agent.output())
    }

    /// Ctrl-c to it; its host runs on.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.agent.interrupt(START)?;
        ensure!(status.success(), "{status}\n{}", self.agent.output());
        Ok(())
    }

    /// A new process in the place of one that has ended.
    pub fn begin(&mut self) -> Result<()> {
        self.agent = begin(&self.sublet)?;
        self.agent.wait_for_output(JUDGES, START)
    }

    /// A new host in the place of one that has ended.
    pub fn come_back(&mut self) -> Result<()> {
        self.host = run(&self.sublet, "host", ["host", "run"], "serving on")?;
        Ok(())
    }

    /// The names of the machines on its host.
    pub fn machines(&self) -> Result<Vec<String>> {
        let listed = self.sublet.json(&["machine", "list"])?;
        let machines = listed.as_array().context("not a list")?;
        Ok(machines.iter().filter_map(|machine| machine["id"].as_str()).map(str::to_owned).collect())
    }
}

impl Drop for Mediator {
    /// Machines outlive their host, so a test that failed half-way takes them away itself.
    fn drop(&mut self) {
        if matches!(self.host.ended(), Ok(Some(_))) {
            let _ = self.come_back();
        }
        for machine in self.machines().unwrap_or_default() {
            let _ = self.sublet.run(&["machine", "delete", &machine]);
        }
    }
}

fn begin(sublet: &Sublet) -> Result<Process> {
    sublet.begin("mediator", ["mediator", "run", "--account", NAME])
}

/// Does the same for each, all at the same time.
fn at_once<T: Send, U: Send>(each: Vec<T>, work: impl Fn(T) -> Result<U> + Sync) -> Result<Vec<U>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = each.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        // All are joined before the first error is handed on.
        let done: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.into_iter().map(|outcome| outcome.map_err(|_| anyhow!("a thread panicked"))?).collect()
    })
}
