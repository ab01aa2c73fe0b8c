//! Events come in order and once for each stored cursor, through restarts of the follower and of the chain.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Net, Outcome, anvil, eventually};
use serde_json::json;
use sublet_base::{Address, Amount};
use sublet_chain::{
    AnvilOptions, Batch, BlockRef, Call, Depth, Event, EvmLedger, FollowError, FollowOptions, Follower, Ledger,
    LocalAnvil, Located, Reach, TxKey, Wallet, deposit,
};

fn options(net: &Net) -> FollowOptions {
    FollowOptions { poll: Duration::from_millis(10), from: net.deployment.block, ..FollowOptions::default() }
}

/// Amounts of the deposits in these events.
fn deposits(batch: &Batch) -> Vec<Amount> {
    let amount = |e: &Located| if let Event::Deposited { amount, .. } = e.event { Some(amount) } else { None };
    batch.events.iter().filter_map(amount).collect()
}

async fn put(ledger: &EvmLedger, tokens: u64) -> Outcome {
    deposit(ledger, &format!("put {tokens}"), Amount::tokens(tokens)).await?;
    Ok(())
}

/// The next batch, within 20 seconds.
async fn next(follower: &mut Follower) -> Result<Batch, FollowError> {
    tokio::time::timeout(Duration::from_secs(20), follower.next()).await.expect("a batch within 20 s")
}

/// Follows until `wanted` deposits were seen, committing as it goes.
async fn collect(follower: &mut Follower, wanted: usize) -> Result<Vec<Amount>, Box<dyn std::error::Error>> {
    let mut seen = Vec::new();
    while seen.len() < wanted {
        let batch = next(follower).await?;
        seen.extend(deposits(&batch));
        follower.commit(batch.upto);
    }
    Ok(seen)
}

async fn depositor(net: &Net) -> Result<EvmLedger, Box<dyn std::error::Error>> {
    let wallet = Wallet::random();
    net.faucet.give(wallet.address(), Amount::tokens(1000)).await?;
    net.ledger("depositor", &wallet).await
}

#[tokio::test]
async fn resumes_after_its_cursor_and_repeats_what_was_not_committed() -> Outcome {
    let net = Net::start().await?;
    let ledger = Arc::new(depositor(&net).await?);
    put(&ledger, 1).await?;
    put(&ledger, 2).await?;
    let mut first = Follower::new(ledger.clone(), None, FollowOptions { span: 1, ..options(&net) });
    assert_eq!(collect(&mut first, 1).await?, [Amount::tokens(1)]);
    let cursor = first.cursor();
    let first_block = ledger.events(0, u64::from(u32::MAX)).await?;
    assert!(first_block.iter().all(|event| event.time.is_some()), "events without a time");
    let uncommitted = loop {
        let batch = next(&mut first).await?;
        if deposits(&batch).is_empty() {
            first.commit(batch.upto);
        } else {
            break batch;
        }
    };
    assert_eq!(next(&mut first).await?, uncommitted, "not committed, so handed out again");
    put(&ledger, 3).await?;
    let mut second = Follower::new(ledger.clone(), cursor, options(&net));
    assert_eq!(collect(&mut second, 2).await?, [Amount::tokens(2), Amount::tokens(3)]);
    let idle = tokio::time::timeout(Duration::from_millis(100), second.next()).await;
    assert!(idle.is_err(), "nothing happened, but it handed out {idle:?}");
    Ok(())
}

#[tokio::test]
async fn waits_out_an_absent_chain_and_misses_nothing() -> Outcome {
    let net = Net::start().await?;
    let ledger = Arc::new(depositor(&net).await?);
    put(&ledger, 1).await?;
    let mut follower = Follower::new(ledger.clone(), None, options(&net));
    assert_eq!(collect(&mut follower, 1).await?, [Amount::tokens(1)]);
    put(&ledger, 2).await?;
    let mut reach = follower.reach();
    let Net { chain, folder, .. } = net;
    let port = chain.port();
    chain.stop().await;
    let task = tokio::spawn(async move { collect(&mut follower, 2).await.map_err(|e| e.to_string()) });
    tokio::time::timeout(Duration::from_secs(20), reach.wait_for(|r| matches!(r, Reach::Down(n) if *n >= 2))).await??;
    let chain = LocalAnvil::start(&AnvilOptions { port, ..anvil(&folder) }).await?;
    put(&ledger, 3).await?;
    assert_eq!(task.await??, [Amount::tokens(2), Amount::tokens(3)]);
    assert_eq!(*reach.borrow(), Reach::Up);
    chain.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_replaced_chain_is_noticed_and_depth_avoids_it() -> Outcome {
    let net = Net::start().await?;
    let ledger = Arc::new(depositor(&net).await?);
    let snapshot = net.rpc("evm_snapshot", json!([])).await?;
    put(&ledger, 1).await?;
    let mut hasty = Follower::new(ledger.clone(), None, options(&net));
    let mut calm =
        Follower::new(ledger.clone(), None, FollowOptions { depth: Depth::Confirmations(3), ..options(&net) });
    assert_eq!(collect(&mut hasty, 1).await?, [Amount::tokens(1)]);
    let batch = next(&mut calm).await?;
    assert!(deposits(&batch).is_empty(), "too shallow to be handed out");
    calm.commit(batch.upto);

    net.rpc("evm_revert", json!([snapshot])).await?;
    let other = net.person("other", 7).await?.0;
    net.pass(1).await?;
    let error = next(&mut hasty).await.err();
    assert!(matches!(error, Some(FollowError::Replaced { .. })), "{error:?}");
    for _ in 0..8 {
        net.rpc("evm_mine", json!([])).await?;
    }
    assert_eq!(collect(&mut calm, 1).await?, [Amount::tokens(7)], "only what stayed");
    assert_eq!(other.agreement_count().await?, 0);
    Ok(())
}

#[tokio::test]
async fn safe_follows_behind_the_head() -> Outcome {
    let net = Net::start().await?;
    let ledger = Arc::new(depositor(&net).await?);
    put(&ledger, 1).await?;
    let head = ledger.head().await?.block;
    let safe = ledger.head_at(Depth::Safe).await?.ok_or("no safe block")?;
    assert_eq!(safe.number + 1, head.number);
    let mut follower = Follower::new(ledger.clone(), None, FollowOptions { depth: Depth::Safe, ..options(&net) });
    let reached: BlockRef = next(&mut follower).await?.upto;
    assert_eq!(reached, safe);
    ledger.submit(&TxKey::passing("more"), &Call::Transfer { to: Address::repeat_byte(1), amount: Amount(1) }).await?;
    follower.commit(reached);
    assert_eq!(next(&mut follower).await?.upto, head);
    eventually("a head", || async { ledger.head().await.is_ok() }).await;
    Ok(())
}
