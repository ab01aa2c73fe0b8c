//! An ordinary user, to whom neither `/dev/kvm` nor `/dev/net/tun` is open: a whole network, a job and a machine all the same.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sublet_e2e::devices::without;
use sublet_e2e::network::Network;
use sublet_e2e::sublet::Sublet;
use sublet_e2e::traces::nothing_is_left;

const STOP: Duration = Duration::from_secs(90);

#[test]
fn an_ordinary_user_runs_the_network_and_doctor_says_what_it_costs() -> Result<()> {
    let Some(_devices) = without(&["kvm", "net"])? else { return Ok(()) };
    let sublet = Sublet::of_user()?;
    let report = sublet.json(&["doctor"])?;
    ensure!(report["ready"] == true, "{report:#}");
    let findings = report["findings"].as_array().context("no findings")?;
    let said = |what: &str, word: &str| findings.iter().any(|f| f["what"] == what && text(f).contains(word));
    ensure!(said("user", "not root"), "{report:#}");
    for cost in ["emulated", "limits on processor and memory are QEMU's own", "/dev/net/tun is closed"] {
        ensure!(said("driver", cost), "`{cost}` is not said: {report:#}");
    }

    let mut network = Network::start_in(sublet.clone(), &["--mediators", "0"])?;
    network.wait_for_offers(2)?;
    let job = sublet.json(&["run", "cowsay", "-i", "message=moo"])?;
    ensure!(job["exit_code"] == 0 && job["stdout"].as_str().is_some_and(|cow| cow.contains("< moo >")), "{job}");
    sublet.succeed(&["rent", "--name", "web"])?;
    let inside = sublet.succeed(&["ssh", "web", "--", "uname -n; cat /proc/cpuinfo"])?;
    ensure!(inside.starts_with("web\n") && inside.contains("QEMU"), "{inside}");
    // More than one frame each way.
    let long = sublet.succeed(&["ssh", "web", "--", "head -c 300000 /dev/zero | tr '\\0' x"])?;
    ensure!(long.len() == 300_000, "{} bytes", long.len());
    sublet.succeed(&["leases", "close", "web"])?;
    let status = network.up.interrupt(STOP)?;
    ensure!(status.success(), "{status}\n{}", network.up.output());
    nothing_is_left(sublet.home())
}

fn text(finding: &Value) -> &str {
    finding["detail"].as_str().unwrap_or_default()
}
