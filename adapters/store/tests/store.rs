//! The parts of the store, one by one, and what a reopened store still knows.

use std::path::PathBuf;

use serde_json::{Value, json};
use sublet_base::{Address, B256, UnixTime};
use sublet_store::{
    Begun, EntryState, Expect, InBatch, NewOffer, NewOrder, OfferState, OrderState, Position, Put, StepState, Store,
    StoreError,
};
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn scratch() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("state").join("sublet.db");
    (folder, path)
}

async fn begin(store: &Store, key: &str, payload: Value) -> Result<Begun, StoreError> {
    let mut tx = store.begin().await?;
    let begun = tx.begin_entry(key, "kind", &payload, |known| *known == payload).await?;
    tx.commit().await?;
    Ok(begun)
}

#[tokio::test]
async fn the_journal_says_what_a_crash_left_half_done() -> Outcome {
    let (_folder, path) = scratch();
    {
        let store = Store::open(&path).await?;
        let journal = store.journal();
        assert_eq!(begin(&store, "lease-7/start", json!({"lease": 7})).await?, Begun::New);
        journal.record("lease-7/start", "machine", StepState::Intended, &json!({"id": "lease-7"})).await?;
        journal.record("lease-7/start", "machine", StepState::Done, &json!({"id": "lease-7"})).await?;
        journal.record("lease-7/start", "disk", StepState::Intended, &Value::Null).await?;
        journal.record("lease-7/start", "disk", StepState::Undone, &Value::Null).await?;
        journal.record("lease-7/start", "call", StepState::Intended, &json!({"tx": "0x1"})).await?;
        begin(&store, "job-8/run", Value::Null).await?;
        journal.finish("job-8/run").await?;
    }
    let store = Store::open(&path).await?;
    let open = store.journal().open_entries().await?;
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].key.as_str(), &open[0].payload), ("lease-7/start", &json!({"lease": 7})));
    let left: Vec<_> = open[0].steps.iter().map(|r| (r.step.as_str(), r.state, &r.data)).collect();
    assert_eq!(
        left,
        [
            ("machine", StepState::Intended, &json!({"id": "lease-7"})),
            ("machine", StepState::Done, &json!({"id": "lease-7"})),
            ("disk", StepState::Intended, &Value::Null),
            ("disk", StepState::Undone, &Value::Null),
            ("call", StepState::Intended, &json!({"tx": "0x1"})),
        ],
        "oldest first"
    );
    assert_eq!(begin(&store, "lease-7/start", json!({"lease": 7})).await?, Begun::Known);
    Ok(())
}

#[tokio::test]
async fn a_journal_entry_ends_once() -> Outcome {
    let (_folder, path) = scratch();
    let store = Store::open(&path).await?;
    let journal = store.journal();
    begin(&store, "k", json!(1)).await?;
    journal.finish("k").await?;
    assert_eq!(begin(&store, "k", json!(1)).await?, Begun::Known, "it does not start again");
    assert!(matches!(journal.finish("k").await, Err(StoreError::NotOpen { .. })));
    assert!(matches!(journal.record("k", "late", StepState::Done, &()).await, Err(StoreError::NotOpen { .. })));
    let ended = journal.entry("k").await?.map(|entry| entry.state);
    assert_eq!(ended, Some(EntryState::Finished));
    assert_eq!(journal.forget_finished(3600).await?, 0, "too young to forget");
    assert_eq!(journal.forget_finished(0).await?, 1);
    assert_eq!(journal.entry("k").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_journal_key_that_stands_for_something_else_is_freed_and_what_it_stood_for_kept() -> Outcome {
    let (_folder, path) = scratch();
    let store = Store::open(&path).await?;
    let journal = store.journal();
    begin(&store, "k", json!(1)).await?;
    journal.record("k", "step", StepState::Done, &()).await?;
    assert_eq!(begin(&store, "k", json!(2)).await?, Begun::Instead, "of an open one");
    let open = journal.open_entries().await?;
    assert_eq!(open.iter().map(|e| (e.key.as_str(), e.steps.len())).collect::<Vec<_>>(), [("k", 0)]);
    journal.finish("k").await?;
    assert_eq!(begin(&store, "k", json!(3)).await?, Begun::Instead, "of one that is over");
    assert_eq!(journal.forget_finished(0).await?, 2, "both were kept until now");
    Ok(())
}

#[tokio::test]
async fn a_document_changes_only_as_expected() -> Outcome {
    let (_folder, path) = scratch();
    let store = Store::open(&path).await?;
    let leases = store.documents("lease");
    let first = leases.put("7", &json!({"state": "open"}), Expect::Absent).await?;
    assert!(matches!(leases.put("7", &Value::Null, Expect::Absent).await, Err(StoreError::Conflict { .. })));
    let second = leases.put("7", &json!({"state": "active"}), Expect::Exactly(first)).await?;
    assert!(matches!(leases.put("7", &Value::Null, Expect::Exactly(first)).await, Err(StoreError::Conflict { .. })));
    leases.delete("7", Expect::Exactly(second)).await?;
    let again = leases.put("7", &json!({"state": "active"}), Expect::Absent).await?;
    assert_ne!(again, second, "a rewritten document is another one");
    assert_eq!(store.documents("job").get::<Value>("7").await?, None, "collections are apart");
    assert!(matches!(leases.get::<Vec<u8>>("7").await, Err(StoreError::Unreadable { .. })));
    assert_eq!(leases.list::<Value>().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn racing_writers_lose_no_update() -> Outcome {
    let (_folder, path) = scratch();
    let store = Store::open(&path).await?;
    store.documents("n").put("n", &0u32, Expect::Absent).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let numbers = store.documents("n");
        tasks.spawn(async move {
            for _ in 0..5 {
                while let Ok(Some(read)) = numbers.get::<u32>("n").await {
                    match numbers.put("n", &(read.value + 1), Expect::Exactly(read.revision)).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(other) => return Err(other),
                    }
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    assert_eq!(store.documents("n").get::<u32>("n").await?.map(|d| d.value), Some(40));
    Ok(())
}

#[tokio::test]
async fn a_transaction_lands_whole_or_not_at_all() -> Outcome {
    let (_folder, path) = scratch();
    let store = Store::open(&path).await?;
    let at = |block| Position { block, hash: B256::repeat_byte(1) };
    {
        let mut tx = store.begin().await?;
        tx.put_document("lease", "1", &1, Expect::Anything).await?;
        tx.advance_cursor("chain", at(5)).await?;
    }
    assert_eq!(store.cursor("chain").load().await?, None, "dropped, so nothing happened");
    assert_eq!(store.documents("lease").get::<u32>("1").await?, None);
    let mut tx = store.begin().await?;
    tx.put_document("lease", "1", &1, Expect::Anything).await?;
    tx.advance_cursor("chain", at(5)).await?;
    tx.commit().await?;
    assert_eq!(store.cursor("chain").load().await?, Some(at(5)));
    assert!(matches!(store.cursor("chain").advance(at(4)).await, Err(StoreError::Conflict { .. })), "never backwards");
    let replaced = Position { block: 3, hash: B256::repeat_byte(9) };
    store.cursor("chain").rewind(replaced).await?;
    assert_eq!(store.cursor("chain").load().await?, Some(replaced), "but for replaced blocks");
    store.cursor("chain").advance(at(5)).await?;
    Ok(())
}

#[tokio::test]
async fn the_book_survives_and_keeps_the_order_of_arrival() -> Outcome {
    let (_folder, path) = scratch();
    let offer = |n: u8| NewOffer {
        hash: B256::repeat_byte(n),
        provider: Address::repeat_byte(1),
        valid_until: UnixTime(100 + u64::from(n)),
        document: format!("offer {n}"),
    };
    let order = |n: u8| NewOrder {
        hash: B256::repeat_byte(n),
        renter: Address::repeat_byte(2),
        valid_until: UnixTime(100 + u64::from(n)),
        document: format!("order {n}"),
    };
    {
        let book = Store::open(&path).await?.book();
        for n in [9, 3, 5] {
            assert_eq!(book.put_offer(&offer(n)).await?, Put::New);
            assert_eq!(book.put_order(&order(n)).await?, Put::New);
        }
        assert_eq!(book.put_offer(&offer(9)).await?, Put::Known);
    }
    let book = Store::open(&path).await?.book();
    let arrived: Vec<_> = book.live_offers().await?.into_iter().map(|o| o.offer).collect();
    assert_eq!(arrived, [offer(9), offer(3), offer(5)]);
    let opening = OrderState::Opening { offer: B256::repeat_byte(9), batch: None };
    book.move_order(B256::repeat_byte(3), &OrderState::Waiting, &opening).await?;
    let twice = book.move_order(B256::repeat_byte(3), &OrderState::Waiting, &opening).await;
    assert!(matches!(twice, Err(StoreError::Conflict { .. })), "an order is opened once");
    let (offers, orders) = book.expire(UnixTime(106)).await?;
    assert_eq!((offers.len(), orders), (2, vec![B256::repeat_byte(5)]), "the one being opened is left alone");
    let place = InBatch { batch: B256::repeat_byte(8), row: 1 };
    let together = OrderState::Opening { offer: B256::repeat_byte(9), batch: Some(place) };
    book.move_order(B256::repeat_byte(3), &opening, &together).await?;
    assert_eq!(book.order(B256::repeat_byte(3)).await?.map(|o| o.state), Some(together.clone()));
    let opening = together;
    let (offer_hash, provider) = (B256::repeat_byte(9), Address::repeat_byte(1));
    let transaction = B256::repeat_byte(3);
    let filled = OrderState::Filled { offer: offer_hash, provider, agreement: 12, transaction };
    book.move_order(B256::repeat_byte(3), &opening, &filled).await?;
    assert_eq!(book.order(B256::repeat_byte(3)).await?.map(|o| o.state), Some(filled));
    assert_eq!(book.live_orders().await?.len(), 1);
    assert_eq!(book.orders_of(Address::repeat_byte(2), 2).await?.len(), 2);
    book.move_offer(B256::repeat_byte(9), OfferState::Live, OfferState::Cancelled).await?;
    assert!(book.live_offers().await?.is_empty());

    // Offers ended at 103, 105 and 109; orders at 103 (filled) and 105, and one that waits until 109.
    assert_eq!(book.forget_ended(UnixTime(103), 9).await?, 0, "not before it is over");
    assert_eq!(book.forget_ended(UnixTime(200), 1).await?, 2, "the longest over first, of each kind");
    assert_eq!(book.forget_ended(UnixTime(200), 9).await?, 3);
    assert_eq!(book.offer(B256::repeat_byte(9)).await?, None);
    assert_eq!(book.live_orders().await?.len(), 1, "what waits is never forgotten");
    Ok(())
}

#[tokio::test]
async fn one_process_at_a_time_and_nobody_else_may_read() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = scratch();
    let store = Store::open(&path).await?;
    assert!(matches!(Store::open(&path).await, Err(StoreError::InUse { .. })));
    store.documents("d").put("k", &1, Expect::Anything).await?;
    for file in std::fs::read_dir(path.parent().expect("a folder"))? {
        assert_eq!(file?.metadata()?.permissions().mode() & 0o077, 0, "readable by its owner only");
    }
    drop(store);
    Store::open(&path).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_as_damaged() -> Outcome {
    let (_folder, path) = scratch();
    std::fs::create_dir_all(path.parent().expect("a folder"))?;
    std::fs::write(&path, "this is not a database, and long enough to be mistaken for none".repeat(40))?;
    let error = Store::open(&path).await.err();
    assert!(matches!(error, Some(StoreError::Damaged { .. })), "got {error:?}");
    Ok(())
}

#[tokio::test]
async fn those_that_share_see_each_others_writes_and_one_that_does_not_waits_outside() -> Outcome {
    let (_folder, path) = scratch();
    let (one, other) = tokio::try_join!(Store::open_shared(&path), Store::open_shared(&path))?;
    one.documents("order").put("a", &json!({"n": 1}), Expect::Anything).await?;
    let seen: Option<Value> = other.documents("order").get("a").await?.map(|found| found.value);
    assert_eq!(seen, Some(json!({"n": 1})));
    assert!(matches!(Store::open(&path).await, Err(StoreError::InUse { .. })));
    drop((one, other));
    Store::open(&path).await?;
    Ok(())
}
