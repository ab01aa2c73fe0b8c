//! A full disk, under the whole network, under a host, under a renter: said clearly, nothing half-done, and it goes on once there is
//! room. Needs root, for a disk of a few MiB; says so and skips without.

use std::time::Duration;

use anyhow::{Result, ensure};
use sublet_e2e::contract::Contract;
use sublet_e2e::disk::SmallDisk;
use sublet_e2e::module::slow;
use sublet_e2e::network::{Network, PATIENCE};
use sublet_e2e::roles::Seller;
use sublet_e2e::sublet::Sublet;
use sublet_e2e::traces::nothing_is_left;
use sublet_e2e::wait;

const OFFERS: &str = r#"
[[provider.offers]]
name = "machine"
kind = "lease"
driver = "container"
price = "100000000000007"
resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
start_within = 600
[[provider.offers]]
name = "job"
kind = "job"
driver = "container"
price = "100000000000003"
resources = { vcpus = 1, memory_mib = 256, disk_gib = 1 }
start_within = 600
"#;

const STOP: Duration = Duration::from_secs(90);
/// What everything says that meets one.
const FULL: &str = "o space left";

#[test]
fn a_full_home_is_said_and_the_network_goes_on_once_there_is_room() -> Result<()> {
    let sublet = Sublet::new()?;
    let Some(disk) = SmallDisk::over(sublet.home(), 64)? else { return Ok(()) };
    let up = ["up", "--simulate", "--providers", "0"];
    disk.fill(0)?;
    sublet.refuse(&up, &["cannot use this home", FULL])?;
    disk.make_room()?;
    // Enough for a lock and a log, not for a chain.
    disk.fill(600)?;
    sublet.refuse(&up, &["the disk is full", "free some space"])?;
    nothing_is_left(sublet.home())?;

    disk.make_room()?;
    let mut network = Network::start_in(sublet.clone(), &up[1..])?;
    let before = (network.known()?, sublet.free()?);
    disk.fill(0)?;
    sublet.refuse(&["run", "cowsay", "-i", "message=moo"], &["the disk is full", "free some space"])?;
    sublet.refuse(&["rent", "--name", "web"], &["the disk is full", "free some space"])?;
    let passphrase = sublet.home().join("accounts/default.passphrase");
    sublet.refuse(&["account", "new", "other", "--passphrase-file", &passphrase.to_string_lossy()], &[FULL])?;
    ensure!(sublet.free()? == before.1, "a refused command changed the balance");
    ensure!(network.up.ended()?.is_none(), "the network ended:\n{}", network.up.output());

    // It can even be stopped while the disk is full: what the chain knows is not lost.
    let status = network.up.interrupt(STOP)?;
    ensure!(status.success(), "{status}\n{}", network.up.output());
    nothing_is_left(sublet.home())?;
    disk.make_room()?;
    drop(network);
    let network = Network::start_in(sublet.clone(), &up[1..])?;
    ensure!(before == (network.known()?, sublet.free()?), "another chain, or another balance");
    ensure!(!sublet.home().join("accounts/other.json").exists(), "half an account is left");
    Ok(())
}

#[test]
fn a_host_too_small_for_any_offer_is_said_and_not_waited_for() -> Result<()> {
    let sublet = Sublet::new()?;
    let Some(_disk) = SmallDisk::over(sublet.home(), 64)? else { return Ok(()) };
    let network = Network::start_in(sublet.clone(), &["--simulate", "--providers", "1", "--mediators", "0"])?;
    for said in ["has no room for a lease of 1 vCPU", ", or a job of 1 vCPU"] {
        ensure!(network.up.output().contains(said), "{}", network.up.output());
    }
    network.sublet.refuse(&["rent", "--name", "web"], &["there is no offer for a lease at all"])?;
    Ok(())
}

#[test]
fn a_job_waits_for_a_host_whose_disk_is_full_and_a_machine_too() -> Result<()> {
    let mut network = Network::start_in(Sublet::new()?, &["--providers", "0"])?;
    let sublet = network.sublet.clone();
    let hosts = sublet.home().join("hosts");
    std::fs::create_dir(&hosts)?;
    let Some(disk) = SmallDisk::over(&hosts, 256)? else { return Ok(()) };
    let mut seller = Seller::start(&sublet, "acme", OFFERS)?;
    network.wait_for_offers(2)?;

    disk.fill(0)?;
    let mut job = sublet.begin("job", ["run", "cowsay", "-i", "message=moo"])?;
    let mut rent = sublet.begin("rent", ["rent", "--name", "web", "--memory", "256", "--disk", "1"])?;
    for waiting in [&mut job, &mut rent] {
        waiting.wait_for_output("the disk is full", PATIENCE)?;
        ensure!(waiting.ended()?.is_none(), "it gave up:\n{}", waiting.output());
    }
    ensure!(seller.host.ended()?.is_none(), "the host ended:\n{}", seller.host.output());
    disk.make_room()?;
    for waiting in [&mut job, &mut rent] {
        ensure!(waiting.finish(PATIENCE)?.success(), "{}", waiting.output());
    }
    ensure!(job.output().contains("< moo >"), "{}", job.output());
    sublet.succeed(&["ssh", "web", "--", "true"])?;
    sublet.succeed(&["leases", "close", "web"])?;
    wait::until("no machine to be left", PATIENCE, || Ok(seller.machines()?.is_empty().then_some(())))
}

#[test]
fn a_renter_without_room_for_the_result_gets_it_later() -> Result<()> {
    let mut network = Network::start_in(Sublet::new()?, &["--providers", "0"])?;
    let seller = Seller::start(&network.sublet, "acme", OFFERS)?;
    network.wait_for_offers(2)?;
    let results = network.sublet.home().join("results");
    std::fs::create_dir(&results)?;
    let Some(disk) = SmallDisk::over(&results, 1)? else { return Ok(()) };
    let sublet = network.sublet.clone();
    slow(sublet.home(), 1, 120)?;
    disk.fill(0)?;

    let said = sublet.refuse(&["run", "./slow.toml", "-i", "word=treasure"], &[FULL, "sublet jobs result job-1"])?;
    ensure!(said.contains("nothing is lost"), "{said}");
    sublet.refuse(&["jobs", "result", "slow"], &[FULL])?;
    ensure!(!Contract::of(&network)?.agreement(1)?.ended, "a result that did not arrive was accepted");
    disk.make_room()?;
    let result = sublet.json(&["jobs", "result", "slow"])?;
    ensure!(result["stdout"] == "treasure", "{result}");
    wait::until("no machine to be left", PATIENCE, || Ok(seller.machines()?.is_empty().then_some(())))
}
