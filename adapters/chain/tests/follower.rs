//! Events come in order and once for each stored cursor, through restarts of the follower and of the chain.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::{Net, Outcome, anvil, eventually};
use serde_json::json;
use sublet_base::{Address, Amount, B256};
use sublet_chain::{
    AnvilOptions, Batch, BlockRef, Call, Depth, Event, EvmLedger, FollowOptions, Follower, Ledger, LocalAnvil, Located,
    Reach, ReadError, Sink, Step, TxKey, Wallet, deposit, follow,
};
use sublet_daemon::CancellationToken;

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

/// The next step, within 20 seconds.
async fn step(follower: &mut Follower) -> Result<Step, ReadError> {
    tokio::time::timeout(Duration::from_secs(20), follower.next()).await.expect("a step within 20 s")
}

/// The next batch; nothing was replaced.
async fn next(follower: &mut Follower) -> Result<Batch, Box<dyn std::error::Error>> {
    match step(follower).await? {
        Step::Batch(batch) => Ok(batch),
        Step::Rewound { to } => Err(format!("rewound to {}", to.number).into()),
    }
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

/// Deposits taken in, and the cursor stored with them; the disk is full as often as `full` says.
#[derive(Debug, Default)]
struct Book {
    deposits: Vec<Amount>,
    cursor: Option<BlockRef>,
    rewound: Vec<BlockRef>,
    full: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("the disk is full")]
struct Full;

#[derive(Debug, Clone, Default)]
struct Shelf(Arc<Mutex<Book>>);

#[async_trait]
impl Sink for Shelf {
    type Error = Full;

    async fn take_in(&mut self, batch: &Batch) -> Result<(), Full> {
        let mut book = self.0.lock().expect("a book");
        if let Some(less) = book.full.checked_sub(1) {
            book.full = less;
            return Err(Full);
        }
        book.deposits.extend(deposits(batch));
        book.cursor = Some(batch.upto);
        Ok(())
    }

    async fn rewind(&mut self, to: BlockRef) -> Result<(), Full> {
        let mut book = self.0.lock().expect("a book");
        book.rewound.push(to);
        book.cursor = Some(to);
        Ok(())
    }

    fn passes(&self, Full: &Full) -> bool {
        true
    }
}

impl Shelf {
    async fn has(&self, wanted: &[Amount]) {
        eventually("deposits", || async { self.0.lock().expect("a book").deposits == wanted }).await;
    }
}

#[tokio::test]
async fn replaced_blocks_are_read_again_and_depth_avoids_that() -> Outcome {
    let net = Net::start().await?;
    let ledger = Arc::new(depositor(&net).await?);
    put(&ledger, 1).await?;
    let snapshot = net.rpc("evm_snapshot", json!([])).await?;
    put(&ledger, 2).await?;
    let hasty = Shelf::default();
    hasty.0.lock().expect("a book").full = 1;
    let stop = CancellationToken::new();
    let mut calm = Follower::new(net.reader(Depth::Confirmations(3)).await?, None, options(&net));
    let (mut sink, token, chain) = (hasty.clone(), stop.clone(), ledger.clone());
    let from = FollowOptions { rewind: 2, ..options(&net) };
    let task = tokio::spawn(async move { follow(chain, None, from, &mut sink, &token).await });
    hasty.has(&[Amount::tokens(1), Amount::tokens(2)]).await;
    let cursor = hasty.0.lock().expect("a book").cursor.ok_or("no cursor")?;
    let batch = next(&mut calm).await?;
    assert!(!deposits(&batch).contains(&Amount::tokens(2)), "too shallow to be handed out");
    calm.commit(batch.upto);

    net.rpc("evm_revert", json!([snapshot])).await?;
    // Lower than the cursor is a node that lags, and nothing to act on.
    assert!(ledger.block(cursor.number).await?.is_none());
    assert_eq!(hasty.0.lock().expect("a book").rewound, []);
    let other = net.person("other", 7).await?.0;
    net.pass(1).await?;
    hasty.has(&[Amount::tokens(1), Amount::tokens(2), Amount::tokens(7)]).await;
    let rewound = hasty.0.lock().expect("a book").rewound.clone();
    assert_eq!(rewound.iter().map(|to| to.number).collect::<Vec<_>>(), [cursor.number - 2]);
    stop.cancel();
    task.await??;
    for _ in 0..8 {
        net.rpc("evm_mine", json!([])).await?;
    }
    let seen = deposits(&batch).len();
    assert_eq!(collect(&mut calm, 2 - seen).await?.last(), Some(&Amount::tokens(7)), "only what stayed");
    assert_eq!(other.agreement_count().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_rewound_cursor_is_handed_out_until_it_is_stored() -> Outcome {
    let net = Net::start().await?;
    let ledger = Arc::new(depositor(&net).await?);
    put(&ledger, 1).await?;
    let head = ledger.head().await?.block;
    let lost = BlockRef { hash: B256::repeat_byte(7), ..head };
    let mut follower = Follower::new(ledger.clone(), Some(lost), options(&net));
    let Step::Rewound { to } = step(&mut follower).await? else { return Err("not rewound".into()) };
    assert_eq!(step(&mut follower).await?, Step::Rewound { to });
    // Fewer blocks than the follower would go back: no further than the first of interest.
    assert_eq!(Some(to), ledger.block(net.deployment.block - 1).await?);
    follower.commit(to);
    assert_eq!(collect(&mut follower, 1).await?, [Amount::tokens(1)]);
    Ok(())
}

#[tokio::test]
async fn safe_follows_behind_the_head() -> Outcome {
    let net = Net::start().await?;
    let ledger = Arc::new(depositor(&net).await?);
    put(&ledger, 1).await?;
    let head = ledger.head().await?.block;
    let careful = net.reader(Depth::Safe).await?;
    let safe = careful.firm_head().await?.ok_or("no safe block")?;
    assert_eq!(safe.number + 1, head.number);
    let mut follower = Follower::new(careful, None, options(&net));
    let reached: BlockRef = next(&mut follower).await?.upto;
    assert_eq!(reached, safe);
    ledger.submit(&TxKey::passing("more"), &Call::Transfer { to: Address::repeat_byte(1), amount: Amount(1) }).await?;
    follower.commit(reached);
    assert_eq!(next(&mut follower).await?.upto, head);
    eventually("a head", || async { ledger.head().await.is_ok() }).await;
    Ok(())
}
