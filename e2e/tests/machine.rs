//! A rented machine on the whole network: real, reached through the gateway, paid by the second.

use std::process::Stdio;

use anyhow::{Result, ensure};
use sublet_e2e::money::units;
use sublet_e2e::network::Network;

#[test]
fn a_machine_is_rented_used_and_paid_by_the_second() -> Result<()> {
    let network = Network::start(&["--mediators", "0"])?;
    let sublet = &network.sublet;
    let before = sublet.free()?;
    let rented = sublet.json(&["rent", "--name", "web"])?;
    let price = units(&rented["price"])?;

    let host_kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let guest = ssh(&network, "uname -r; cat /proc/cpuinfo; cat /etc/debian_version")?;
    ensure!(!guest.contains(host_kernel.trim()), "the machine runs the host's kernel:\n{guest}");
    let host_model = model(&std::fs::read_to_string("/proc/cpuinfo")?);
    ensure!(model(&guest) != host_model, "the machine shows the host's processor: {host_model:?}");
    ensure!(guest.lines().any(|line| line.starts_with("12")), "not Debian 12:\n{guest}");

    // It reaches nothing: not the host's loopback, not anything else.
    let closed = ssh(&network, "timeout 5 bash -c '</dev/tcp/10.0.2.1/22' && echo open || echo closed")?;
    ensure!(closed.trim() == "closed", "the machine reaches its host: {closed}");
    let routes = ssh(&network, "ip route show default")?;
    ensure!(routes.trim().is_empty(), "the machine has a way out: {routes}");

    let shown = sublet.json(&["leases", "show", "web"])?;
    ensure!(shown["state"] == "active" && units(&shown["cost_so_far"])? > 0, "{shown}");
    sublet.refuse(&["rent", "--name", "web"], &["web"])?;

    let closed = sublet.json(&["leases", "close", "web"])?;
    let (paid, refunded) = (units(&closed["paid"])?, units(&closed["refunded"])?);
    ensure!(paid > 0 && paid % price == 0, "not whole seconds at the price shown: {closed}");
    ensure!(paid + refunded == units(&rented["locked"])?, "{closed}");
    ensure!(before - sublet.free()? == paid, "the balance does not add up: {closed}");
    sublet.refuse(&["leases", "close", "web"], &["ended"])?;
    Ok(())
}

/// One command in the machine, by real OpenSSH, through the gateway.
fn ssh(network: &Network, command: &str) -> Result<String> {
    let mut ssh = network.sublet.command(["ssh", "web", "--", command]);
    ssh.env("SUBLET_LINK_PATH", "relay-only").stdin(Stdio::null());
    let output = ssh.output()?;
    ensure!(output.status.success(), "ssh {command}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn model(cpuinfo: &str) -> Option<String> {
    cpuinfo.lines().find(|line| line.starts_with("model name")).map(str::to_owned)
}
