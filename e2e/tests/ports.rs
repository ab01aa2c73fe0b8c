//! Ports that somebody else has: said with the number and what to do, and nothing is left running.

use std::net::TcpListener;

use anyhow::{Context, Result};
use sublet_e2e::network::Network;
use sublet_e2e::sublet::Sublet;
use sublet_e2e::traces::nothing_is_left;

/// `sublet up --port N` takes this many from N on.
const OF_UP: usize = 3;

#[test]
fn each_port_of_up_is_said_when_it_is_taken() -> Result<()> {
    for position in 0..OF_UP {
        let (first, taken) = neighbours(position)?;
        let (first, taken) = (first.to_string(), taken.local_addr()?.port().to_string());
        let sublet = Sublet::new()?;
        sublet.refuse(&["up", "--simulate", "--port", &first], &[&taken, "--port"])?;
        nothing_is_left(sublet.home())?;
    }
    Sublet::new()?.refuse(&["up", "--simulate", "--port", "65534"], &["65534", "three ports"])?;
    Ok(())
}

#[test]
fn a_taken_port_of_a_role_or_of_a_forwarding_is_said() -> Result<()> {
    let network = Network::start(&["--simulate", "--providers", "1", "--mediators", "0"])?;
    let sublet = &network.sublet;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let port = taken.local_addr()?.port().to_string();

    Sublet::new()?.refuse(&["gateway", "run", "--listen", &address], &[&address, "--listen"])?;
    let other = Sublet::new()?;
    other.refuse(&["gateway", "run", "--listen", "127.0.0.1:0", "--status", &address], &[&address, "--status"])?;
    let wallet = sublet.home().join("accounts");
    network.introduce(&other, network.known()?["rpc"].as_str().context("no rpc")?, &[])?;
    copy(&wallet, &other.home().join("accounts"))?;
    other.refuse(&["solver", "run", "--account", "default", "--listen", &address], &[&address, "--listen"])?;

    sublet.json(&["rent", "--name", "web"])?;
    let refused = sublet.refuse(&["forward", "web", &format!("{port}:22")], &[&port, "0:22"])?;
    anyhow::ensure!(refused.contains("next:"), "no advice: {refused}");
    // The machine and its lease are as they were.
    let shown = sublet.json(&["leases", "show", "web"])?;
    anyhow::ensure!(shown["state"] == "active", "{shown}");
    sublet.json(&["leases", "close", "web"])?;
    Ok(())
}

/// The first of three neighbouring ports of which only the one at `position` is taken; the others are set free.
fn neighbours(position: usize) -> Result<(u16, TcpListener)> {
    for _ in 0..200 {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let Some(last) = first.checked_add(2) else { continue };
        let bound: Result<Vec<_>, _> = (first..=last).map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
        if let Ok(mut bound) = bound {
            return Ok((first, bound.remove(position)));
        }
    }
    anyhow::bail!("no three neighbouring ports are free")
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
