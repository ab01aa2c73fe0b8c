//! `sublet up` itself, with simulated machines: twice on one home, after a crash, from the start; and what ctrl-c leaves
//! behind, which is nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use sublet_e2e::network::Network;
use sublet_e2e::traces::{nothing_is_left, started_in};
use sublet_e2e::wait;

const STOP: Duration = Duration::from_secs(60);

#[test]
fn a_second_up_says_so_and_does_no_harm() -> Result<()> {
    let network = Network::start(&["--simulate"])?;
    let pid = network.up.id().to_string();
    network.sublet.refuse(&["up", "--simulate"], &["already up", &pid])?;
    network.sublet.refuse(&["up", "--simulate", "--reset"], &["already up", &pid])?;
    run_a_job(&network)?;
    Ok(())
}

#[test]
fn ctrl_c_leaves_nothing_and_the_next_up_goes_on() -> Result<()> {
    let mut network = Network::start(&["--simulate"])?;
    run_a_job(&network)?;
    let before = (known(&network)?, network.sublet.free()?, jobs(&network)?);
    let status = network.up.interrupt(STOP)?;
    ensure!(status.success(), "{status}\n{}", network.up.output());
    nothing_is_left(network.sublet.home())?;
    network.sublet.refuse(&["account", "show"], &["sublet up"])?;

    again(&mut network, &["up", "--simulate"])?;
    ensure!(
        before == (known(&network)?, network.sublet.free()?, jobs(&network)?),
        "something changed while it was down"
    );
    run_a_job(&network)
}

#[test]
fn a_crash_takes_the_chain_along_and_the_next_up_goes_on() -> Result<()> {
    let mut network = Network::start(&["--simulate"])?;
    run_a_job(&network)?;
    let before = known(&network)?;
    network.up.crash()?;
    wait::until("the chain to end with its parent", STOP, || {
        Ok(started_in(network.sublet.home())?.is_empty().then_some(()))
    })?;
    again(&mut network, &["up", "--simulate"])?;
    ensure!(before == known(&network)?, "another contract after a crash");
    run_a_job(&network)
}

#[test]
fn a_reset_starts_clean() -> Result<()> {
    let mut network = Network::start(&["--simulate"])?;
    let fresh = network.sublet.free()?;
    run_a_job(&network)?;
    ensure!(network.sublet.free()? < fresh, "a job costs something");
    let ports = network.known()?["rpc"].clone();
    network.up.interrupt(STOP)?;
    again(&mut network, &["up", "--simulate", "--reset"])?;
    ensure!(network.known()?["rpc"] == ports, "the chain moved to another port");
    ensure!(network.sublet.free()? == fresh, "the balance is not a new one's");
    ensure!(jobs(&network)?.is_empty(), "old jobs are still listed");
    run_a_job(&network)
}

fn again(network: &mut Network, arguments: &[&str]) -> Result<()> {
    network.up = network.sublet.begin("again", arguments)?;
    network.up.wait_for_output("ctrl-c stops everything", sublet_e2e::network::PATIENCE)?;
    network.wait_for_offers(1)
}

fn run_a_job(network: &Network) -> Result<()> {
    let answer = network.sublet.json(&["run", "cowsay", "-i", "message=moo"])?;
    ensure!(answer["exit_code"] == 0, "{answer}");
    Ok(())
}

fn known(network: &Network) -> Result<String> {
    Ok(std::fs::read_to_string(network.sublet.home().join("network.json"))?)
}

fn jobs(network: &Network) -> Result<Vec<serde_json::Value>> {
    Ok(serde_json::from_value(network.sublet.json(&["jobs", "list"])?)?)
}
