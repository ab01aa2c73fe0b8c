//! Disputes from end to end: who may be drawn, when, who pays whom to the last unit, and that nothing else can happen.

use proptest::prelude::*;
use sublet_base::{Address, Amount, B256, Bps, JobId, Price, Seconds, U256, UnixTime};

use super::*;
use crate::{Class, MediatorSetId, Verdict, sums};

const RESULT: B256 = B256::repeat_byte(5);
const OTHER: B256 = B256::repeat_byte(6);
const SEED: B256 = B256::repeat_byte(0x5e);
const SET: MediatorSetId = MediatorSetId(4);
const FEE: Amount = Amount(7);
const BOND: Amount = Amount(20);
const RENTER: Address = Address::repeat_byte(0xa1);
const PROVIDER: Address = Address::repeat_byte(0xa2);
const RULES: CourtRules =
    CourtRules { commit_slack: Seconds(100), reveal_window: Seconds(50), unbonding: Seconds(1_000) };

fn mediator(number: u8) -> Address {
    Address::repeat_byte(number)
}

fn hearing(panel_size: u8) -> Hearing {
    Hearing {
        job: JobId(9),
        renter: RENTER,
        provider: PROVIDER,
        set: SET,
        panel_size,
        fee: FEE,
        result: RESULT,
        duration: Seconds(30),
    }
}

/// They are listed in the set, registered, and serve it.
fn bench(members: &[Address]) -> Bench {
    let mut bench = Bench::default();
    bench.create_set(SET, members);
    for member in members {
        assert_eq!(bench.apply(BenchCall::Join(SET), *member, UnixTime(0), &RULES), Ok(None));
        let posted = bench.apply(BenchCall::Register { bond: BOND }, *member, UnixTime(0), &RULES);
        assert_eq!(posted, Ok(Some(BondEffect::Posted(BOND))));
    }
    bench
}

fn at(now: u64, block: u64) -> CourtMoment {
    CourtMoment { now: UnixTime(now), block }
}

/// A dispute of three seats, drawn at time 1000 in block 13.
fn drawn() -> (Dispute, Bench, Vec<Address>) {
    let members: Vec<_> = (1..=3).map(mediator).collect();
    let mut bench = bench(&members);
    let (mut dispute, locked) = Dispute::raise(hearing(3), RULES, 10, &bench).expect("raises");
    assert_eq!(locked, [flow(Purse::Renter, Purse::Fees, 21)]);
    let drawn = dispute.apply(DisputeCall::Draw { seed: SEED }, RENTER, at(1_000, 13), &mut bench);
    assert_eq!(drawn, Ok(vec![]));
    let DisputeState::Voting { panel, commit_by, reveal_by } = dispute.state().clone() else { panic!("not drawn") };
    assert_eq!((commit_by, reveal_by), (UnixTime(1_130), UnixTime(1_180)));
    let panel = panel.into_iter().map(|seat| seat.0).collect();
    (dispute, bench, panel)
}

fn flow(from: Purse, to: Purse, amount: u128) -> CourtEffect {
    CourtEffect::Move { from, to, amount: Amount(amount) }
}

/// What a mediator commits and reveals, or `None` for silence.
type Votes = [Option<B256>; 3];

/// Has the whole panel vote, and resolves.
fn decide(votes: Votes) -> (Vec<CourtEffect>, Bench, Vec<Address>) {
    let (mut dispute, mut bench, panel) = drawn();
    let salt = B256::repeat_byte(1);
    for (mediator, vote) in panel.iter().zip(votes) {
        if let Some(result) = vote {
            let call = DisputeCall::Commit(commitment(JobId(9), *mediator, result, salt));
            assert_eq!(dispute.apply(call, *mediator, at(1_010, 14), &mut bench), Ok(vec![]));
        }
    }
    for (mediator, vote) in panel.iter().zip(votes) {
        if let Some(result) = vote {
            let now = if votes.iter().all(Option::is_some) { 1_010 } else { 1_131 };
            let call = DisputeCall::Reveal { result, salt };
            assert_eq!(dispute.apply(call, *mediator, at(now, 14), &mut bench), Ok(vec![]));
        }
    }
    let effects = dispute.apply(DisputeCall::Resolve, RENTER, at(1_131, 15), &mut bench).expect("is over");
    assert_eq!(dispute.fees(), Amount::ZERO);
    for call in [DisputeCall::Resolve, DisputeCall::Draw { seed: SEED }, DisputeCall::Commit(SEED)] {
        assert_eq!(dispute.apply(call, RENTER, at(9_999, 99), &mut bench), Err(Denied::State("resolved")));
    }
    (effects, bench, panel)
}

#[test]
fn every_verdict_pays_whom_it_should() {
    let zero = Some(B256::ZERO);
    let (right, wrong, none) = (Some(RESULT), Some(OTHER), None);
    // Votes, verdict, who is paid a fee, and what of the renter's fees goes back.
    let table: [(Votes, Verdict, [bool; 3], u128); 9] = [
        ([right, right, right], Verdict::Upheld, [true, true, true], 0),
        ([right, wrong, right], Verdict::Upheld, [true, false, true], 7),
        ([right, none, right], Verdict::Upheld, [true, false, true], 7),
        ([wrong, wrong, right], Verdict::Overturned, [true, true, false], 7),
        ([zero, right, zero], Verdict::Overturned, [true, false, true], 7),
        ([right, wrong, zero], Verdict::Inconclusive, [true, true, true], 0),
        ([right, none, none], Verdict::Inconclusive, [true, false, false], 14),
        ([right, wrong, none], Verdict::Inconclusive, [true, true, false], 7),
        ([none, none, none], Verdict::Inconclusive, [false, false, false], 21),
    ];
    for (votes, verdict, paid, back) in table {
        let (effects, bench, panel) = decide(votes);
        let mut expected = Vec::new();
        for ((mediator, vote), paid) in panel.iter().zip(votes).zip(paid) {
            match vote {
                Some(_) if paid => expected.push(flow(Purse::Fees, Purse::Mediator(*mediator), 7)),
                Some(_) => {}
                None => {
                    expected.push(flow(Purse::Bond(*mediator), Purse::Renter, 4));
                    expected.push(flow(Purse::Bond(*mediator), Purse::Provider, 3));
                }
            }
            let left = if vote.is_some() { BOND } else { Amount(13) };
            assert_eq!(bench.bond(*mediator), Bond { amount: left, ..Bond::default() }, "{votes:?}");
        }
        if back > 0 {
            expected.push(flow(Purse::Fees, Purse::Renter, back));
        }
        expected.push(CourtEffect::Rule(verdict));
        assert_eq!(effects, expected, "{votes:?}");
    }
}

#[test]
fn the_court_ends_the_job_and_nobody_else_does() {
    let terms = JobTerms {
        price: Price(2),
        pledge_bps: Bps(10_000),
        duration: Seconds(50),
        start_within: Seconds(10),
        challenge_window: Seconds(60),
        class: Class::Exact,
        solver_fee: Amount(3),
    };
    let uptime = Uptime { credited: 0, last_beat: UnixTime(0) };
    let at = |now| Moment { now: UnixTime(now), uptime };
    let pay = |pot, to, amount| Effect::Pay { pot, to, amount: Amount(amount) };
    let disputed = || {
        let mut job = Job::open(terms, UnixTime(0)).expect("opens");
        let submit = JobCall::Submit { result: RESULT, used: Seconds(25) };
        assert_eq!(job.apply(submit, Caller::Provider, at(25)), Ok(vec![]));
        assert_eq!(job.apply(JobCall::Refuse, Caller::Renter, at(26)), Err(Denied::NotRefusable));
        assert_eq!(job.apply(JobCall::Dispute, Caller::Provider, at(26)), Err(Denied::Caller(Caller::Provider)));
        assert_eq!(job.apply(JobCall::Dispute, Caller::Renter, at(86)), Err(Denied::TooLate(UnixTime(85))));
        assert_eq!(job.apply(JobCall::Dispute, Caller::Renter, at(85)), Ok(vec![]));
        assert_eq!(job.state(), JobState::Disputed { result: RESULT, declared: Amount(50) });
        job
    };
    let mut job = disputed();
    for call in [JobCall::Accept, JobCall::Finalize, JobCall::Dispute, JobCall::Expire] {
        assert_eq!(job.apply(call, Caller::Renter, at(999)), Err(Denied::State("disputed")));
    }
    for caller in [Caller::Renter, Caller::Provider, Caller::Stranger] {
        let rule = JobCall::Rule(Verdict::Overturned);
        assert_eq!(job.apply(rule, caller, at(999)), Err(Denied::Caller(caller)));
    }
    let (pots, parties) = ([Pot::Escrow, Pot::Fee, Pot::Pledge], [Party::Provider, Party::Renter, Party::Solver]);
    let ([escrow, fee, pledge], [provider, renter, solver]) = (pots, parties);
    let table = [
        (
            Verdict::Upheld,
            JobEnd::Upheld,
            vec![pay(escrow, provider, 50), pay(escrow, renter, 50), pay(fee, solver, 3), pay(pledge, provider, 100)],
        ),
        (
            Verdict::Overturned,
            JobEnd::Overturned,
            vec![pay(pledge, renter, 100), pay(escrow, renter, 100), pay(fee, renter, 3)],
        ),
        (
            Verdict::Inconclusive,
            JobEnd::Inconclusive,
            vec![pay(escrow, provider, 25), pay(escrow, renter, 75), pay(fee, renter, 3), pay(pledge, provider, 100)],
        ),
    ];
    for (verdict, end, effects) in table {
        let mut job = disputed();
        assert_eq!(job.apply(JobCall::Rule(verdict), Caller::Court, at(999)), Ok(effects));
        assert_eq!((job.state(), *job.held()), (JobState::Ended(end), Held::default()));
    }
    let mut unchecked = Job::open(JobTerms { class: Class::None, ..terms }, UnixTime(0)).expect("opens");
    let submit = JobCall::Submit { result: RESULT, used: Seconds(25) };
    unchecked.apply(submit, Caller::Provider, at(5)).expect("submits");
    assert_eq!(unchecked.apply(JobCall::Dispute, Caller::Renter, at(6)), Err(Denied::NotDisputable));
}

#[test]
fn the_electorate_is_fixed_when_the_dispute_is_armed() {
    let members = [mediator(1), mediator(2), mediator(3), mediator(4), mediator(5), RENTER, PROVIDER];
    let mut bench = bench(&members);
    let mut apply = |call, who, now| bench.apply(call, who, UnixTime(now), &RULES);
    apply(BenchCall::Retire, mediator(1), 5).expect("retires");
    apply(BenchCall::Leave(SET), mediator(5), 5).expect("leaves");
    let (dispute, _) = Dispute::raise(hearing(3), RULES, 10, &bench).expect("raises");
    let electorate = |dispute: &Dispute| match dispute.state() {
        DisputeState::Armed { electorate, .. } => electorate.clone(),
        state => panic!("{state:?}"),
    };
    assert_eq!(electorate(&dispute), [2, 3, 4].map(mediator), "no party, nobody retired, nobody who left");

    // Who leaves afterwards is drawn all the same; who comes is not.
    let mut apply = |call, who, now| bench.apply(call, who, UnixTime(now), &RULES);
    apply(BenchCall::Retire, mediator(4), 6).expect("retires");
    apply(BenchCall::Leave(SET), mediator(3), 6).expect("leaves");
    apply(BenchCall::Register { bond: Amount::ZERO }, mediator(1), 6).expect("comes back");
    apply(BenchCall::Join(SET), mediator(5), 6).expect("comes back");
    let mut normal = dispute.clone();
    normal.apply(DisputeCall::Draw { seed: SEED }, RENTER, at(7, 13), &mut bench.clone()).expect("draws");
    let DisputeState::Voting { panel, .. } = normal.state() else { panic!("not drawn") };
    assert!([3, 4].iter().all(|who| panel.iter().any(|seat| seat.0 == mediator(*who))), "{panel:?}");

    // The deciding block's hash is known from B + 3 to B + 258; later it is armed with whoever serves then.
    let mut late = dispute.clone();
    let draw = DisputeCall::Draw { seed: SEED };
    assert_eq!(late.seed_block(), Some(12));
    assert_eq!(late.apply(draw, RENTER, at(7, 12), &mut bench), Err(Denied::TooEarlyBlock(13)));
    assert_eq!(late.apply(DisputeCall::Resolve, RENTER, at(7, 13), &mut bench), Err(Denied::State("armed")));
    assert_eq!(late.apply(draw, RENTER, at(8, 269), &mut bench), Ok(vec![]));
    assert_eq!((late.seed_block(), electorate(&late)), (Some(271), [1, 2, 5].map(mediator).to_vec()));
    assert_eq!(late.apply(draw, RENTER, at(8, 271), &mut bench), Err(Denied::TooEarlyBlock(272)));
    let mut last = dispute;
    last.apply(draw, RENTER, at(8, 268), &mut bench).expect("draws in the last block");
    assert!(matches!(last.state(), DisputeState::Voting { .. }));
}

#[test]
fn nobody_serves_because_others_list_it() {
    let mut bench = bench(&[mediator(1)]);
    bench.create_set(MediatorSetId(5), &[mediator(1), mediator(2)]);
    let mut apply = |call, who| bench.apply(call, mediator(who), UnixTime(1), &RULES);
    assert_eq!(apply(BenchCall::Join(SET), 2), Err(Denied::NotListed));
    assert_eq!(apply(BenchCall::Leave(SET), 2), Err(Denied::NotListed));
    assert_eq!(apply(BenchCall::Join(MediatorSetId(6)), 1), Err(Denied::NotListed), "there is no such set");
    for _ in 0..2 {
        assert_eq!(apply(BenchCall::Join(MediatorSetId(5)), 2), Ok(None));
    }
    let serving = |bench: &Bench, set| bench.joined(MediatorSetId(set)).collect::<Vec<_>>();
    assert_eq!(serving(&bench, 4), [mediator(1)]);
    assert_eq!(serving(&bench, 5), [mediator(2)]);
    assert!(serving(&bench, 6).is_empty());
}

#[test]
fn too_few_for_a_majority_is_inconclusive_and_a_majority_is_enough() {
    let members: Vec<_> = (1..=5).map(mediator).collect();
    for (serving, drawn) in [(0, None), (2, None), (3, Some(3)), (4, Some(4)), (5, Some(5))] {
        let mut bench = bench(&members[..serving]);
        let (mut dispute, _) = Dispute::raise(hearing(5), RULES, 10, &bench).expect("raises");
        let draw = DisputeCall::Draw { seed: SEED };
        let effects = dispute.apply(draw, RENTER, at(20, 13), &mut bench).expect("draws");
        match drawn {
            None => {
                let back = flow(Purse::Fees, Purse::Renter, 35);
                assert_eq!(effects, [back, CourtEffect::Rule(Verdict::Inconclusive)]);
                assert_eq!(dispute.state(), &DisputeState::Resolved(Verdict::Inconclusive));
            }
            Some(seats) => {
                let DisputeState::Voting { panel, .. } = dispute.state() else { panic!("not drawn") };
                let mut names: Vec<_> = panel.iter().map(|seat| seat.0).collect();
                names.sort_unstable();
                assert_eq!(names, members[..serving], "{seats} different seats");
                assert!(members[..serving].iter().all(|m| bench.bond(*m).at_stake == FEE));
            }
        }
    }
}

#[test]
fn each_stage_has_its_own_clock() {
    let (dispute, bench, panel) = drawn();
    let [first, second, third] = panel[..] else { panic!("three seats") };
    let salt = B256::repeat_byte(1);
    let vote = |who| DisputeCall::Commit(commitment(JobId(9), who, RESULT, salt));
    let reveal = DisputeCall::Reveal { result: RESULT, salt };
    let with = |calls: &[(Address, DisputeCall, u64)]| {
        let (mut dispute, mut bench) = (dispute.clone(), bench.clone());
        let mut last = Ok(vec![]);
        for (who, call, now) in calls {
            last = dispute.apply(*call, *who, at(*now, 20), &mut bench);
        }
        last
    };
    let commit_over = Err(Denied::State("past the commit window"));
    let not_yet = Err(Denied::State("not in the reveal window"));
    assert_eq!(with(&[(first, vote(first), 1_130)]), Ok(vec![]), "the last second");
    assert_eq!(with(&[(first, vote(first), 1_131)]), commit_over);
    assert_eq!(with(&[(first, vote(first), 1_001), (first, vote(first), 1_002)]), Err(Denied::VoteStage));
    assert_eq!(with(&[(RENTER, vote(first), 1_001)]), Err(Denied::NotSeated));
    assert_eq!(with(&[(first, vote(first), 1_001), (first, reveal, 1_002)]), not_yet);
    assert_eq!(with(&[(first, vote(first), 1_001), (first, reveal, 1_131)]), Ok(vec![]));
    assert_eq!(with(&[(first, vote(first), 1_001), (first, reveal, 1_180)]), Ok(vec![]), "the last second");
    assert_eq!(with(&[(first, vote(first), 1_001), (first, reveal, 1_181)]), not_yet);
    assert_eq!(with(&[(first, vote(first), 1_001), (second, reveal, 1_131)]), Err(Denied::VoteStage));
    let stolen = [(first, vote(first), 1_001), (second, vote(first), 1_002), (second, reveal, 1_131)];
    assert_eq!(with(&stolen), Err(Denied::OtherVote), "a vote repeated from somebody else's commitment");

    let resolve = |now| (RENTER, DisputeCall::Resolve, now);
    assert_eq!(with(&[resolve(1_130)]), Err(Denied::State("in the commit window")));
    assert!(with(&[resolve(1_131)]).is_ok(), "nobody committed, so nobody can reveal");
    assert_eq!(with(&[(first, vote(first), 1_001), resolve(1_180)]), Err(Denied::State("in the reveal window")));
    assert!(with(&[(first, vote(first), 1_001), resolve(1_181)]).is_ok());
    assert!(with(&[(first, vote(first), 1_001), (first, reveal, 1_131), resolve(1_131)]).is_ok());
    // All have committed: the reveal window starts then, and is as long as ever.
    let all = [(first, vote(first), 1_001), (second, vote(second), 1_002), (third, vote(third), 1_010)];
    let then = |last| with(&[all[0], all[1], all[2], last]);
    assert_eq!(then((first, reveal, 1_060)), Ok(vec![]), "the last second");
    assert_eq!(then((first, reveal, 1_061)), not_yet);
    assert_eq!(then(resolve(1_060)), Err(Denied::State("in the reveal window")));
    assert!(then(resolve(1_061)).is_ok());
}

#[test]
fn a_bond_comes_back_late_and_only_when_nothing_is_at_stake() {
    let (mut dispute, mut bench, panel) = drawn();
    let who = panel[0];
    let mut bonds = bench.clone();
    let mut apply = |call, who, now| bonds.apply(call, who, UnixTime(now), &RULES);
    assert_eq!(apply(BenchCall::Register { bond: Amount::ZERO }, RENTER, 0), Err(Denied::Zero("bond")));
    assert_eq!(apply(BenchCall::Retire, RENTER, 0), Err(Denied::NoBond));
    assert_eq!(apply(BenchCall::Withdraw, who, 0), Err(Denied::State("not retired")));
    assert_eq!(
        apply(BenchCall::Register { bond: Amount(crate::MAX_STORED) }, who, 0),
        Err(Denied::BondTooLarge(Amount(crate::MAX_STORED + 20)))
    );
    assert_eq!(apply(BenchCall::Register { bond: Amount(1) }, who, 0), Ok(Some(BondEffect::Posted(Amount(1)))));
    assert_eq!(apply(BenchCall::Retire, who, 100), Ok(None));
    assert_eq!(apply(BenchCall::Retire, who, 100), Err(Denied::State("retired")));
    assert_eq!(apply(BenchCall::Withdraw, who, 1_099), Err(Denied::TooEarly(UnixTime(1_100))));
    assert_eq!(apply(BenchCall::Withdraw, who, 1_100), Err(Denied::AtStake(FEE)));
    // The panel is over, nobody voted: what is left comes back.
    dispute.apply(DisputeCall::Resolve, RENTER, at(1_131, 20), &mut bench).expect("is over");
    bench.apply(BenchCall::Retire, who, UnixTime(2_000), &RULES).expect("retires");
    let back = bench.apply(BenchCall::Withdraw, who, UnixTime(3_000), &RULES);
    assert_eq!(back, Ok(Some(BondEffect::Returned(Amount(13)))));
    assert_eq!(bench.apply(BenchCall::Withdraw, who, UnixTime(3_000), &RULES), Err(Denied::NoBond));
    assert_eq!(bench.total(), U256::from(26));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Court(DisputeCall, u8),
    Bench(BenchCall, u8),
}

fn results() -> impl Strategy<Value = B256> {
    prop_oneof![3 => Just(RESULT), 2 => Just(OTHER), 1 => Just(B256::ZERO)]
}

/// Salt is always the same, so that many reveals fit their commitment.
fn steps() -> impl Strategy<Value = Vec<(Step, u64, u64)>> {
    let court = prop_oneof![
        3 => any::<[u8; 32]>().prop_map(|seed| DisputeCall::Draw { seed: B256::from(seed) }),
        4 => (results(), 0u8..6).prop_map(|(result, who)| {
            DisputeCall::Commit(commitment(JobId(9), mediator(who + 1), result, B256::ZERO))
        }),
        6 => results().prop_map(|result| DisputeCall::Reveal { result, salt: B256::ZERO }),
        2 => Just(DisputeCall::Resolve),
    ];
    let bench = prop_oneof![
        (0u128..30).prop_map(|bond| BenchCall::Register { bond: Amount(bond) }),
        Just(BenchCall::Retire),
        Just(BenchCall::Withdraw),
        Just(BenchCall::Join(SET)),
        Just(BenchCall::Leave(SET)),
        Just(BenchCall::Join(MediatorSetId(5))),
    ];
    let step = prop_oneof![
        6 => (court, 0u8..6).prop_map(|(call, who)| Step::Court(call, who)),
        1 => (bench, 0u8..6).prop_map(|(call, who)| Step::Bench(call, who)),
    ];
    prop::collection::vec(
        (step, prop_oneof![0u64..3, 0u64..60, 0u64..1_500], prop_oneof![8 => 0u64..4, 1 => 200u64..300]),
        0..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_dispute_conserves_money_and_always_comes_to_an_end(
        size in prop_oneof![Just(1u8), Just(3), Just(5)],
        bonds in prop::collection::vec(0u128..40, 6),
        steps in steps(),
    ) {
        let members: Vec<_> = (1..=6).map(mediator).collect();
        let mut bench = Bench::default();
        bench.create_set(SET, &members);
        for (who, bond) in members.iter().zip(bonds) {
            prop_assert_eq!(bench.apply(BenchCall::Join(SET), *who, UnixTime(0), &RULES), Ok(None));
            let _ = bench.apply(BenchCall::Register { bond: Amount(bond) }, *who, UnixTime(0), &RULES);
        }
        let mut at = at(1_000, 50);
        let (mut dispute, _) = Dispute::raise(hearing(size), RULES, at.block, &bench).expect("raises");
        let held = |dispute: &Dispute, bench: &Bench| U256::from(dispute.fees().0) + bench.total();
        for (step, seconds, blocks) in steps {
            at = CourtMoment { now: UnixTime(at.now.0 + seconds), block: at.block + blocks };
            let before = (dispute.clone(), bench.clone());
            match step {
                Step::Bench(call, who) => match bench.apply(call, mediator(who + 1), at.now, &RULES) {
                    Err(_) => prop_assert_eq!(&bench, &before.1),
                    Ok(moved) => {
                        let (into, out) = match moved {
                            Some(BondEffect::Posted(amount)) => (amount, Amount::ZERO),
                            Some(BondEffect::Returned(amount)) => (Amount::ZERO, amount),
                            None => (Amount::ZERO, Amount::ZERO),
                        };
                        prop_assert_eq!(before.1.total() + U256::from(into.0), bench.total() + U256::from(out.0));
                    }
                },
                Step::Court(call, who) => match dispute.apply(call, mediator(who + 1), at, &mut bench) {
                    Err(_) => prop_assert_eq!((&dispute, &bench), (&before.0, &before.1), "denied {:?}", call),
                    Ok(effects) => {
                        check(&effects, held(&before.0, &before.1), held(&dispute, &bench))?;
                    }
                },
            }
        }
        // Whatever happened: anybody ends it by waiting, with nobody's help.
        for _ in 0..2 {
            if matches!(dispute.state(), DisputeState::Resolved(_)) {
                break;
            }
            at = CourtMoment { now: UnixTime(at.now.0 + 200), block: at.block + 3 };
            let before = held(&dispute, &bench);
            let call = match dispute.state() {
                DisputeState::Armed { at: armed, .. } => {
                    at.block = at.block.min(armed + 258);
                    DisputeCall::Draw { seed: SEED }
                }
                DisputeState::Voting { .. } | DisputeState::Resolved(_) => DisputeCall::Resolve,
            };
            let effects = dispute.apply(call, Address::repeat_byte(0xee), at, &mut bench);
            prop_assert!(effects.is_ok(), "{:?} is refused: {:?}", call, effects);
            check(&effects.unwrap_or_default(), before, held(&dispute, &bench))?;
        }
        prop_assert!(matches!(dispute.state(), DisputeState::Resolved(_)), "{:?}", dispute.state());
        prop_assert_eq!(dispute.fees(), Amount::ZERO);
        prop_assert!(members.iter().all(|who| bench.bond(*who).at_stake == Amount::ZERO));
    }
}

/// Nothing appears or vanishes, nobody is slashed by more than a fee, and only the end moves money.
fn check(effects: &[CourtEffect], before: U256, after: U256) -> Result<(), TestCaseError> {
    let mut out = U256::ZERO;
    for effect in effects {
        if let CourtEffect::Move { from, to, amount } = effect {
            prop_assert!(*amount > Amount::ZERO);
            let leaves = matches!(to, Purse::Renter | Purse::Provider | Purse::Mediator(_));
            prop_assert!(leaves && matches!(from, Purse::Fees | Purse::Bond(_)), "{:?}", effect);
            prop_assert!(matches!(from, Purse::Fees) || *amount <= FEE);
            prop_assert!(!matches!((from, to), (Purse::Bond(_), Purse::Mediator(_))), "a bond pays the parties only");
            out += U256::from(amount.0);
        }
    }
    prop_assert_eq!(before, after + out);
    prop_assert_eq!(effects.is_empty(), !effects.iter().any(|e| matches!(e, CourtEffect::Rule(_))));
    Ok(())
}

#[test]
fn a_panel_is_drawn_fairly() {
    let members: Vec<_> = (1..=6).map(mediator).collect();
    let bench = bench(&members);
    let mut seats = [0u32; 6];
    for round in 0..2_000u64 {
        let (mut dispute, _) = Dispute::raise(hearing(3), RULES, 10, &bench).expect("raises");
        let seed = B256::from(U256::from(round));
        dispute.apply(DisputeCall::Draw { seed }, RENTER, at(1, 13), &mut bench.clone()).expect("draws");
        let DisputeState::Voting { panel, .. } = dispute.state() else { panic!("not drawn") };
        for (who, _) in panel {
            seats[usize::from(who[0]) - 1] += 1;
        }
    }
    // 1000 each on average, standard deviation 22.
    assert!(seats.iter().all(|count| (890..1_110).contains(count)), "{seats:?}");
    assert_eq!(usize::try_from(seats.iter().sum::<u32>()), Ok(2_000 * 3));
    assert_eq!(sums::majority(3), 2);
}
