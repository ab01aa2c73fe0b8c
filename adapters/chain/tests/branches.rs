//! What lies beside the contract of the money: gateways, orders placed on chain, contracts that sign; and batches.

mod common;

use common::{Net, Outcome, offer, order};
use serde_json::json;
use sublet_base::{Address, Amount, B256, PeerKey, Seconds, keccak256};
use sublet_chain::{Branch, Call, Event, Ledger, Refusal, SubmitError, TxKey};
use sublet_market::agreement::{CourtRules, Rules, commitment};
use sublet_market::{Kind, Signature, SignedOrder, TypedData};

#[tokio::test]
async fn the_rules_are_those_the_domain_is_compiled_with() -> Outcome {
    let net = Net::start().await?;
    let rules = net.person("reader", 0).await?.0.rules();
    let domain = Rules::default();
    assert_eq!((rules.max_gap, rules.fault_after), (domain.max_gap, domain.fault_after));
    assert_eq!(rules.court, CourtRules::default());
    assert_eq!((rules.gateway_stale_after, rules.max_workload), (Seconds(600), 16 << 10));
    Ok(())
}

#[tokio::test]
async fn gateways_are_listed_and_leave_with_their_bond() -> Outcome {
    let net = Net::start().await?;
    let (first, key) = net.person("first", 10).await?;
    let (second, _) = net.person("second", 10).await?;
    let register = |n: u8| Call::RegisterGateway {
        peer_key: PeerKey([n; 32]),
        url: format!("https://{n}.example"),
        region: "eu".to_owned(),
        bond: Amount::tokens(3),
    };
    assert_eq!(first.gateway(key.address()).await?, None);
    for (ledger, n) in [(&first, 1), (&second, 2)] {
        ledger.submit(&TxKey::passing("gateway"), &register(n)).await?;
    }
    let record = second.gateway(key.address()).await?.ok_or("not listed")?;
    assert_eq!((record.url.as_str(), record.region.as_str(), record.online), ("https://1.example", "eu", true));
    assert_eq!((record.bond, record.retired_at), (Amount::tokens(3), None));
    let all = first.gateways(0, 9).await?;
    assert_eq!(all.iter().map(|g| g.peer_key.0[0]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(first.gateways(1, 9).await?, all[1..]);

    net.pass(601).await?;
    assert!(!first.gateway(key.address()).await?.ok_or("gone")?.online, "no beat for too long");
    let landed = first.submit(&TxKey::passing("beat"), &Call::GatewayBeat).await?;
    assert_eq!(landed.events, [Event::GatewayBeat { gateway: key.address() }]);
    assert!(first.gateway(key.address()).await?.ok_or("gone")?.online);
    first.submit(&TxKey::passing("retire"), &Call::RetireGateway).await?;
    let early = first.submit(&TxKey::passing("out"), &Call::WithdrawBond(Branch::Gateways)).await;
    assert!(matches!(early, Err(SubmitError::Refused(Refusal::BondTooEarly { .. }))), "{early:?}");
    net.pass(7 * 24 * 3600).await?;
    let landed = first.submit(&TxKey::passing("out"), &Call::WithdrawBond(Branch::Gateways)).await?;
    let (branch, account, amount) = (Branch::Gateways, key.address(), Amount::tokens(3));
    assert!(landed.events.contains(&Event::BondWithdrawn { branch, account, amount }), "{:?}", landed.events);
    assert_eq!(first.free_of(account).await?, Amount::tokens(10));
    assert_eq!(first.gateways(0, 9).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_placed_order_is_found_and_fills_without_a_signature() -> Outcome {
    let net = Net::start().await?;
    let (provider, provider_key) = net.provider("provider").await?;
    let (renter, renter_key) = net.person("renter", 500).await?;
    let workload = br#"{"a":"document"}"#.to_vec();
    let mut wanted = order(&renter, &renter_key, Kind::Job, 100, 1).await?.order;
    wanted.workload = keccak256(&workload);
    let hash = wanted.signing_hash(&renter.domain());
    let from = renter.head().await?.block.number;
    assert_eq!(renter.placed_order(hash).await?, None);
    let place = |workload: &[u8]| Call::PlaceOrder {
        order: Box::new(wanted.clone()),
        workload: Some(workload.to_vec()),
        callback: false,
    };
    let foreign = renter.check(&place(b"another document")).await?;
    assert!(matches!(foreign, Err(Refusal::OrderWorkloadDiffers { .. })), "{foreign:?}");
    let not_mine = provider.check(&place(&workload)).await?;
    assert!(matches!(not_mine, Err(Refusal::OrderNotRenter { .. })), "{not_mine:?}");

    let unplaced = SignedOrder::placed(wanted.clone());
    let offered = offer(&provider, &provider_key, Kind::Job).await?;
    let open = Call::Open(Box::new((offered, unplaced)));
    let early = provider.check(&open).await?;
    assert!(matches!(early, Err(Refusal::OrderBadSignature { .. })), "{early:?}");
    renter.submit(&TxKey::passing("place"), &place(&workload)).await?;
    let found = provider.placed_order(hash).await?.ok_or("not placed")?;
    assert_eq!((found.hash, &found.order, found.callback), (hash, &wanted, false));
    assert_eq!(found.workload, Some(workload));
    let to = renter.head().await?.block.number;
    assert_eq!(provider.placed_orders(from, to).await?, [found]);
    assert_eq!(provider.placed_orders(0, from).await?, []);
    let landed = provider.submit(&TxKey::passing("open"), &open).await?;
    assert_eq!(landed.opened(), Some(1));
    Ok(())
}

#[tokio::test]
async fn a_providers_info_is_the_newest_it_registered() -> Outcome {
    let net = Net::start().await?;
    let (provider, key) = net.provider("provider").await?;
    assert_eq!(provider.provider_info(key.address()).await?.as_deref(), Some(r#"{"name":"p"}"#));
    let again = Call::RegisterProvider { peer_key: PeerKey([7; 32]), info: r#"{"name":"q"}"#.to_owned() };
    provider.submit(&TxKey::passing("again"), &again).await?;
    assert_eq!(provider.provider_info(key.address()).await?.as_deref(), Some(r#"{"name":"q"}"#));
    assert_eq!(provider.provider_info(Address::repeat_byte(1)).await?, None);
    Ok(())
}

#[tokio::test]
async fn contracts_are_asked_about_their_signatures() -> Outcome {
    let net = Net::start().await?;
    let (reader, key) = net.person("reader", 0).await?;
    let magic = format!("1626ba7e{}", "00".repeat(28));
    let almost = format!("1626ba7e{}01", "00".repeat(27));
    // Each answers every call alike: the magic word, nearly the magic word, four bytes of it, a revert.
    let codes = [
        (format!("0x7f{magic}60005260206000f3"), true),
        (format!("0x7f{almost}60005260206000f3"), false),
        (format!("0x7f{magic}60005260046000f3"), false),
        ("0x60006000fd".to_owned(), false),
    ];
    let signature = Signature::new(vec![1, 2, 3])?;
    for (n, (code, good)) in (1u8..).zip(codes) {
        let account = Address::repeat_byte(n);
        net.rpc("anvil_setCode", json!([account, code])).await.ok(); // It answers with nothing, which `rpc` takes amiss.
        let answer = reader.is_contract_signature(account, B256::repeat_byte(9), &signature).await?;
        assert_eq!(answer, good, "{code}");
    }
    assert!(!reader.is_contract_signature(key.address(), B256::repeat_byte(9), &signature).await?, "a plain account");
    Ok(())
}

#[tokio::test]
async fn a_batch_opens_all_but_its_bad_rows_with_the_gas_that_was_estimated() -> Outcome {
    let net = Net::start().await?;
    let (provider, provider_key) = net.provider("provider").await?;
    let (renter, renter_key) = net.person("renter", 500).await?;
    let mut offered = offer(&provider, &provider_key, Kind::Job).await?.offer;
    offered.capacity = 9;
    let offered = provider_key.sign_offer(offered, &renter.domain())?;
    let mut pairs = Vec::new();
    for nonce in 0..5 {
        let wanted = order(&renter, &renter_key, Kind::Job, 10, nonce).await?;
        pairs.push((offered.clone(), wanted));
    }
    pairs[2].1.order.duration = Seconds(11);
    let landed = provider.submit(&TxKey::passing("many"), &Call::OpenMany(pairs)).await?;
    let opened = landed.events.iter().filter(|e| matches!(e, Event::JobOpened(_))).count();
    let refused: Vec<_> = landed
        .events
        .iter()
        .filter_map(|e| match e {
            Event::OpenRefused { index, refusal, .. } => Some((*index, refusal.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(opened, 4, "{refused:?}");
    assert!(matches!(&refused[..], [(2, Refusal::OrderBadSignature { .. })]), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_vote_is_bound_as_the_contract_binds_it() -> Outcome {
    // Known answer of `commitmentOf`: keccak256 of four words.
    let (who, result, salt) = (Address::repeat_byte(1), B256::repeat_byte(2), B256::repeat_byte(3));
    let words = [B256::from(sublet_base::U256::from(7)), who.into_word(), result, salt].concat();
    assert_eq!(commitment(sublet_base::JobId(7), who, result, salt), keccak256(words));
    Ok(())
}
