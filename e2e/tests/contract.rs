//! A contract orders a job on chain, is called back, and is given the result: `sublet contract`, followed to the last unit.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sublet_e2e::contract::Contract;
use sublet_e2e::money::{SUB, units};
use sublet_e2e::network::{Network, PATIENCE};
use sublet_e2e::roles::funded_account;
use sublet_e2e::wait;

#[test]
fn a_contract_that_orders_a_job_gets_its_result_in_a_callback() -> Result<()> {
    let network = Network::start(&[])?;
    let sublet = &network.sublet;
    let chain = Contract::of(&network)?;
    let deployed = sublet.json(&["contract", "deploy"])?;
    let address = deployed["contract"].as_str().context("no address")?;
    let ask = ["contract", "ask", address, "cowsay", "-i", "message=moo"];
    sublet.refuse(&ask, &["less than the", "SUB the job may cost", "sublet contract fund"])?;
    sublet.succeed(&["contract", "fund", address, "1"])?;
    ensure!(chain.free_of(address)? == SUB);
    funded_account(sublet, "stranger", 1)?;
    sublet.refuse(&[&ask[..], &["--account", "stranger"]].concat(), &["only its owner"])?;
    sublet.refuse(&["contract", "ask", address, "nosuch"], &["no module `nosuch`"])?;
    sublet.refuse(&[&ask[..], &["--max-price", "0.0001"]].concat(), &["nobody would take the order now"])?;

    let mut asking = sublet.begin("ask", [&["--json"], &ask[..]].concat())?;
    // Nobody objects: the window passes by the chain's clock.
    wait::until("the result on chain", PATIENCE, || {
        let shown = sublet.run(&["--json", "jobs", "show", "job-1"])?;
        let shown: Option<Value> = serde_json::from_slice(&shown.stdout).ok();
        Ok(shown.filter(|job| job["chain"]["state"] == "submitted").map(drop))
    })?;
    network.rpc()?.call("evm_increaseTime", json!([31]))?;
    ensure!(asking.finish(PATIENCE)?.success(), "{}", asking.output());
    let said = asking.output();
    let answer: Value = serde_json::from_str(said.split_once('{').map_or("", |(before, _)| &said[before.len()..]))?;
    ensure!(answer["said"].as_str().is_some_and(|cow| cow.contains("< moo >")), "{answer:#}");
    ensure!(answer["told"]["end"] == "finalized", "{answer:#}");
    let shown = sublet.json(&["jobs", "show", "job-1"])?;
    ensure!(answer["told"]["result"] == shown["end"]["result_hash"], "{answer:#} but {shown:#}");

    // The chain says the same: what the job printed is in a log of the contract, and the job is paid and over.
    let transaction = answer["transaction"].as_str().context("no transaction")?;
    let receipt = network.rpc()?.call("eth_getTransactionReceipt", json!([transaction]))?;
    let logs = receipt["logs"].as_array().context("no logs")?;
    let moo: String = "< moo >".bytes().map(|byte| format!("{byte:02x}")).collect();
    let said = logs.iter().filter(|log| log["address"].as_str().is_some_and(|a| a.eq_ignore_ascii_case(address)));
    ensure!(
        said.filter(|log| log["data"].as_str().is_some_and(|data| data.contains(&moo))).count() == 1,
        "{receipt:#}"
    );
    let paid = units(&shown["end"]["paid"])?;
    let over = chain.agreement(1)?;
    ensure!(over.ended && over.held == 0, "{over:?}");
    ensure!(
        paid > 0 && chain.free_of(address)? == SUB - paid,
        "{paid} paid of 1 SUB, {} left",
        chain.free_of(address)?
    );

    // Handing it in again says the same; a job of somebody else is refused.
    ensure!(sublet.json(&["contract", "deliver", address, "job-1"])?["said"] == answer["said"]);
    sublet.succeed(&["run", "cowsay", "-i", "message=mine"])?;
    sublet.refuse(&["contract", "deliver", address, "job-2"], &["not by this contract"])?;

    sublet.refuse(&["contract", "withdraw", address, "1"], &["the contract has", "to withdraw"])?;
    sublet.succeed(&["contract", "withdraw", address, &sublet_e2e::money::tokens(SUB - paid)])?;
    ensure!(chain.free_of(address)? == 0, "{} left", chain.free_of(address)?);
    Ok(())
}
