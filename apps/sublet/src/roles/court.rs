//! The mediators of a local network: as many as asked for, in one set, on one host of their own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sublet_base::{Address, Amount};
use sublet_chain::{Call, Event, EvmLedger, Ledger, MediatorSetRecord, TxKey, Wallet};
use sublet_daemon::Supervisor;
use sublet_market::MediatorSetId;
use sublet_mediator::MediatorConfig;

use super::{ledger, mediator};
use crate::home::{Home, Network};

/// Their accounts. As many are drawn for a dispute as there are.
pub(crate) const NAMES: [&str; 3] = ["elm", "hazel", "rowan"];
/// Name of their host.
pub(crate) const HOST: &str = "court";
/// What a vote earns: little beside the pledge of the shortest job.
const FEE: Amount = Amount(100_000_000_000_000);
const BOND: Amount = Amount::tokens(10);
/// A mediator lets work under way end.
const GRACE: Duration = Duration::from_secs(15);

/// The set that lists exactly these, created if there is none.
pub(crate) async fn set(home: &Home, network: &Network, mediators: &[Wallet]) -> Result<MediatorSetId> {
    let [creator, ..] = mediators else { return Ok(MediatorSetId(0)) };
    let mut members: Vec<Address> = mediators.iter().map(Wallet::address).collect();
    members.sort_unstable();
    let panel_size = u8::try_from(members.len()).context("too many mediators")?;
    let ledger = ledger::open(home, network, creator.clone()).await?;
    let wanted =
        |known: &MediatorSetRecord| known.members == members && known.panel_size == panel_size && known.fee == FEE;
    for number in 1..=ledger.mediator_set_count().await? {
        let id = MediatorSetId(number);
        if ledger.mediator_set(id).await?.as_ref().is_some_and(wanted) {
            return Ok(id);
        }
    }
    let call = Call::CreateMediatorSet { members, panel_size, fee: FEE };
    let landed = ledger.submit(&TxKey::passing("create-set"), &call).await?;
    let created = landed.events.iter().find_map(|event| match event {
        Event::MediatorSetCreated { set, .. } => Some(*set),
        _ => None,
    });
    created.context("the transaction created no set of mediators")
}

/// Starts each of them on the host behind `socket`, and waits until all serve the set.
pub(crate) async fn start(
    home: &Home,
    network: &Network,
    mediators: Vec<Wallet>,
    set: MediatorSetId,
    from_block: u64,
    socket: &Path,
    tasks: &mut Supervisor,
) -> Result<()> {
    let count = mediators.len();
    for (name, wallet) in NAMES.iter().zip(mediators) {
        let config = MediatorConfig {
            name: (*name).to_owned(),
            relay: network.relays.first().cloned(),
            bond: BOND,
            sets: vec![set],
            from_block,
            ..MediatorConfig::default()
        };
        let mediator = mediator::start(home, network, wallet, socket, config).await?;
        tasks.spawn_with_grace("mediator", GRACE, |stop| async move {
            mediator.run(stop).await.map_err(anyhow::Error::into_boxed_dyn_error)
        });
    }
    let options = network.chain();
    let ledger = EvmLedger::connect(&options, None).await?;
    while ledger.mediator_set(set).await?.is_none_or(|known| known.joined.len() < count) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
