//! A job on the whole network: what a person sees, and what the chain says about it when asked by somebody else.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sublet_e2e::liar::Liar;
use sublet_e2e::module::slow;
use sublet_e2e::money::{SUB, tokens, units};
use sublet_e2e::network::{Network, PATIENCE};
use sublet_e2e::sublet::Sublet;

#[test]
fn a_job_is_run_checked_and_paid() -> Result<()> {
    let network = Network::start(&[])?;
    let sublet = &network.sublet;
    let before = sublet.free()?;
    let answer = sublet.json(&["run", "cowsay", "-i", "message=moo"])?;

    ensure!(answer["exit_code"] == 0, "{answer}");
    ensure!(
        answer["class"] == "exact" && answer["mediator_set"] == 1,
        "mediators of `sublet up` could judge it: {answer}"
    );
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

    // Interrupted, the command says how to go on, and nothing is lost.
    slow(sublet.home(), 5, 120)?;
    let mut job = sublet.begin("job", ["run", "./slow.toml", "-i", "word=later"])?;
    job.wait_for_output("running", PATIENCE)?;
    let status = job.interrupt(PATIENCE)?;
    ensure!(status.code() == Some(1) && job.output().contains("sublet jobs result job-2"), "{}", job.output());
    ensure!(sublet.json(&["jobs", "result", "job-2"])?["stdout"] == "later");
    Ok(())
}

#[test]
fn only_the_chain_says_what_an_order_became() -> Result<()> {
    let network = Network::start(&["--simulate", "--providers", "1", "--mediators", "0"])?;
    let sublet = &network.sublet;
    sublet.json(&["run", "cowsay", "-i", "message=first"])?;
    let jobs = sublet.json(&["jobs", "list"])?;
    let known = network.known()?;
    let solver = known["solvers"][0].as_str().context("no solver")?;
    let liar = Liar::before(solver, jobs[0]["order"].as_str().context("no order")?)?;
    network.introduce(sublet, known["rpc"].as_str().context("no rpc")?, &[liar.url()])?;

    let second = sublet.json(&["run", "cowsay", "-i", "message=second"])?;
    ensure!(second["job"] == 2 || second["job"] == "job-2", "it followed the solver's word: {second}");
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
    let advised = "next:";
    sublet.refuse(&["rent", "--vcpus", "4000"], &["it has 1 vCPUs, 4000 were ordered", advised])?;
    sublet.refuse(&["rent", "--memory", "999999"], &["MiB of memory, 999999 were ordered"])?;
    sublet.refuse(&["rent", "--for", "60d"], &["it lasts from", "5184000 s were ordered"])?;
    let nobody = format!("0x{}", "11".repeat(20));
    sublet.refuse(&["rent", "--provider", &nobody], &["the order names 0x1111"])?;
    let cheap = ["run", "cowsay", "-i", "message=moo", "--max-price", "0.000001"];
    sublet.refuse(&cheap, &["the order pays at most", "the cheapest offer that fits costs", "--max-price"])?;
    sublet.refuse(&["rent", "--name", "Not A Name"], &["name"])?;
    sublet.refuse(&["rent", "--name", "lease-7"], &["taken for a lease's number", advised])?;
    sublet.refuse(&["rent", "--memory", "1"], &["--memory"])?;
    sublet.refuse(&["rent", "--disk", "0"], &["--disk"])?;
    sublet.refuse(&["leases", "close", "nosuch"], &["nosuch"])?;
    sublet.refuse(&["account", "withdraw", "999999999"], &["balance"])?;

    let wrong = sublet.home().join("wrong");
    std::fs::write(&wrong, "not the passphrase\n")?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&wrong, mode)?;
    let wrong = wrong.to_string_lossy();
    for command in [&["run", "cowsay", "-i", "message=moo"][..], &["rent"], &["account", "withdraw", "1"]] {
        let command: Vec<_> = command.iter().copied().chain(["--passphrase-file", &*wrong]).collect();
        sublet.refuse(&command, &["wrong passphrase for account `default`", "--passphrase-file"])?;
    }

    ensure!(sublet.free()? == before, "a refused command changed the balance");
    what_is_missing_is_said(sublet, before)
}

/// To the last unit: for a machine, for a deposit.
fn what_is_missing_is_said(sublet: &Sublet, free: u128) -> Result<()> {
    let left = SUB / 10;
    sublet.succeed(&["account", "withdraw", &tokens(free - left)])?;
    let market = sublet.json(&["market", "--kind", "lease"])?;
    let offers = market.as_array().context("not a list")?;
    let prices = offers.iter().map(|offer| units(&offer["offer"]["price"])).collect::<Result<Vec<_>>>()?;
    let needed = prices.into_iter().min().context("nothing is offered")? * 3600;
    let missing = format!("{} SUB is missing", tokens(needed - left));
    let words = [&missing, &format!("{} SUB is needed", tokens(needed)), "sublet account deposit"];
    sublet.refuse(&["rent", "--for", "1h"], &words)?;
    let wallet = units(&sublet.json(&["account", "show"])?["wallet"])?;
    let missing = format!("{} SUB is missing", tokens(7 * SUB));
    sublet.refuse(&["account", "deposit", &tokens(wallet + 7 * SUB)], &[&missing])?;
    ensure!(sublet.free()? == left, "a refused command changed the balance");
    Ok(())
}
