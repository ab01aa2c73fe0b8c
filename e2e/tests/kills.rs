//! Ten SIGKILLs at random moments, of the agent and of the host, with a machine rented and jobs under way: every machine is adopted or
//! removed, every job has its result because whoever was killed comes back at once, and the contract's sums are right to the last unit.

use std::process::{Child, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sublet_e2e::contract::{Agreement, Contract};
use sublet_e2e::dice::Dice;
use sublet_e2e::module::slow;
use sublet_e2e::network::{Network, offers};
use sublet_e2e::roles::Seller;
use sublet_e2e::sublet::Sublet;
use sublet_e2e::traces::Traces;
use sublet_e2e::wait;

const KILLS: u32 = 10;
/// An agreement takes a few seconds from order to end; a kill falls anywhere in it.
const WINDOW: Duration = Duration::from_secs(5);
/// The longest way to an end: the time to start and to run, and some blocks.
const END: Duration = Duration::from_secs(180);

/// Containers, because they start in no time: more of the ten kills hit something delicate.
const OFFERS: &str = r#"
acceptance_wait = 10
[[provider.offers]]
name = "machine"
kind = "lease"
driver = "container"
price = "100000000000007"
resources = { vcpus = 1, memory_mib = 512, disk_gib = 2 }
start_within = 60
min_charge = 10
[[provider.offers]]
name = "job"
kind = "job"
driver = "container"
price = "100000000000003"
resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
start_within = 60
"#;

#[test]
fn ten_kills_orphan_no_machine_and_lose_no_money() -> Result<()> {
    let mut dice = Dice::new()?;
    let network = Network::start_in(Sublet::new()?, &["--providers", "0"])?;
    let sublet = &network.sublet;
    // Long enough to be hit while it runs.
    slow(sublet.home(), 2, 60)?;
    let mut seller = Seller::start(sublet, "acme", OFFERS)?;
    wait::until("offers", Duration::from_secs(60), || Ok((offers(sublet)? >= 2).then_some(())))?;
    let contract = Contract::of(&network)?;
    let everybody = accounts(sublet, &seller)?;
    let before = total(&contract, &everybody)?;
    ensure!(before == contract.holdings()?, "the contract holds what nobody has");

    let mut traces = Traces::of(sublet.home());
    sublet.succeed(&["rent", "--name", "web"])?;
    sublet.succeed(&["ssh", "web", "--", "echo here > /run/mark"])?;
    traces.observe()?;
    for kill in 0..KILLS {
        one_kill(kill, &mut dice, sublet, &mut seller, &mut traces)?;
    }

    // The machine that ran all the while was adopted, not made anew.
    let mark = wait::until("the machine to answer", END, || {
        let output = sublet.run(&["ssh", "web", "--", "cat /run/mark"])?;
        Ok(output.status.success().then_some(output.stdout))
    })?;
    ensure!(mark == b"here\n", "another machine: {}", String::from_utf8_lossy(&mark));
    close_everything(sublet)?;
    let ends = wait::until("every agreement to end", END, || {
        let ends = agreements(&contract)?;
        Ok(ends.iter().all(|(_, agreement)| agreement.ended).then_some(ends))
    });
    let ends = ends.with_context(|| format!("{:#?}\n{}", agreements(&contract), seller.agent.output()))?;
    ensure!(ends.len() > KILLS as usize, "only {} agreements", ends.len());
    ensure!(ends.iter().all(|(_, agreement)| agreement.held == 0), "money is held for ever: {ends:?}");

    let after = total(&contract, &everybody)?;
    ensure!(after == before, "{before} units became {after}");
    ensure!(after == contract.holdings()?, "the contract holds {}, accounts have {after}", contract.holdings()?);
    wait::until("every machine to be removed", END, || Ok(seller.machines()?.is_empty().then_some(())))
        .with_context(|| format!("{:?}", seller.machines()))?;

    ensure!(traces.namespaces() > 0, "no machine was seen in a namespace of its own");
    drop(seller);
    drop(network.up);
    traces.wait_until_gone(Duration::from_secs(20))
}

/// Something is ordered, something is killed, and what was ordered comes to its end.
fn one_kill(kill: u32, dice: &mut Dice, sublet: &Sublet, seller: &mut Seller, traces: &mut Traces) -> Result<()> {
    let word = format!("word={kill}");
    let job = spawn(sublet, &["--json", "run", "./slow.toml", "-i", &word])?;
    let name = format!("extra-{kill}");
    let rents = kill.is_multiple_of(3);
    let rental = rents.then(|| spawn(sublet, &["--json", "rent", "--name", &name])).transpose()?;
    let moment = dice.pause(WINDOW);
    let victim = if kill.is_multiple_of(2) { "agent" } else { "host" };
    eprintln!("kill {kill}: the {victim}, after {moment:?}");
    traces.observe()?;
    if kill.is_multiple_of(2) {
        seller.crash_agent()?
    } else {
        seller.crash_host()?
    }
    succeeds(job).with_context(|| seller.agent.output())?;
    if let Some(rental) = rental {
        succeeds(rental).with_context(|| seller.agent.output())?;
        traces.observe()?;
        sublet.succeed(&["leases", "close", &name])?;
    }
    traces.observe()?;
    Ok(())
}

/// Ends what the kills left to be ended by the renter; what has ended already is no matter.
fn close_everything(sublet: &Sublet) -> Result<()> {
    let leases = sublet.json(&["leases", "list"])?;
    for lease in leases.as_array().context("not a list")? {
        sublet.succeed(&["leases", "close", lease["name"].as_str().context("no name")?])?;
    }
    Ok(())
}

fn spawn(sublet: &Sublet, arguments: &[&str]) -> Result<Child> {
    let mut command = sublet.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

/// A kill costs time, never the job or the machine.
fn succeeds(client: Child) -> Result<()> {
    let output = ends(client)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "a kill lost it: {}\n{said}", output.status);
    Ok(())
}

fn ends(mut child: Child) -> Result<Output> {
    let ended = wait::until("the command to end", END, || Ok(child.try_wait()?.map(drop)));
    if ended.is_err() {
        child.kill()?;
        let output = child.wait_with_output()?;
        return ended.map(|()| output.clone()).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(child.wait_with_output()?)
}

fn accounts(sublet: &Sublet, seller: &Seller) -> Result<Vec<String>> {
    let mut all = vec![seller.account.clone()];
    for name in ["default", "solver"] {
        let account = sublet.json(&["account", "show", "--account", name])?;
        all.push(account["account"].as_str().context("no address")?.to_owned());
    }
    Ok(all)
}

fn total(contract: &Contract, accounts: &[String]) -> Result<u128> {
    accounts.iter().map(|account| contract.free_of(account)).sum()
}

fn agreements(contract: &Contract) -> Result<Vec<(u64, Agreement)>> {
    (1..=contract.agreements()?).map(|id| Ok((id, contract.agreement(id)?))).collect()
}
