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
        let log = (0..).map(|n| sublet.home().join(format!("up-{n}.log"))).find(|log| !log.exists());
        let mut up = Process::start("sublet up", sublet.command(&all), &log.context("no log is free")?)?;
        up.wait_for_output("the network is up", PATIENCE)?;
        Ok(Self { up, sublet })
    }

    /// Waits until at least `count` offers can be opened.
    pub fn wait_for_offers(&mut self, count: usize) -> Result<()> {
        let found = wait::until("offers on the market", PATIENCE, || {
            if let Some(status) = self.up.ended()? {
                anyhow::bail!("sublet up ended with {status}");
            }
            let output = self.sublet.run(&["--json", "market"])?;
            let offers: Option<Vec<serde_json::Value>> = serde_json::from_slice(&output.stdout).ok();
            Ok(offers.filter(|offers| offers.len() >= count).map(drop))
        });
        found.with_context(|| self.up.output())
    }

    /// The chain, as anybody may ask it.
    pub fn rpc(&self) -> Result<Rpc> {
        let text = std::fs::read_to_string(self.sublet.home().join("network.json"))?;
        let network: serde_json::Value = serde_json::from_str(&text)?;
        Rpc::new(network["rpc"].as_str().context("network.json names no rpc")?)
    }
}
