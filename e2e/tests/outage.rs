//! The chain out of reach of everybody: at the start it is said or waited for, in the middle it is waited out, and nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sublet_e2e::contract::Contract;
use sublet_e2e::module::slow;
use sublet_e2e::network::{Network, PATIENCE, offers};
use sublet_e2e::outage::Way;
use sublet_e2e::process::Process;
use sublet_e2e::roles::{RENTS, Seller, funded_account, solver, solver_url};
use sublet_e2e::sublet::Sublet;
use sublet_e2e::wait;

const OFFERS: &str = r#"
[[provider.offers]]
name = "machine"
kind = "lease"
driver = "container"
price = "100000000000007"
resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
[[provider.offers]]
name = "job"
kind = "job"
driver = "container"
price = "100000000000003"
resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
"#;

const AWAY: &str = "the chain does not answer";

/// Renter, solver and provider in a home of their own, all of whom see the chain by one way.
struct Apart {
    seller: Seller,
    solver: Process,
    sublet: Sublet,
    chain: Way,
    network: Network,
}

impl Apart {
    fn start() -> Result<Self> {
        let network = Network::start_in(Sublet::new()?, &["--providers", "0"])?;
        let chain = Way::to(network.known()?["rpc"].as_str().context("no rpc")?)?;
        let sublet = Sublet::new()?;
        network.introduce(&sublet, &chain.url(), &[])?;
        for (name, free) in [("default", 100), ("solver", 1)] {
            funded_account(&sublet, name, free)?;
        }
        let mut solver = solver(&sublet)?;
        network.introduce(&sublet, &chain.url(), &[&solver_url(&mut solver)?])?;
        let seller = Seller::start(&sublet, "acme", OFFERS)?;
        let apart = Self { seller, solver, sublet, chain, network };
        apart.wait_for_offers()?;
        Ok(apart)
    }

    fn wait_for_offers(&self) -> Result<()> {
        let found = wait::until("offers", PATIENCE, || Ok((offers(&self.sublet)? >= 2).then_some(())));
        found.with_context(|| format!("{}\n{}", self.solver.output(), self.seller.agent.output()))
    }

    fn refuses_everything(&self) -> Result<()> {
        let commands: [&[&str]; 6] = [
            &["run", "cowsay", "-i", "message=moo"],
            &["rent", "--name", "other"],
            &["leases", "list"],
            &["jobs", "list"],
            &["account", "show"],
            &["account", "withdraw", "1"],
        ];
        commands.iter().try_for_each(|command| self.sublet.refuse(command, &[AWAY, "next:"]).map(drop))
    }
}

#[test]
fn a_chain_that_is_away_at_the_start_is_said_or_waited_for() -> Result<()> {
    let mut apart = Apart::start()?;
    apart.seller.agent.crash()?;
    apart.solver.crash()?;
    apart.chain.cut();
    apart.refuses_everything()?;

    apart.seller.begin_agent()?;
    apart.solver = solver(&apart.sublet)?;
    for role in [&mut apart.seller.agent, &mut apart.solver] {
        role.wait_for_output("waiting for the chain", PATIENCE)?;
        ensure!(role.ended()?.is_none(), "it ended:\n{}", role.output());
    }
    apart.chain.mend()?;
    apart.seller.agent.wait_for_output(RENTS, PATIENCE)?;
    let url = solver_url(&mut apart.solver)?;
    apart.network.introduce(&apart.sublet, &apart.chain.url(), &[&url])?;
    // The agent still posts to the solver that was; a new one asks for the new address.
    apart.seller.crash_agent()?;
    apart.wait_for_offers()?;
    apart.sublet.succeed(&["run", "cowsay", "-i", "message=moo"])?;
    Ok(())
}

#[test]
fn a_chain_that_goes_away_in_the_middle_is_waited_out_and_nothing_is_lost() -> Result<()> {
    let mut apart = Apart::start()?;
    let contract = Contract::of(&apart.network)?;
    slow(apart.sublet.home(), 3, 120)?;

    // A job runs, and its chain goes away.
    let mut job = apart.sublet.begin("job", ["run", "./slow.toml", "-i", "word=done"])?;
    wait::until("the job's machine", PATIENCE, || Ok((!apart.seller.machines()?.is_empty()).then_some(())))?;
    apart.chain.cut();
    job.wait_for_output(AWAY, PATIENCE)?;
    apart.seller.agent.wait_for_output(AWAY, PATIENCE)?;
    apart.solver.wait_for_output("the chain does not answer; waiting", PATIENCE)?;
    apart.refuses_everything()?;
    ensure!(job.ended()?.is_none(), "it did not wait:\n{}", job.output());
    apart.chain.mend()?;
    ensure!(job.finish(PATIENCE)?.success() && job.output().contains("done"), "{}", job.output());

    // A machine is opened, and the chain goes away before it is started.
    apart.wait_for_offers()?;
    let mut rent = apart.sublet.begin("rent", ["rent", "--name", "web", "--memory", "256", "--disk", "1"])?;
    rent.wait_for_output("is open at", PATIENCE)?;
    apart.chain.cut();
    rent.wait_for_output(AWAY, PATIENCE)?;
    ensure!(rent.ended()?.is_none(), "it did not wait:\n{}", rent.output());
    apart.chain.mend()?;
    ensure!(rent.finish(PATIENCE)?.success(), "{}", rent.output());
    apart.sublet.succeed(&["ssh", "web", "--", "true"])?;
    apart.sublet.succeed(&["leases", "close", "web"])?;

    // Everybody was served once, paid once, and holds what is theirs.
    ensure!(contract.agreements()? == 2, "{} agreements", contract.agreements()?);
    wait::until("both to end", PATIENCE, || {
        let over = (1..=2).map(|id| contract.agreement(id)).collect::<Result<Vec<_>>>()?;
        Ok(over.iter().all(|agreement| agreement.ended && agreement.held == 0).then_some(()))
    })?;
    for role in [&mut apart.seller.agent, &mut apart.solver] {
        ensure!(role.ended()?.is_none(), "it ended:\n{}", role.output());
    }
    wait::until("no machine to be left", Duration::from_secs(60), || {
        Ok(apart.seller.machines()?.is_empty().then_some(()))
    })
}
