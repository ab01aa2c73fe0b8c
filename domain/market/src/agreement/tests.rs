//! Properties of both machines under any sequence of calls: no money appears or vanishes, nothing is paid twice or
//! early, the end is the end, and a denied call changes nothing.

use proptest::prelude::*;
use sublet_base::{Amount, B256, Bps, Price, Seconds, U256, UnixTime};

use super::*;
use crate::{Class, Verdict};

const START: u64 = 1_000_000;

fn wide(amount: Amount) -> U256 {
    U256::from(amount.0)
}

/// What effects moved into and out of the agreement.
fn moved(effects: &[Effect]) -> (U256, U256) {
    effects.iter().fold((U256::ZERO, U256::ZERO), |(into, out), effect| match effect {
        Effect::Lock { amount, .. } => (into + wide(*amount), out),
        Effect::Pay { amount, .. } => (into, out + wide(*amount)),
        Effect::Beat => (into, out),
    })
}

fn paid_to(effects: &[Effect], party: Party, from: Pot) -> u128 {
    effects
        .iter()
        .map(|e| match e {
            Effect::Pay { pot, to, amount } if *to == party && *pot == from => amount.0,
            Effect::Pay { .. } | Effect::Lock { .. } | Effect::Beat => 0,
        })
        .sum()
}

fn callers() -> impl Strategy<Value = Caller> {
    prop_oneof![Just(Caller::Renter), Just(Caller::Provider), Just(Caller::Stranger), Just(Caller::Court)]
}

/// What the provider declared, once it has.
fn declared(job: &Job) -> Option<Amount> {
    match job.state() {
        JobState::Submitted { declared, .. } | JobState::Disputed { declared, .. } => Some(declared),
        JobState::Open { .. } | JobState::Ended(_) => None,
    }
}

fn prices() -> impl Strategy<Value = Price> {
    prop_oneof![1 => Just(1), 4 => 1u128..1_000_000, 1 => Just(crate::MAX_STORED)].prop_map(Price)
}

fn lease_terms() -> impl Strategy<Value = LeaseTerms> {
    (prices(), 1u32..20_001, 1u32..5_000, 0u32..5_000, 0u32..700, 0u32..700, 0u32..700, 0u128..1_000).prop_map(
        |(price, bps, duration, more, start, notice, least, fee)| LeaseTerms {
            price,
            // A pledge above 1:1 at the highest price would not fit a balance; the contract refuses to open it.
            pledge_bps: Bps(if price.0 == crate::MAX_STORED { bps.min(10_000) } else { bps }),
            duration: Seconds(duration),
            max_duration: Seconds(duration + more),
            start_within: Seconds(start),
            notice: Seconds(notice),
            min_charge: Seconds(least),
            solver_fee: Amount(fee),
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Call(LeaseCall, Caller),
    Beat,
    Wait(u64),
}

fn lease_steps() -> impl Strategy<Value = Vec<Step>> {
    let calls = prop_oneof![
        3 => Just(LeaseCall::Start),
        1 => Just(LeaseCall::Reject),
        1 => Just(LeaseCall::Cancel),
        1 => Just(LeaseCall::Expire),
        4 => Just(LeaseCall::Settle),
        3 => (0u32..3_000).prop_map(|s| LeaseCall::TopUp(Seconds(s))),
        1 => Just(LeaseCall::GiveNotice),
        1 => prop_oneof![0u128..1_000, any::<u128>()].prop_map(|most| LeaseCall::Close { max_penalty: Amount(most) }),
        1 => Just(LeaseCall::Fault),
    ];
    let step = prop_oneof![
        4 => (calls, callers()).prop_map(|(call, caller)| Step::Call(call, caller)),
        3 => Just(Step::Beat),
        4 => prop_oneof![0u64..20, 0u64..800, 0u64..8_000].prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_lease_conserves_money_and_never_bills_more_than_uptime(terms in lease_terms(), steps in lease_steps()) {
        let rules = Rules::default();
        let mut now = UnixTime(START);
        let mut uptime = Uptime { credited: 77, last_beat: now };
        let mut lease = Lease::open(terms, rules, now).expect("terms are in range");
        let mut locked = lease.held().total();
        let mut out = U256::ZERO;
        let mut rent = 0u128;
        let mut started: Option<u64> = None;
        for step in steps {
            match step {
                Step::Wait(seconds) => now = UnixTime(now.0 + seconds),
                Step::Beat => uptime = uptime.beat(now, &rules),
                Step::Call(call, caller) => {
                    let before = lease.clone();
                    match lease.apply(call, caller, Moment { now, uptime }) {
                        Err(_) => prop_assert_eq!(&lease, &before, "a denied {:?} changed the lease", call),
                        Ok(effects) => {
                            prop_assert!(!matches!(before.state(), LeaseState::Ended(_)), "{:?} after the end", call);
                            let (more, less) = moved(&effects);
                            locked += more;
                            out += less;
                            let earned = paid_to(&effects, Party::Provider, Pot::Escrow);
                            rent += earned;
                            if effects.contains(&Effect::Beat) {
                                uptime = uptime.beat(now, &rules);
                                started = Some(uptime.credited);
                            }
                            if let Some(since) = started {
                                let least = u128::from(terms.min_charge.0);
                                let elapsed = u128::from(uptime.at(now, &rules) - since);
                                prop_assert!(rent <= terms.price.0 * elapsed.max(least), "billed more than was up");
                            }
                            let slashed = paid_to(&effects, Party::Renter, Pot::Pledge) + paid_to(&effects, Party::Caller, Pot::Pledge);
                            prop_assert!(slashed <= before.held().pledge.0);
                            if let LeaseCall::Close { max_penalty } = call {
                                prop_assert!(slashed <= max_penalty.0, "closed at a higher penalty than was said");
                            }
                            if let LeaseCall::TopUp(_) = call {
                                let silent = now.since(uptime.last_beat);
                                prop_assert!(silent <= u64::from(rules.max_gap.0), "topped up in {} s of silence", silent);
                            }
                        }
                    }
                    prop_assert_eq!(locked, out + lease.held().total(), "money appeared or vanished at {:?}", call);
                }
            }
            if let LeaseState::Ended(_) = lease.state() {
                prop_assert_eq!(lease.held(), &Held::default());
            }
            if let LeaseState::Active { paid, bought, .. } = lease.state() {
                prop_assert_eq!(lease.held().escrow.0, terms.price.0 * u128::from(bought - paid));
                prop_assert!(bought <= u64::from(terms.max_duration.0));
            }
        }
    }

    #[test]
    fn either_side_of_a_lease_gets_out_alone(terms in lease_terms(), steps in lease_steps(), renter: bool) {
        let rules = Rules::default();
        let mut now = UnixTime(START);
        let mut uptime = Uptime { credited: 0, last_beat: now };
        let mut lease = Lease::open(terms, rules, now).expect("terms are in range");
        for step in steps {
            match step {
                Step::Wait(seconds) => now = UnixTime(now.0 + seconds),
                Step::Beat => uptime = uptime.beat(now, &rules),
                Step::Call(call, caller) => {
                    let _ = lease.apply(call, caller, Moment { now, uptime });
                }
            }
        }
        let me = if renter { Caller::Renter } else { Caller::Provider };
        let exit = match lease.state() {
            LeaseState::Open { start_by } => {
                now = UnixTime(now.0.max(start_by.0 + 1));
                LeaseCall::Expire
            }
            LeaseState::Active { .. } | LeaseState::Ended(_) => CLOSE,
        };
        let over = matches!(lease.state(), LeaseState::Ended(_));
        prop_assert_eq!(lease.apply(exit, me, Moment { now, uptime }).is_ok(), !over);
        prop_assert!(matches!(lease.state(), LeaseState::Ended(_)));
    }

    #[test]
    fn a_job_conserves_money_and_never_costs_more_than_its_escrow(
        (price, bps, duration, start, window) in (prices(), 1u32..=10_000, 1u32..1_000, 0u32..1_000, 0u32..1_000),
        exact: bool,
        fee in 0u128..1_000,
        steps in prop::collection::vec((job_calls(), callers(), 0u64..900), 0..20),
    ) {
        let terms = JobTerms {
            price,
            pledge_bps: Bps(bps),
            duration: Seconds(duration),
            start_within: Seconds(start),
            challenge_window: Seconds(window),
            class: if exact { Class::Exact } else { Class::None },
            solver_fee: Amount(fee),
        };
        let mut now = UnixTime(START);
        let mut job = Job::open(terms, now).expect("terms are in range");
        let locked = job.held().total();
        let escrow = job.held().escrow;
        let mut out = U256::ZERO;
        for (call, caller, wait) in steps {
            now = UnixTime(now.0 + wait);
            let before = job.clone();
            let uptime = Uptime { credited: 0, last_beat: now };
            match job.apply(call, caller, Moment { now, uptime }) {
                Err(_) => prop_assert_eq!(&job, &before),
                Ok(effects) => {
                    prop_assert!(!matches!(before.state(), JobState::Ended(_)), "{:?} after the end", call);
                    let cost = Amount(paid_to(&effects, Party::Provider, Pot::Escrow));
                    prop_assert!(cost <= escrow);
                    if let JobState::Submitted { declared, .. } = job.state() {
                        let elapsed = u128::from(now.0 - START);
                        prop_assert!(declared.0 <= price.0.saturating_mul(elapsed), "more time declared than passed");
                    }
                    if let (Some(declared), JobState::Ended(end)) = (declared(&before), job.state()) {
                        let least = match end {
                            JobEnd::Refused | JobEnd::Inconclusive => Amount(declared.0 / 2),
                            JobEnd::Overturned => Amount::ZERO,
                            JobEnd::Settled if caller == Caller::Provider => Amount::ZERO,
                            JobEnd::Settled | JobEnd::Accepted | JobEnd::Finalized | JobEnd::Upheld => declared,
                            JobEnd::Rejected | JobEnd::Expired => Amount(u128::MAX),
                        };
                        prop_assert!(cost >= least, "{:?} by {:?} paid less than declared", call, caller);
                    }
                    let disputed = matches!(before.state(), JobState::Disputed { .. });
                    prop_assert!(!disputed || caller == Caller::Court, "{:?} by {:?} of a disputed job", call, caller);
                    out += moved(&effects).1;
                }
            }
            prop_assert_eq!(locked, out + job.held().total());
            if let JobState::Ended(_) = job.state() {
                prop_assert_eq!(job.held(), &Held::default());
            }
        }
    }
}

fn job_calls() -> impl Strategy<Value = JobCall> {
    let results = prop_oneof![1 => Just(B256::ZERO), 6 => Just(B256::repeat_byte(1)), 1 => Just(B256::repeat_byte(2))];
    prop_oneof![
        1 => Just(JobCall::Reject),
        4 => (results.clone(), 0u32..2_000).prop_map(|(result, used)| JobCall::Submit { result, used: Seconds(used) }),
        2 => (results, prop_oneof![0u128..1_000, any::<u128>()])
            .prop_map(|(result, cost)| JobCall::Settle { result, cost: Amount(cost) }),
        1 => Just(JobCall::Accept),
        1 => Just(JobCall::Finalize),
        1 => Just(JobCall::Expire),
        1 => Just(JobCall::Refuse),
        2 => Just(JobCall::Dispute),
        2 => prop_oneof![Just(Verdict::Upheld), Just(Verdict::Overturned), Just(Verdict::Inconclusive)]
            .prop_map(JobCall::Rule),
    ]
}

fn terms() -> LeaseTerms {
    LeaseTerms {
        price: Price(10),
        pledge_bps: Bps(10_000),
        duration: Seconds(100),
        max_duration: Seconds(1_000),
        start_within: Seconds(60),
        notice: Seconds(50),
        min_charge: Seconds(5),
        solver_fee: Amount(7),
    }
}

/// At any price.
const CLOSE: LeaseCall = LeaseCall::Close { max_penalty: Amount(u128::MAX) };

fn at(now: u64) -> Moment {
    Moment { now: UnixTime(now), uptime: Uptime { credited: now, last_beat: UnixTime(now) } }
}

fn pay(pot: Pot, to: Party, amount: u128) -> Effect {
    Effect::Pay { pot, to, amount: Amount(amount) }
}

#[test]
fn a_lease_is_started_used_and_closed() {
    let mut lease = Lease::open(terms(), Rules::default(), UnixTime(1_000)).expect("opens");
    let started = lease.apply(LeaseCall::Start, Caller::Provider, at(1_060)).expect("starts");
    assert_eq!(started, [Effect::Beat, pay(Pot::Fee, Party::Solver, 7)]);
    let settled = lease.apply(LeaseCall::Settle, Caller::Stranger, at(1_070)).expect("settles");
    assert_eq!(settled, [pay(Pot::Escrow, Party::Provider, 100)]);
    // Run out for 20 s, then topped up: the gap is not billed.
    let topped = lease.apply(LeaseCall::TopUp(Seconds(10)), Caller::Renter, at(1_180)).expect("tops up");
    let lock = |from, pot| Effect::Lock { from, pot, amount: Amount(100) };
    assert_eq!(
        topped,
        [pay(Pot::Escrow, Party::Provider, 900), lock(Party::Caller, Pot::Escrow), lock(Party::Provider, Pot::Pledge)]
    );
    let close = LeaseCall::Close { max_penalty: Amount::ZERO };
    let closed = lease.apply(close, Caller::Renter, at(1_184)).expect("closes");
    assert_eq!(
        closed,
        [
            pay(Pot::Escrow, Party::Provider, 40),
            pay(Pot::Escrow, Party::Renter, 60),
            pay(Pot::Pledge, Party::Provider, 1_100)
        ]
    );
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::ClosedByRenter));
}

#[test]
fn a_provider_that_leaves_without_notice_pays_for_it() {
    let open = || {
        let mut lease = Lease::open(terms(), Rules::default(), UnixTime(0)).expect("opens");
        lease.apply(LeaseCall::Start, Caller::Provider, at(0)).expect("starts");
        lease
    };
    let mut abrupt = open();
    let cheap = abrupt.apply(LeaseCall::Close { max_penalty: Amount(499) }, Caller::Provider, at(1));
    assert_eq!(cheap, Err(Denied::PenaltyTooHigh { penalty: Amount(500), most: Amount(499) }));
    let dear = LeaseCall::Close { max_penalty: Amount(500) };
    let effects = abrupt.apply(dear, Caller::Provider, at(1)).expect("closes");
    assert_eq!(paid_to(&effects, Party::Renter, Pot::Pledge), 500);
    let mut fair = open();
    fair.apply(LeaseCall::GiveNotice, Caller::Provider, at(1)).expect("gives notice");
    assert!(matches!(fair.apply(LeaseCall::GiveNotice, Caller::Provider, at(2)), Err(Denied::AlreadyNoticed(_))));
    let free = LeaseCall::Close { max_penalty: Amount::ZERO };
    let effects = fair.apply(free, Caller::Provider, at(51)).expect("closes");
    assert_eq!(paid_to(&effects, Party::Renter, Pot::Pledge), 0);
}

#[test]
fn silence_is_faulted_by_anyone_only_after_the_limit() {
    let mut lease = Lease::open(terms(), Rules::default(), UnixTime(0)).expect("opens");
    lease.apply(LeaseCall::Start, Caller::Provider, at(0)).expect("starts");
    let uptime = Uptime { credited: 30, last_beat: UnixTime(30) };
    let moment = |now| Moment { now: UnixTime(now), uptime };
    assert_eq!(lease.apply(LeaseCall::Fault, Caller::Stranger, moment(3_630)), Err(Denied::TooEarly(UnixTime(3_631))));
    let effects = lease.apply(LeaseCall::Fault, Caller::Stranger, moment(3_631)).expect("faults");
    assert_eq!(
        effects,
        [
            pay(Pot::Escrow, Party::Provider, 300),
            pay(Pot::Pledge, Party::Caller, 7),
            pay(Pot::Pledge, Party::Renter, 693),
            pay(Pot::Escrow, Party::Renter, 700),
            pay(Pot::Pledge, Party::Provider, 300),
        ]
    );
}

#[test]
fn a_lease_that_ran_out_is_closed_for_nothing_until_it_is_topped_up() {
    let mut lease = Lease::open(terms(), Rules::default(), UnixTime(0)).expect("opens");
    lease.apply(LeaseCall::Start, Caller::Provider, at(0)).expect("starts");
    let free = LeaseCall::Close { max_penalty: Amount::ZERO };
    let mut topped = lease.clone();
    topped.apply(LeaseCall::TopUp(Seconds(10)), Caller::Renter, at(100)).expect("tops up");
    let denied = Denied::PenaltyTooHigh { penalty: Amount(500), most: Amount::ZERO };
    assert_eq!(topped.apply(free, Caller::Provider, at(101)), Err(denied));
    lease.apply(free, Caller::Provider, at(101)).expect("closes");
    assert_eq!(lease.state(), LeaseState::Ended(LeaseEnd::RanOut));
}

#[test]
fn nobody_pays_a_silent_provider_more() {
    let mut lease = Lease::open(terms(), Rules::default(), UnixTime(0)).expect("opens");
    lease.apply(LeaseCall::Start, Caller::Provider, at(0)).expect("starts");
    let uptime = Uptime { credited: 30, last_beat: UnixTime(30) };
    let moment = |now| Moment { now: UnixTime(now), uptime };
    let top_up = LeaseCall::TopUp(Seconds(10));
    assert_eq!(lease.apply(top_up, Caller::Renter, moment(631)), Err(Denied::Stale(UnixTime(30))));
    lease.apply(top_up, Caller::Renter, moment(630)).expect("tops up");
}

#[test]
fn a_job_declares_no_more_time_than_has_passed() {
    let terms = JobTerms {
        price: Price(3),
        pledge_bps: Bps(10_000),
        duration: Seconds(1_000),
        start_within: Seconds(60),
        challenge_window: Seconds(60),
        class: Class::None,
        solver_fee: Amount(0),
    };
    for (used, passed, counted) in [(1_000, 7, 7), (7, 1_000, 7), (1_000, 0, 0), (2_000, 1_060, 1_000)] {
        let mut job = Job::open(terms, UnixTime(500)).expect("opens");
        let submit = JobCall::Submit { result: B256::repeat_byte(1), used: Seconds(used) };
        job.apply(submit, Caller::Provider, at(500 + passed)).expect("submits");
        assert_eq!(declared(&job), Some(Amount(3 * counted)), "{used} s said after {passed} s");
    }
}
