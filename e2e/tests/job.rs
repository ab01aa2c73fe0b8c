//! A job on the whole network: what a person sees, and what the chain says about it when asked by somebody else.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sublet_e2e::money::units;
use sublet_e2e::network::Network;

#[test]
fn a_job_is_run_checked_and_paid() -> Result<()> {
    let network = Network::start(&[])?;
    let sublet = &network.sublet;
    let before = sublet.free()?;
    let answer = sublet.json(&["run", "cowsay", "-i", "message=moo"])?;

    ensure!(answer["exit_code"] == 0, "{answer}");
    let stdout = answer["stdout"].as_str().context("no stdout")?;
    ensure!(stdout.contains("< moo >") && stdout.contains("(oo)"), "{stdout}");

    let paid = units(&answer["paid"])?;
    ensure!(paid > 0, "a job is not free: {answer}");
    let after = sublet.free()?;
    ensure!(before - after == paid, "shown {paid}, gone {}", before - after);

    // The settlement, asked for by a client that shares no code with the product.
    let receipt = network.rpc()?.call("eth_getTransactionReceipt", json!([answer["transaction"]]))?;
    ensure!(receipt["status"] == "0x1", "{receipt}");
    let contract: Value = serde_json::from_str(&std::fs::read_to_string(sublet.home().join("network.json"))?)?;
    let to = receipt["to"].as_str().context("no receiver")?;
    ensure!(Some(to.to_lowercase()) == contract["contract"].as_str().map(str::to_lowercase), "{receipt}");

    // Asked again, the result is the same and nothing is paid twice.
    let job = answer["job"].to_string();
    let again = sublet.json(&["jobs", "result", &job])?;
    ensure!(again["stdout"] == answer["stdout"], "{again}");
    ensure!(sublet.free()? == after, "asking again changed the balance");
    Ok(())
}

#[test]
fn bad_input_is_refused_and_costs_nothing() -> Result<()> {
    let network = Network::start(&[])?;
    let sublet = &network.sublet;
    let before = sublet.free()?;

    sublet.refuse(&["run", "nosuch"], &["nosuch", "cowsay"])?;
    sublet.refuse(&["run", "cowsay:99.0.0", "-i", "message=moo"], &["99.0.0", "1.0.0"])?;
    sublet.refuse(&["run", "cowsay"], &["message"])?;
    sublet.refuse(&["run", "cowsay", "-i", "message=moo", "-i", "colour=red"], &["colour", "message"])?;
    sublet.refuse(&["run", "cowsay", "-i", "message"], &["NAME=VALUE"])?;
    for hostile in ["{{ inputs.x }}", "$(reboot)", "`reboot`", "a\u{1b}[31mb"] {
        sublet.refuse(&["run", "cowsay", "-i", &format!("message={hostile}")], &["message"])?;
    }
    sublet.refuse(&["rent", "--vcpus", "4000"], &["4000"])?;
    sublet.refuse(&["run", "cowsay", "-i", "message=moo", "--max-price", "0.000001"], &["price"])?;
    sublet.refuse(&["rent", "--name", "Not A Name"], &["name"])?;
    sublet.refuse(&["leases", "close", "nosuch"], &["nosuch"])?;
    sublet.refuse(&["account", "withdraw", "999999999"], &["balance"])?;

    let wrong = sublet.home().join("wrong");
    std::fs::write(&wrong, "not the passphrase\n")?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&wrong, mode)?;
    let wrong = wrong.to_string_lossy();
    sublet.refuse(&["run", "cowsay", "-i", "message=moo", "--passphrase-file", &wrong], &["passphrase"])?;

    ensure!(sublet.free()? == before, "a refused command changed the balance");
    Ok(())
}
