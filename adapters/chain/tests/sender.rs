//! Transactions land once, and their sender knows, through kills, silence, a busy fee market and a second program.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::gate::gate;
use common::{Net, Outcome, anvil, eventually, quick};
use serde_json::{Value, json};
use sublet_base::{Address, Amount, B256};
use sublet_chain::{
    Call, DirTxJournal, EvmLedger, EvmOptions, Ledger, LocalAnvil, Refusal, SendAs, SenderOptions, SubmitError, TxId,
    TxJournal, TxJournalError, TxKey, TxRecord, Wallet,
};
use tempfile::TempDir;

const TO: Address = Address::repeat_byte(0x42);

/// Moves one token; doing it twice would show in the receiver's balance.
fn one() -> Call {
    Call::Transfer { to: TO, amount: Amount::tokens(1) }
}

/// A process that dies inside the journal: before the transaction is sent, or after it was mined.
#[derive(Debug)]
struct Dying {
    inner: DirTxJournal,
    before_send: bool,
    dead: AtomicBool,
}

#[async_trait]
impl TxJournal for Dying {
    async fn save(&self, record: &TxRecord) -> Result<(), TxJournalError> {
        if self.before_send {
            self.inner.save(record).await?;
        }
        if self.before_send || record.outcome.is_some() {
            self.dead.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        self.inner.save(record).await
    }

    async fn load(&self, id: &TxId) -> Result<Option<TxRecord>, TxJournalError> {
        self.inner.load(id).await
    }

    async fn pending(&self, chain: B256, account: Address) -> Result<Vec<TxRecord>, TxJournalError> {
        self.inner.pending(chain, account).await
    }

    async fn remove(&self, id: &TxId) -> Result<(), TxJournalError> {
        self.inner.remove(id).await
    }
}

async fn payer(net: &Net) -> Result<Wallet, Box<dyn std::error::Error>> {
    let wallet = Wallet::random();
    net.faucet.give(wallet.address(), Amount::tokens(100)).await?;
    Ok(wallet)
}

async fn die_and_come_back(before_send: bool) -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let key = TxKey::lasting("pay");
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let journal = Arc::new(Dying {
        inner: DirTxJournal::open(&net.journal("payer"))?,
        before_send,
        dead: AtomicBool::new(false),
    });
    let account = SendAs { wallet: wallet.clone(), journal: journal.clone(), options: quick() };
    let (to, dying) = (net.options(), key.clone());
    process.spawn(async move {
        let ledger = EvmLedger::connect(&to, Some(account)).await.expect("a ledger");
        ledger.submit(&dying, &one()).await.expect("never")
    });
    eventually("death", || async { journal.dead.load(Ordering::SeqCst) }).await;
    tokio::task::spawn_blocking(move || process.shutdown_timeout(Duration::from_secs(5))).await?;
    drop(journal);
    let expected = if before_send { Amount::ZERO } else { Amount::tokens(1) };
    let fresh = EvmLedger::connect(&net.options(), None).await?;
    assert_eq!(fresh.token_balance(TO).await?, expected, "the kill was not where the test wants it");

    let ledger = net.ledger("payer", &wallet).await?;
    let found = ledger.find(&key).await?.ok_or("the journal knows nothing")?;
    assert_eq!(ledger.submit(&key, &one()).await?, found, "asking again must not send again");
    assert_eq!(ledger.token_balance(TO).await?, Amount::tokens(1));
    assert!(matches!(ledger.submit(&key, &Call::Beat).await, Err(SubmitError::KeyTaken(_))));
    ledger.forget(&key).await?;
    assert_eq!(ledger.find(&key).await?, None);
    ledger.submit(&TxKey::passing("next"), &one()).await?;
    assert_eq!(ledger.token_balance(TO).await?, Amount::tokens(2));
    Ok(())
}

#[tokio::test]
async fn killed_after_signing_and_before_sending() -> Outcome {
    die_and_come_back(true).await
}

#[tokio::test]
async fn killed_after_mining_and_before_recording() -> Outcome {
    die_and_come_back(false).await
}

#[tokio::test]
async fn silence_is_called_unknown_and_nothing_is_sent_twice() -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let options = SenderOptions { patience: Duration::from_millis(200), ..quick() };
    let ledger = net.ledger_over(Arc::new(DirTxJournal::open(&net.journal("payer"))?), &wallet, options).await?;
    net.rpc("evm_setAutomine", json!([false])).await?;
    let key = TxKey::lasting("pay");
    for _ in 0..3 {
        let answer = ledger.submit(&key, &one()).await;
        assert!(matches!(&answer, Err(e @ SubmitError::Unknown { .. }) if e.is_retryable()), "{answer:?}");
    }
    net.rpc("evm_mine", json!([])).await?;
    ledger.submit(&key, &one()).await?;
    net.rpc("evm_mine", json!([])).await?;
    assert_eq!(ledger.token_balance(TO).await?, Amount::tokens(1));
    Ok(())
}

#[tokio::test]
async fn a_stuck_transaction_offers_more() -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let options = SenderOptions { resend_after: Duration::from_millis(50), ..quick() };
    let ledger = net.ledger_over(Arc::new(DirTxJournal::open(&net.journal("payer"))?), &wallet, options).await?;
    net.rpc("evm_setAutomine", json!([false])).await?;
    let (key, call) = (TxKey::passing("pay"), one());
    let dear = async {
        let waiting = || async { net.rpc("txpool_status", json!([])).await.is_ok_and(|s| s["pending"] == "0x1") };
        eventually("the transaction in the pool", waiting).await;
        net.rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be4000"])).await?;
        loop {
            net.rpc("evm_mine", json!([])).await?;
            net.rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be4000"])).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        #[allow(unreachable_code)]
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    tokio::select! {
        landed = ledger.submit(&key, &call) => landed.map(|_| ())?,
        ended = dear => ended?,
    }
    assert_eq!(ledger.token_balance(TO).await?, Amount::tokens(1));
    Ok(())
}

/// Makes blocks, each too dear for what was signed when gas was cheap.
async fn dear(net: &Net) -> Outcome {
    loop {
        net.rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be4000"])).await?;
        net.rpc("evm_mine", json!([])).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn pending(net: &Net, count: &str) {
    eventually("transactions in the pool", || async {
        net.rpc("txpool_status", json!([])).await.is_ok_and(|status| status["pending"] == count)
    })
    .await;
}

#[tokio::test]
async fn a_stuck_lower_number_offers_more_too() -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let options = SenderOptions { resend_after: Duration::from_millis(50), ..quick() };
    let ledger = net.ledger_over(Arc::new(DirTxJournal::open(&net.journal("payer"))?), &wallet, options).await?;
    net.rpc("evm_setAutomine", json!([false])).await?;
    let (first, second, call) = (TxKey::lasting("first"), TxKey::passing("second"), one());
    tokio::select! {
        landed = ledger.submit(&first, &call) => return Err(format!("not before a block: {landed:?}").into()),
        () = pending(&net, "0x1") => {}
    }
    // Nobody waits for the first any more.
    tokio::select! {
        landed = ledger.submit(&second, &call) => landed.map(|_| ())?,
        ended = dear(&net) => ended?,
    }
    assert_eq!(ledger.token_balance(TO).await?, Amount::tokens(2));
    ledger.find(&first).await?.ok_or("the first is forgotten")?;
    Ok(())
}

#[tokio::test]
async fn a_passing_transaction_that_no_node_has_is_forgotten_at_the_next_start() -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let options = SenderOptions { patience: Duration::from_millis(50), ..quick() };
    net.rpc("evm_setAutomine", json!([false])).await?;
    let journal = Arc::new(DirTxJournal::open(&net.journal("payer"))?);
    let ledger = net.ledger_over(journal.clone(), &wallet, options).await?;
    for key in [TxKey::passing("stale"), TxKey::lasting("pay")] {
        assert!(matches!(ledger.submit(&key, &one()).await, Err(SubmitError::Unknown { .. })));
    }
    drop(ledger);
    let genesis = net.genesis().await?;
    let records = journal.pending(genesis, wallet.address()).await?;
    net.rpc("anvil_dropTransaction", json!([records[0].attempts[0].hash])).await?;
    net.ledger_over(journal.clone(), &wallet, quick()).await?;
    let left = journal.pending(genesis, wallet.address()).await?;
    assert_eq!(left, records[1..], "what the pool does not have is not sent again");
    Ok(())
}

#[tokio::test]
async fn a_number_is_not_lost_while_the_receipt_is_still_to_come() -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let hidden = Arc::new(AtomicBool::new(true));
    let hiding = hidden.clone();
    let rule = move |method: &str, _: &Value| {
        (method == "eth_getTransactionReceipt" && hiding.load(Ordering::SeqCst)).then(|| json!({"result": null}))
    };
    let behind = EvmOptions { url: gate(net.chain.url(), Arc::new(rule)).await?, ..net.options() };
    let options = SenderOptions { patience: Duration::from_secs(4), ..quick() };
    let journal = Arc::new(DirTxJournal::open(&net.journal("payer"))?);
    let account = SendAs { wallet: wallet.clone(), journal: journal.clone(), options };
    let ledger = EvmLedger::connect(&behind, Some(account)).await?;
    let key = TxKey::lasting("pay");
    let answer = ledger.submit(&key, &one()).await;
    assert!(matches!(answer, Err(SubmitError::Unknown { .. })), "the node has yet to find the receipt: {answer:?}");
    hidden.store(false, Ordering::SeqCst);
    ledger.submit(&key, &one()).await?;
    Ok(())
}

#[tokio::test]
async fn many_at_once_and_a_second_program_on_the_same_account() -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let ours = Arc::new(net.ledger("ours", &wallet).await?);
    let other = net.ledger("other", &wallet).await?;
    ours.submit(&TxKey::passing("first"), &one()).await?;
    other.submit(&TxKey::passing("elsewhere"), &one()).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..10 {
        let ledger = Arc::clone(&ours);
        tasks.spawn(async move { ledger.submit(&TxKey::passing(format!("pay {n}")), &one()).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    assert_eq!(ours.token_balance(TO).await?, Amount::tokens(12));
    Ok(())
}

#[tokio::test]
async fn no_gas_and_no_chain_are_said_and_nothing_is_sent() -> Outcome {
    let net = Net::start().await?;
    let poor = Wallet::random();
    let ledger = net.ledger("poor", &poor).await?;
    let answer = ledger.submit(&TxKey::passing("a"), &Call::Beat).await;
    assert!(
        matches!(&answer, Err(SubmitError::NoGas { .. } | SubmitError::Refused(Refusal::ProviderUnknown { .. }))),
        "{answer:?}"
    );
    let answer = ledger.submit(&TxKey::passing("b"), &Call::Approve(Amount(1))).await;
    assert!(matches!(&answer, Err(SubmitError::NoGas { account, .. }) if *account == poor.address()), "{answer:?}");
    let Net { chain, folder, deployment, .. } = net;
    let (port, wallet) = (chain.port(), poor);
    chain.stop().await;
    let answer = ledger.submit(&TxKey::lasting("c"), &Call::Approve(Amount(1))).await;
    assert!(matches!(&answer, Err(e @ SubmitError::NotSent(_)) if e.is_retryable()), "{answer:?}");
    let again = LocalAnvil::start(&sublet_chain::AnvilOptions { port, ..anvil(&folder) }).await?;
    assert_eq!(ledger.find(&TxKey::lasting("c")).await?, None, "a journal entry without a transaction");
    assert_eq!(ledger.domain().contract, deployment.contract);
    assert_eq!(ledger.account(), Some(wallet.address()));
    again.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_caller_that_stops_waiting_sends_nothing_twice_and_leaves_no_gap() -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let ledger = net.ledger("payer", &wallet).await?;
    for n in 0..30u64 {
        let (key, call) = (TxKey::lasting(format!("pay {n}")), one());
        let impatient = tokio::time::timeout(Duration::from_micros(300 * n), ledger.submit(&key, &call));
        // Whether it was in time does not matter; that both calls mean one transfer does.
        drop(impatient.await);
        ledger.submit(&key, &call).await?;
    }
    assert_eq!(ledger.token_balance(TO).await?, Amount::tokens(30));
    Ok(())
}

#[tokio::test]
async fn a_passing_name_left_by_a_crash_is_free_again() -> Outcome {
    let net = Net::start().await?;
    let wallet = payer(&net).await?;
    let options = SenderOptions { patience: Duration::from_millis(50), ..quick() };
    let ledger = net.ledger_over(Arc::new(DirTxJournal::open(&net.journal("payer"))?), &wallet, options).await?;
    net.rpc("evm_setAutomine", json!([false])).await?;
    let key = TxKey::passing("pay");
    assert!(matches!(ledger.submit(&key, &one()).await, Err(SubmitError::Unknown { .. })));
    net.rpc("evm_setAutomine", json!([true])).await?;
    net.rpc("evm_mine", json!([])).await?;
    let two = Call::Transfer { to: TO, amount: Amount::tokens(2) };
    ledger.submit(&key, &two).await?;
    assert_eq!(ledger.token_balance(TO).await?, Amount::tokens(3));
    Ok(())
}

#[tokio::test]
async fn one_process_a_journal() -> Outcome {
    let folder = TempDir::new()?;
    let _first = DirTxJournal::open(folder.path())?;
    assert!(DirTxJournal::open(folder.path()).is_err());
    Ok(())
}
