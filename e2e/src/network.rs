//! A whole local network for one test: `sublet up` in a home of its own, stopped when the test ends.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Process;
use crate::rpc::Rpc;
use crate::sublet::Sublet;
use crate::wait;

/// Long enough for a busy machine to boot an emulated guest and more.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// `sublet up` and the home it runs in.
pub struct Network {
    /// Dropped first, so that the home outlives the process.
    pub up: Process,
    /// The command line in the same home.
    pub sublet: Sublet,
}

impl Network {
    /// Starts `sublet up ARGUMENTS` and waits until there is something to buy.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut network = Self::start_in(Sublet::new()?, arguments)?;
        network.wait_for_offers(1)?;
        Ok(network)
    }

    /// Starts `sublet up ARGUMENTS` in a home and waits until it says that the network is up.
    pub fn start_in(sublet: Sublet, arguments: &[&str]) -> Result<Self> {
        let mut all = vec!["up"];
        all.extend(arguments);
        let mut up = sublet.begin("up", &all)?;
        up.wait_for_output("the network is up", PATIENCE)?;
        Ok(Self { up, sublet })
    }

    /// Waits until at least `count` offers can be opened.
    pub fn wait_for_offers(&mut self, count: usize) -> Result<()> {
        let found = wait::until("offers on the market", PATIENCE, || {
            if let Some(status) = self.up.ended()? {
                anyhow::bail!("sublet up ended with {status}");
            }
            Ok((offers(&self.sublet)? >= count).then_some(()))
        });
        found.with_context(|| self.up.output())
    }

    /// Lets another home know this network, as somebody who sees the chain at `rpc` and uses `solvers`.
    pub fn introduce(&self, to: &Sublet, rpc: &str, solvers: &[&str]) -> Result<()> {
        let mut network = self.known()?;
        network["rpc"] = rpc.into();
        network["solvers"] = solvers.to_vec().into();
        Ok(std::fs::write(to.home().join("network.json"), network.to_string())?)
    }

    /// What `network.json` says.
    pub fn known(&self) -> Result<serde_json::Value> {
        let text = std::fs::read_to_string(self.sublet.home().join("network.json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The chain, as anybody may ask it.
    pub fn rpc(&self) -> Result<Rpc> {
        Rpc::new(self.known()?["rpc"].as_str().context("network.json names no rpc")?)
    }
}

/// How many offers can be opened, as far as is known in this home.
pub fn offers(sublet: &Sublet) -> Result<usize> {
    let output = sublet.run(&["--json", "market"])?;
    let offers: Option<Vec<serde_json::Value>> = serde_json::from_slice(&output.stdout).ok();
    Ok(offers.map_or(0, |offers| offers.len()))
}
