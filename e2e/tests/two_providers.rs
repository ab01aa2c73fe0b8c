//! Two providers at different prices: the cheaper that fits is taken, and what is paid is what was shown.

use anyhow::{Result, ensure};
use serde_json::Value;
use sublet_e2e::money::units;
use sublet_e2e::network::Network;
use sublet_e2e::roles::Seller;
use sublet_e2e::sublet::Sublet;

/// Jobs and machines of one processor.
const SMALL: (&str, u128) = ("small", 100_000_000_000_007);
/// The same with two processors, and dearer.
const BIG: (&str, u128) = ("big", 250_000_000_000_003);

#[test]
fn the_cheaper_that_fits_wins_at_the_price_shown() -> Result<()> {
    let mut network = Network::start_in(Sublet::new()?, &["--providers", "0"])?;
    let small = Seller::start(&network.sublet, SMALL.0, &offers(SMALL.1, 1))?;
    let big = Seller::start(&network.sublet, BIG.0, &offers(BIG.1, 2))?;
    network.wait_for_offers(4)?;
    let sublet = &network.sublet;

    let job = sublet.json(&["run", "cowsay", "-i", "message=moo"])?;
    ensure!(same(&job["provider"], &small.account), "the dearer provider ran the job: {job}");
    let paid = units(&job["paid"])?;
    ensure!(paid > 0 && paid % SMALL.1 == 0, "not whole seconds at the price of the offer: {job}");

    let machine = sublet.json(&["rent", "--name", "two", "--vcpus", "2", "--memory", "256", "--disk", "1"])?;
    ensure!(same(&machine["provider"], &big.account), "the machine went to a provider that is too small: {machine}");
    ensure!(units(&machine["price"])? == BIG.1, "not the price of the offer: {machine}");
    let closed = sublet.json(&["leases", "close", "two"])?;
    ensure!(units(&closed["paid"])? % BIG.1 == 0, "not whole seconds at the price shown: {closed}");

    let refused = sublet.refuse(&["rent", "--name", "three", "--vcpus", "2", "--max-price", "0.5"], &["price"])?;
    ensure!(refused.contains("next:"), "no advice: {refused}");
    Ok(())
}

fn offers(price: u128, vcpus: u32) -> String {
    ["lease", "job"]
        .map(|kind| {
            format!(
                "[[provider.offers]]\nname = \"{kind}\"\nkind = \"{kind}\"\ndriver = \"container\"\nprice = \"{price}\"\n\
                 resources = {{ vcpus = {vcpus}, memory_mib = 256, disk_gib = 1 }}\n"
            )
        })
        .concat()
}

fn same(shown: &Value, account: &str) -> bool {
    shown.as_str().is_some_and(|shown| shown.eq_ignore_ascii_case(account))
}
