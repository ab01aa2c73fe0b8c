//! A provider that goes away for good: its renter is told what happens, gets the money back when the time is over, and a part of the
//! pledge with it. The provider that comes back after all cleans up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sublet_e2e::contract::Contract;
use sublet_e2e::module::slow;
use sublet_e2e::money::{tokens, units};
use sublet_e2e::network::{Network, PATIENCE};
use sublet_e2e::process::Process;
use sublet_e2e::roles::Seller;
use sublet_e2e::sublet::Sublet;
use sublet_e2e::traces::Traces;
use sublet_e2e::wait;

/// Half the escrow is pledged; a tenth of that is the renter's when the provider lets the time pass.
const OFFERS: &str = r#"
[[provider.offers]]
name = "machine"
kind = "lease"
driver = "container"
price = "100000000000007"
resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
pledge_bps = 5000
start_within = 600
[[provider.offers]]
name = "job"
kind = "job"
driver = "container"
price = "100000000000003"
resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
pledge_bps = 5000
start_within = 600
"#;

const AWAY: &str = "the provider does not answer";

struct Scene {
    seller: Seller,
    network: Network,
    traces: Traces,
}

impl Scene {
    fn start() -> Result<Self> {
        let mut network = Network::start_in(Sublet::new()?, &["--providers", "0"])?;
        let seller = Seller::start(&network.sublet, "acme", OFFERS)?;
        network.wait_for_offers(2)?;
        let traces = Traces::of(network.sublet.home());
        Ok(Self { seller, network, traces })
    }

    /// Later, by the chain's clock.
    fn pass_time(&self, seconds: u32) -> Result<()> {
        let rpc = self.network.rpc()?;
        rpc.call("evm_increaseTime", json!([seconds]))?;
        rpc.call("evm_mine", json!([]))?;
        Ok(())
    }

    /// The command failed, named the amounts and a transaction that is on chain, and those amounts are there.
    fn refunded(&self, command: &mut Process, before: u128, escrow: u128) -> Result<()> {
        let sublet = &self.network.sublet;
        let status = command.finish(PATIENCE)?;
        let said = command.output();
        ensure!(status.code() == Some(1), "{status}\n{said}");
        let gained = sublet.free()? - before;
        let amends = escrow / 2 / 10;
        ensure!(gained == amends, "{gained} units more than before, not {amends}\n{said}");
        for amount in ["0".to_owned(), tokens(escrow), tokens(amends)] {
            ensure!(said.contains(&format!(" {amount} SUB")), "`{amount} SUB` is not said:\n{said}");
        }
        let hash = said.split("transaction ").nth(1).and_then(|rest| rest.split(')').next());
        let hash = hash.with_context(|| format!("no transaction is named:\n{said}"))?;
        let receipt = self.network.rpc()?.call("eth_getTransactionReceipt", json!([hash]))?;
        ensure!(receipt["status"] == "0x1", "{receipt}");
        let contract = Contract::of(&self.network)?;
        let over = contract.agreement(1)?;
        ensure!(over.ended && over.held == 0, "{over:?}");
        Ok(())
    }

    /// Whoever comes back finds that it is over, and removes what it left running.
    fn cleans_up(mut self) -> Result<()> {
        self.seller.come_back()?;
        wait::until("no machine to be left", PATIENCE, || Ok(self.seller.machines()?.is_empty().then_some(())))
            .with_context(|| self.seller.agent.output())?;
        drop(self.seller);
        drop(self.network.up);
        self.traces.wait_until_gone(Duration::from_secs(20))
    }
}

#[test]
fn a_provider_gone_in_the_middle_of_a_job_costs_it_of_its_pledge_and_the_renter_nothing() -> Result<()> {
    let mut scene = Scene::start()?;
    let sublet = scene.network.sublet.clone();
    slow(sublet.home(), 900, 1000)?;
    let before = sublet.free()?;
    let mut job = sublet.begin("job", ["run", "./slow.toml", "-i", "word=never"])?;
    job.wait_for_output("running", PATIENCE)?;
    scene.traces.observe()?;
    scene.seller.vanish()?;

    job.wait_for_output(AWAY, PATIENCE)?;
    ensure!(job.output().contains("the money comes back"), "{}", job.output());
    let shown = sublet.json(&["jobs", "show", "slow"])?;
    let escrow = units(&shown["chain"]["escrow"])?;
    ensure!(job.ended()?.is_none(), "it did not wait:\n{}", job.output());
    scene.pass_time(1700)?;
    scene.refunded(&mut job, before, escrow)?;
    ensure!(job.output().contains("no result in time"), "{}", job.output());

    // Asked again, it says the same, and nothing comes back twice.
    let after = sublet.free()?;
    sublet.refuse(&["jobs", "result", "slow"], &["no result in time", &tokens(escrow)])?;
    ensure!(sublet.free()? == after, "asking again changed the balance");
    scene.cleans_up()
}

#[test]
fn a_provider_gone_before_a_machine_is_up_costs_the_renter_nothing() -> Result<()> {
    let mut scene = Scene::start()?;
    let sublet = scene.network.sublet.clone();
    let before = sublet.free()?;
    // Without its host the agent cannot start the lease; then it goes too.
    scene.seller.host.crash()?;
    let mut rent = sublet.begin("rent", ["rent", "--name", "web", "--memory", "256", "--disk", "1"])?;
    rent.wait_for_output("the host does not answer", PATIENCE)?;
    scene.seller.agent.crash()?;
    rent.wait_for_output(AWAY, PATIENCE)?;
    let leases = sublet.json(&["leases", "list"])?;
    ensure!(leases[0]["state"] == "open", "{leases}");
    let escrow = units(&leases[0]["left"])?;
    scene.pass_time(700)?;
    scene.refunded(&mut rent, before, escrow)?;
    ensure!(rent.output().contains("not started in time"), "{}", rent.output());
    let none: Value = sublet.json(&["leases", "list"])?;
    ensure!(none == json!([]), "{none}");
    // The name is free again.
    scene.cleans_up()
}
