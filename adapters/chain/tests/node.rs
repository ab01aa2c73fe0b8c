//! Nodes as they are: limited, busy, and with a key in their address.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::gate::gate;
use common::{Net, Outcome};
use serde_json::{Value, json};
use sublet_base::Address;
use sublet_chain::{Depth, EvmLedger, EvmOptions, Ledger, ReadError};

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap_or("0x0").trim_start_matches("0x"), 16).unwrap_or(0)
}

/// At most eight blocks at a time, and every fifth question comes too soon.
#[tokio::test]
async fn a_search_goes_on_where_it_was_and_asks_for_more_again() -> Outcome {
    let net = Net::start().await?;
    for _ in 0..60 {
        net.rpc("evm_mine", json!([])).await?;
    }
    let (asked, runs) = (AtomicU64::new(0), Arc::new(Mutex::new(Vec::new())));
    let seen = runs.clone();
    let rule = move |method: &str, params: &Value| {
        if method != "eth_getLogs" {
            return None;
        }
        let (from, to) = (number(&params[0]["fromBlock"]), number(&params[0]["toBlock"]));
        if to - from >= 8 {
            return Some(json!({"error": {"code": -32000, "message": "block range is too wide"}}));
        }
        if asked.fetch_add(1, Ordering::SeqCst) % 5 == 4 {
            return Some(json!({"error": {"code": -32005, "message": "Too Many Requests"}}));
        }
        seen.lock().expect("runs").push((from, to));
        None
    };
    let limited = EvmOptions { url: gate(net.chain.url(), Arc::new(rule)).await?, ..net.options() };
    let ledger = EvmLedger::connect(&limited, None).await?;
    assert_eq!(ledger.provider_info(Address::repeat_byte(1)).await?, None);
    let runs = runs.lock().expect("runs").clone();
    let blocks: Vec<u64> = runs.iter().flat_map(|(from, to)| *from..=*to).collect();
    assert_eq!(blocks.len(), blocks.iter().collect::<BTreeSet<_>>().len(), "no block is searched twice");
    assert_eq!(blocks.len() as u64, ledger.head().await?.block.number + 1, "and none is left out");
    let shortest = runs.iter().position(|(from, to)| to - from < 5).unwrap_or(0);
    assert!(runs[shortest..].iter().any(|(from, to)| to - from >= 6), "it never asked for more again: {runs:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_in_the_address_is_not_said() -> Outcome {
    let hidden = |url: &str| EvmOptions { url: url.into(), contract: Address::ZERO, depth: Depth::Newest };
    for url in ["http://user:geheim@127.0.0.1:1/v3/geheim?key=geheim", "wss://host/geheim", "user:geheim@host/geheim"] {
        let options = hidden(url);
        let error = EvmLedger::connect(&options, None).await.err().ok_or("nothing listens there")?;
        let said = format!("{} {}", sublet_daemon::report(&error), options.place());
        assert!(!said.contains("geheim"), "{said}");
        assert!(matches!(error, ReadError::Unreachable { .. } | ReadError::BadUrl { .. }), "{error:?}");
    }
    assert_eq!(hidden("https://rpc.example.org/v3/geheim").place(), "https://rpc.example.org");
    Ok(())
}
