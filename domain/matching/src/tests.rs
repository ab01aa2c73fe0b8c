//! The plan against the simplest possible planner, and its promises under any book.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sublet_base::{Address, Amount, B256, Bps, GiB, MiB, PeerKey, Price, Seconds, U256, UnixTime, Vcpus};
use sublet_market::{Class, Kind, MediatorSetId, Offer, Order, Resources, Traits, misfits};

use super::*;

const NOW: UnixTime = UnixTime(1_000_000);

fn account(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn size(vcpus: u32, memory: u32) -> Resources {
    Resources { vcpus: Vcpus(vcpus), memory: MiB(memory), disk: GiB(10), ..Resources::default() }
}

fn offer(n: u8, provider: u8, price: u128) -> OpenOffer {
    let offer = Offer {
        provider: account(provider),
        kind: Kind::Lease,
        resources: size(2, 2048),
        price: Price(price),
        pledge_bps: Bps(10_000),
        capacity: 2,
        min_duration: Seconds(10),
        max_duration: Seconds(10_000),
        start_within: Seconds(60),
        notice: Seconds(60),
        min_charge: Seconds(10),
        mediator_set: MediatorSetId(0),
        max_challenge_window: Seconds(600),
        valid_until: UnixTime(NOW.0 + 10_000),
        epoch: 0,
    };
    OpenOffer { hash: B256::repeat_byte(n), offer, open: 0, received: n.into() }
}

fn order(n: u8, max_price: u128) -> PendingOrder {
    let order = Order {
        renter: account(200),
        kind: Kind::Lease,
        resources: size(1, 1024),
        max_price: Price(max_price),
        duration: Seconds(100),
        workload: B256::repeat_byte(1),
        peer_key: PeerKey([1; 32]),
        class: Class::None,
        mediator_set: MediatorSetId(0),
        challenge_window: Seconds(0),
        min_pledge_bps: Bps(0),
        max_start_within: Seconds(60),
        min_notice: Seconds(60),
        max_min_charge: Seconds(10),
        provider: Address::ZERO,
        solver: Address::ZERO,
        solver_fee: Amount(0),
        valid_until: UnixTime(NOW.0 + 1_000),
        nonce: U256::from(n),
    };
    PendingOrder { hash: B256::repeat_byte(n), order, received: n.into() }
}

fn accounts(providers: &[u8], free: u128) -> BTreeMap<Address, Account> {
    let live = Provider { online: true, last_beat: NOW, epoch: 0 };
    let provider = |n: &u8| (account(*n), Account { free: Amount(free), provider: Some(live) });
    let renter = (account(200), Account { free: Amount(free), provider: None });
    providers.iter().map(provider).chain([renter]).collect()
}

fn policy() -> Policy {
    Policy::at(NOW, account(99))
}

fn reason_of(book: &Book) -> Reason {
    let plan = plan(book, &policy());
    assert_eq!(plan.matches, []);
    plan.unfilled.into_iter().next().expect("one unfilled order").reason
}

#[test]
fn the_cheaper_of_two_that_fit_wins_and_sets_the_price() {
    let book = Book {
        offers: vec![
            offer(1, 11, 50),
            offer(2, 12, 30),
            OpenOffer { offer: Offer { resources: size(1, 512), ..offer(3, 12, 10).offer }, ..offer(3, 12, 10) },
        ],
        orders: vec![order(100, 40)],
        accounts: accounts(&[11, 12], 1_000_000),
        ..Book::default()
    };
    let plan = plan(&book, &policy());
    let expected = Match {
        offer: B256::repeat_byte(2),
        order: B256::repeat_byte(100),
        price: Price(30),
        locked: Amount(3_000),
        pledge: Amount(3_000),
    };
    assert_eq!((plan.matches, plan.unfilled), (vec![expected], vec![]));
}

#[test]
fn of_equal_prices_the_offer_that_came_first_wins() {
    let (early, late) = (OpenOffer { received: 1, ..offer(9, 11, 30) }, OpenOffer { received: 2, ..offer(1, 12, 30) });
    let accounts = accounts(&[11, 12], 1_000_000);
    let book = Book { offers: vec![late, early], orders: vec![order(100, 40)], accounts, ..Book::default() };
    assert_eq!(plan(&book, &policy()).matches[0].offer, B256::repeat_byte(9));
}

#[test]
fn an_exact_job_needs_mediators_and_a_pledge_that_pays_them() {
    let set = MediatorSetId(3);
    let job = |n, provider, price, bps| {
        let entry = offer(n, provider, price);
        let resources = size(2, 2048);
        let offer = Offer { kind: Kind::Job, mediator_set: set, pledge_bps: Bps(bps), resources, ..entry.offer };
        OpenOffer { offer, ..entry }
    };
    let wanted = PendingOrder {
        order: Order { kind: Kind::Job, class: Class::Exact, mediator_set: set, ..order(100, 40).order },
        ..order(100, 40)
    };
    let mut book = Book {
        offers: vec![job(1, 11, 10, 10_000), job(2, 12, 20, 10_000)],
        orders: vec![wanted],
        accounts: accounts(&[11, 12], 1_000_000),
        ..Book::default()
    };
    assert_eq!(reason_of(&book), Reason::UnknownMediators(set));
    // Price times a hundred seconds is the pledge: the cheaper one does not pay a panel of 1001.
    book.panel_fees.insert(set, Amount(1_001));
    assert_eq!(plan(&book, &policy()).matches[0].offer, B256::repeat_byte(2));
    book.panel_fees.insert(set, Amount(2_001));
    let why = reason_of(&book).to_string();
    assert!(why.contains("does not pay for a panel"), "{why}");
    // A job that nobody checks needs neither.
    book.orders[0].order.class = Class::None;
    book.panel_fees.clear();
    assert_eq!(plan(&book, &policy()).matches[0].offer, B256::repeat_byte(1));
}

#[test]
fn a_pair_that_was_refused_leaves_both_to_others() {
    let mut book = Book {
        offers: vec![offer(1, 11, 10), offer(2, 12, 20)],
        orders: vec![order(100, 40), order(101, 40)],
        accounts: accounts(&[11, 12], 1_000_000),
        ..Book::default()
    };
    book.apart.insert((B256::repeat_byte(1), B256::repeat_byte(100)), "its window is too short".to_owned());
    let pairs: Vec<_> = plan(&book, &policy()).matches.iter().map(|m| (m.offer.0[0], m.order.0[0])).collect();
    assert_eq!(pairs, [(2, 100), (1, 101)]);
    book.apart.insert((B256::repeat_byte(2), B256::repeat_byte(100)), "its window is too short".to_owned());
    book.orders.truncate(1);
    let why = reason_of(&book).to_string();
    assert!(why.contains("refused the two a moment ago: its window is too short"), "{why}");
}

#[test]
fn an_offer_that_was_refused_is_left_alone_and_says_why() {
    let mut book = Book {
        offers: vec![offer(1, 11, 10), offer(2, 12, 20)],
        orders: vec![order(100, 40)],
        accounts: accounts(&[11, 12], 1_000_000),
        ..Book::default()
    };
    book.refused.insert(B256::repeat_byte(1), "it is cursed".to_owned());
    let found = plan(&book, &policy());
    assert_eq!(found.matches[0].offer, B256::repeat_byte(2));
    assert_eq!(found.unusable, [(B256::repeat_byte(1), Unusable::Refused("it is cursed".to_owned()))]);
    book.offers.truncate(1);
    let why = reason_of(&book).to_string();
    assert!(why.contains("refused it a moment ago: it is cursed"), "{why}");
}

#[test]
fn a_full_plan_hides_no_reason() {
    let mut poor = order(102, 40);
    poor.order.renter = account(201);
    let book = Book {
        offers: vec![offer(1, 11, 30)],
        orders: vec![order(100, 40), order(101, 20), poor, order(103, 40)],
        accounts: accounts(&[11], 1_000_000),
        ..Book::default()
    };
    let plan = plan(&book, &Policy { max_matches: 1, ..policy() });
    assert_eq!(plan.matches.len(), 1);
    let reasons: Vec<_> = plan.unfilled.into_iter().map(|unfilled| unfilled.reason).collect();
    assert!(
        matches!(reasons[..], [Reason::TooExpensive { .. }, Reason::BalanceTooLow { .. }, Reason::NextRound]),
        "{reasons:?}"
    );
}

#[test]
fn a_reason_that_only_its_balances_tell_apart_is_no_news() {
    let poor = |free: u128| {
        let accounts = accounts(&[11], free);
        reason_of(&Book { offers: vec![offer(1, 11, 30)], orders: vec![order(100, 40)], accounts, ..Book::default() })
    };
    let (some, less) = (poor(2_900), poor(2_800));
    assert_ne!(some, less);
    assert_eq!(some.clone().gist(), less.gist());
    assert_ne!(some.gist(), Reason::NextRound.gist());
    let silent = |at| Unusable::Silent { last_beat: UnixTime(at) };
    assert_eq!(silent(1).gist(), silent(2).gist());
    assert_ne!(silent(1).gist(), Unusable::Offline.gist());
}

#[test]
fn capacity_spills_over_to_the_next_price_and_then_says_full() {
    let book = Book {
        offers: vec![OpenOffer { open: 1, ..offer(1, 11, 10) }, offer(2, 12, 20)],
        orders: (100..104).map(|n| order(n, 40)).collect(),
        accounts: accounts(&[11, 12], 1_000_000),
        ..Book::default()
    };
    let plan = plan(&book, &policy());
    let taken: Vec<_> = plan.matches.iter().map(|m| m.offer.0[0]).collect();
    assert_eq!(taken, [1, 2, 2]);
    let waiting = plan.unfilled.iter().map(|u| u.reason.to_string()).collect::<Vec<_>>().join(" ");
    assert!(waiting.contains("places are taken"), "{waiting}");
}

#[test]
fn every_unfilled_order_says_which_limit() {
    let book = |offers: Vec<OpenOffer>, order: PendingOrder| Book {
        offers,
        orders: vec![order],
        accounts: accounts(&[11], 10_000),
        ..Book::default()
    };
    assert_eq!(reason_of(&book(vec![], order(1, 10))), Reason::NoOffers(Kind::Lease));

    let dear = reason_of(&book(vec![offer(1, 11, 50)], order(1, 40)));
    assert_eq!(dear, Reason::TooExpensive { max: Price(40), cheapest: Price(50), offer: B256::repeat_byte(1) });

    let mut big = order(1, 100);
    big.order.resources = size(4, 8192);
    let text = reason_of(&book(vec![offer(1, 11, 50)], big)).to_string();
    assert!(text.contains("2 vCPUs, 4 were ordered") && text.contains("2048 MiB of memory, 8192"), "{text}");

    let mut long = order(1, 40);
    long.order.duration = Seconds(300);
    let poor = reason_of(&book(
        vec![offer(1, 11, 30)],
        PendingOrder { order: Order { solver_fee: Amount(2_000), ..long.order }, ..long },
    ));
    assert_eq!(poor, Reason::BalanceTooLow { free: Amount(10_000), needed: Amount(11_000), missing: Amount(1_000) });

    let foreign = order(1, 40);
    let foreign = PendingOrder { order: Order { solver: account(98), ..foreign.order }, ..foreign };
    assert_eq!(reason_of(&book(vec![offer(1, 11, 30)], foreign)), Reason::OtherSolver(account(98)));

    let mut late = order(1, 40);
    late.order.valid_until = NOW;
    assert_eq!(reason_of(&book(vec![offer(1, 11, 30)], late)), Reason::Expired(NOW));

    let mut away = book(vec![offer(1, 11, 30)], order(1, 40));
    away.accounts
        .entry(account(11))
        .and_modify(|a| a.provider = Some(Provider { online: true, last_beat: UnixTime(NOW.0 - 590), epoch: 0 }));
    let text = reason_of(&away).to_string();
    assert!(text.contains("last gave a sign of life"), "{text}");

    let unpledged = Book { accounts: accounts(&[11], 2_000), ..book(vec![offer(1, 11, 30)], order(1, 40)) };
    let text = reason_of(&unpledged).to_string();
    assert!(text.contains("must pledge"), "{text}");
}

#[test]
fn one_order_looks_at_few_of_many_offers() {
    let offers = (0..4_000u32).map(|n| {
        let mut entry = offer((n % 250) as u8, 11, 1_000 + u128::from(n));
        entry.hash = B256::from(U256::from(n));
        // Only the dearest are large enough.
        entry.offer.resources = size(if n >= 3_900 { 64 } else { 1 + n % 8 }, 2048);
        entry
    });
    let orders = (0..200u8).map(|n| {
        let mut entry = order(n, 1_000_000);
        entry.order.resources = size(if n % 2 == 0 { 64 } else { 4 }, 1024);
        entry
    });
    let accounts = accounts(&[11], u128::MAX / 2);
    let book = Book { offers: offers.collect(), orders: orders.collect(), accounts, ..Book::default() };
    let plan = plan(&book, &Policy { max_matches: 1_000, ..policy() });
    assert_eq!((plan.matches.len(), plan.unfilled.len()), (200, 0));
    assert!(plan.looked_at < 200 * 100, "looked at {} places", plan.looked_at);
}

/// The simplest possible planner: every order looks at every offer.
fn simplest(book: &Book, policy: &Policy) -> Vec<(B256, B256)> {
    let mut orders: Vec<_> = book.orders.iter().collect();
    orders.sort_by_key(|o| (o.received, o.hash));
    let mut free: BTreeMap<Address, u128> = book.accounts.iter().map(|(a, s)| (*a, s.free.0)).collect();
    let mut open: BTreeMap<B256, u32> = book.offers.iter().map(|o| (o.hash, o.open)).collect();
    let mut pairs = vec![];
    for PendingOrder { hash, order, .. } in orders {
        if order.check().is_err() || pairs.len() >= policy.max_matches || order.valid_until.0 < NOW.0 + 15 {
            continue;
        }
        if order.solver != Address::ZERO && order.solver != policy.solver || order.solver_fee < policy.min_fee {
            continue;
        }
        let fees = book.panel_fees.get(&order.mediator_set);
        if order.class == Class::Exact && fees.is_none() {
            continue;
        }
        let pays_panel = |offer: &Offer| {
            order.class == Class::None || offer.pledge(order.duration).is_ok_and(|p| fees.is_some_and(|f| p >= *f))
        };
        let best = book
            .offers
            .iter()
            .filter(|o| book.unusable(o, policy).is_none() && open[&o.hash] < o.offer.capacity)
            .filter(|o| misfits(&o.offer, order).is_empty())
            .filter(|o| pays_panel(&o.offer) && !book.apart.contains_key(&(o.hash, *hash)))
            .filter(|o| o.offer.pledge(order.duration).is_ok_and(|p| p.0 <= free[&o.offer.provider]))
            .min_by_key(|o| (o.offer.price, o.received, o.hash));
        let Some(best) = best else { continue };
        let locked = best.offer.price.0 * u128::from(order.duration.0) + order.solver_fee.0;
        if free.get(&order.renter).is_none_or(|f| *f < locked) {
            continue;
        }
        *free.entry(order.renter).or_default() -= locked;
        *free.entry(best.offer.provider).or_default() -= best.offer.pledge(order.duration).map_or(0, |p| p.0);
        *open.entry(best.hash).or_default() += 1;
        pairs.push((best.hash, *hash));
    }
    pairs
}

/// Pledge, start, notice and least charge.
fn terms(below: u32) -> impl Strategy<Value = (u32, u32, u32, u32)> {
    (0..below, 0..below, 0..below, 0..below)
}

prop_compose! {
    fn any_offer()(n: u8, provider in 1u8..5, price in 0u128..6, vcpus in 0u32..5, memory in 1u32..5, capacity in 0u32..4,
        open in 0u32..3, span in (1u32..200, 1u32..400), traits in 0u8..3, job: bool, late in prop::bool::weighted(0.1), set in 0u64..3, terms in terms(4))
        -> OpenOffer {
        let mut entry = offer(n, provider, price);
        entry.open = open;
        let o = &mut entry.offer;
        o.kind = if job { Kind::Job } else { Kind::Lease };
        o.resources = Resources { traits: Traits(B256::repeat_byte(traits)), ..size(vcpus, memory * 1024) };
        o.capacity = capacity;
        (o.min_duration, o.max_duration) = (Seconds(span.0), Seconds(span.1));
        o.mediator_set = MediatorSetId(set);
        (o.pledge_bps.0, o.start_within.0, o.notice.0, o.min_charge.0) = (terms.0 + 1, terms.1, terms.2, terms.3);
        if late { o.valid_until = NOW }
        entry
    }
}

prop_compose! {
    fn any_order()(n: u8, renter in 200u8..203, price in 0u128..8, vcpus in 0u32..5, memory in 0u32..5, duration in 0u32..300,
        fee in 0u128..3, provider in 0u8..14, traits in 0u8..12, job: bool, exact: bool, set in 0u64..3, solver in 0u8..12, window in 0u32..800, terms in terms(8))
        -> PendingOrder {
        let mut entry = order(n, price);
        let o = &mut entry.order;
        o.renter = account(renter);
        o.kind = if job { Kind::Job } else { Kind::Lease };
        o.class = if job && exact { Class::Exact } else { Class::None };
        o.mediator_set = MediatorSetId(set);
        o.resources = Resources { traits: if traits < 3 { Traits(B256::repeat_byte(traits)) } else { Traits::NONE }, ..size(vcpus, memory * 1024) };
        o.duration = Seconds(duration);
        o.challenge_window = Seconds(window);
        (o.min_pledge_bps.0, o.min_notice.0) = (7_u32.saturating_sub(terms.0), 7_u32.saturating_sub(terms.2));
        (o.max_start_within.0, o.max_min_charge.0) = (terms.1, terms.3);
        o.solver_fee = Amount(fee);
        o.provider = if provider < 4 { account(provider) } else { Address::ZERO };
        o.solver = if solver == 0 { account(98) } else if solver == 1 { account(99) } else { Address::ZERO };
        entry
    }
}

fn any_book() -> impl Strategy<Value = Book> {
    let offers = prop::collection::vec(any_offer(), 0..24);
    let orders = prop::collection::vec(any_order(), 0..24);
    let provider = (0u128..9_000, prop::bool::weighted(0.9), 0u64..700, prop::bool::weighted(0.9));
    let providers = prop::collection::vec(prop::option::weighted(0.95, provider), 5);
    let renters = prop::collection::vec(0u128..9_000, 3);
    let apart = prop::collection::vec((0u8..24, 0u8..24), 0..40);
    let fees = prop::collection::btree_map((1u64..3).prop_map(MediatorSetId), (0u128..900).prop_map(Amount), 0..3);
    let refused = prop::collection::vec(0u8..24, 0..3);
    let parts = (offers, orders, providers, renters, (apart, refused), fees);
    parts.prop_map(|(mut offers, mut orders, providers, renters, (apart, refused), panel_fees)| {
        // Hashes are unique; several may have come at once.
        for (n, o) in offers.iter_mut().enumerate() {
            o.hash = B256::from([n as u8 ^ 0x5a; 32]);
            o.received %= 4;
        }
        for (n, o) in orders.iter_mut().enumerate() {
            o.hash = B256::from([n as u8 ^ 0xa5; 32]);
            o.received %= 4;
        }
        let mut accounts = BTreeMap::new();
        for (n, provider) in providers.into_iter().enumerate() {
            let Some((free, online, age, current)) = provider else { continue };
            let record = Provider { online, last_beat: UnixTime(NOW.0 - age), epoch: u64::from(!current) };
            accounts.insert(account(n as u8), Account { free: Amount(free), provider: Some(record) });
        }
        for (n, free) in renters.into_iter().enumerate() {
            accounts.insert(account(200 + n as u8), Account { free: Amount(free), provider: None });
        }
        let named = |(offer, order): (u8, u8)| {
            ((B256::from([offer ^ 0x5a; 32]), B256::from([order ^ 0xa5; 32])), String::new())
        };
        let refused = refused.into_iter().map(|offer| (B256::from([offer ^ 0x5a; 32]), String::new())).collect();
        Book { offers, orders, accounts, panel_fees, refused, apart: apart.into_iter().map(named).collect() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_indexed_plan_is_the_simplest_plan(book in any_book(), min_fee in 0u128..2, max_matches in 0usize..12) {
        let policy = Policy { min_fee: Amount(min_fee), max_matches, ..policy() };
        let plan = plan(&book, &policy);
        let pairs: Vec<_> = plan.matches.iter().map(|m| (m.offer, m.order)).collect();
        prop_assert_eq!(pairs, simplest(&book, &policy));
        prop_assert_eq!(plan.matches.len() + plan.unfilled.len(), book.orders.len());
        for m in &plan.matches {
            let order = &book.orders.iter().find(|o| o.hash == m.order).expect("from the book").order;
            let offer = &book.offers.iter().find(|o| o.hash == m.offer).expect("from the book").offer;
            prop_assert_eq!(m.price, offer.price);
            prop_assert!(m.price <= order.max_price);
            prop_assert_eq!(m.locked.0, m.price.0 * u128::from(order.duration.0) + order.solver_fee.0);
        }
    }

    #[test]
    fn a_reason_is_true_and_the_lists_order_does_not_matter(book in any_book()) {
        let policy = Policy { max_matches: 100, ..policy() };
        let first = plan(&book, &policy);
        let mut turned = book.clone();
        turned.offers.reverse();
        turned.orders.rotate_left(book.orders.len() / 2);
        prop_assert_eq!(&plan(&turned, &policy), &first);
        for Unfilled { order, reason } in &first.unfilled {
            let order = &book.orders.iter().find(|o| o.hash == *order).expect("from the book").order;
            match reason {
                Reason::TooExpensive { max, cheapest, .. } => prop_assert!(cheapest > max && *max == order.max_price),
                Reason::NothingFits(nearest) => prop_assert!(!nearest.obstacles.is_empty()),
                Reason::NoOffers(kind) => prop_assert!(book.offers.iter().all(|o| o.offer.kind != *kind)),
                Reason::BalanceTooLow { free, needed, missing } => prop_assert_eq!(free.0 + missing.0, needed.0),
                Reason::Invalid(_) => prop_assert!(order.check().is_err()),
                Reason::FeeTooLow { .. } | Reason::NextRound => prop_assert!(false, "the policy asks for nothing"),
                Reason::OtherSolver(solver) => prop_assert_ne!(*solver, policy.solver),
                Reason::UnknownMediators(set) => prop_assert!(!book.panel_fees.contains_key(set)),
                Reason::Expired(_) => {}
            }
        }
    }
}
