//! What is tried next: mostly what leads somewhere, often what must be refused.

use sublet_base::{Address, Amount, B256, Seconds, UnixTime};
use sublet_market::agreement::{
    BenchCall, DisputeCall, DisputeState, JobCall, JobState, LeaseCall, LeaseState, Vote, commitment,
};
use sublet_market::{Class, MAX_STORED};

use crate::dice::Dice;
use crate::stage::PRICE;
use crate::world::{Agreement, MEDIATORS, OTHER, RESULT, Step, Who, World};

/// How long a retired mediator waits for its bond.
pub(crate) const WEEK: u32 = 604_800;

/// What a mediator will do on a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mind {
    Votes(B256),
    /// Commits and then says nothing.
    Hides,
    Sleeps,
}

/// Time and blocks that pass before a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pause {
    pub(crate) seconds: u32,
    pub(crate) blocks: u32,
}

/// A step, by whom, after what.
pub(crate) type Next = (Pause, Step, Who);

/// Whether a story's panel tends to one opinion, and each one's own.
pub(crate) fn minds(dice: &mut Dice) -> [Mind; MEDIATORS] {
    let theme = dice.pick(&[
        Mind::Votes(RESULT),
        Mind::Votes(OTHER),
        Mind::Votes(B256::ZERO),
        Mind::Sleeps,
        Mind::Votes(RESULT),
        Mind::Votes(OTHER),
    ]);
    std::array::from_fn(|_| {
        let own = [Mind::Votes(RESULT), Mind::Votes(OTHER), Mind::Votes(B256::ZERO), Mind::Hides, Mind::Sleeps];
        if dice.often(70) { theme } else { dice.pick(&own) }
    })
}

pub(crate) fn next(world: &World, minds: &[Mind; MEDIATORS], now: UnixTime, dice: &mut Dice) -> Next {
    match &world.agreement {
        Agreement::Lease(_, lease) => {
            let open = matches!(lease.state(), LeaseState::Open { .. });
            let call = lease_call(open, dice);
            (wait(dice), Step::Lease(call), of_lease(call, dice))
        }
        Agreement::Job(_, job) if job.terms().class == Class::Exact && dice.often(90) => court(world, minds, now, dice),
        Agreement::Job(..) => any_job(world, dice),
    }
}

fn wait(dice: &mut Dice) -> Pause {
    let range = dice.pick(&[3, 3, 30, 150, 150, 700, 9_000]);
    Pause { seconds: dice.seconds(range).0, blocks: 0 }
}

fn lease_call(open: bool, dice: &mut Dice) -> LeaseCall {
    // Around what the provider would lose: thirty seconds of rent at most.
    let max_penalty = Amount(u128::from(dice.roll(40)) * PRICE.0);
    let calls = [
        LeaseCall::Start,
        LeaseCall::Settle,
        LeaseCall::Settle,
        LeaseCall::TopUp(dice.seconds(900)),
        LeaseCall::TopUp(dice.seconds(90)),
        LeaseCall::TopUp(Seconds(0)),
        LeaseCall::TopUp(Seconds(1_900)),
        LeaseCall::GiveNotice,
        LeaseCall::Close { max_penalty: Amount::ZERO },
        LeaseCall::Close { max_penalty },
        LeaseCall::Fault,
        LeaseCall::Fault,
        LeaseCall::Expire,
        LeaseCall::Reject,
        LeaseCall::Cancel,
    ];
    let first = [LeaseCall::Start, LeaseCall::Start, LeaseCall::Start, LeaseCall::Reject];
    if open && dice.often(70) { dice.pick(&first) } else { dice.pick(&calls) }
}

fn mostly(usual: Who, dice: &mut Dice) -> Who {
    if dice.roll(3) == 0 { anybody(dice) } else { usual }
}

fn anybody(dice: &mut Dice) -> Who {
    let mediator = Who::Mediator(dice.pick(&[0, 1, 2, 3, 4]));
    dice.pick(&[Who::Renter, Who::Provider, Who::Stranger, mediator])
}

fn of_lease(call: LeaseCall, dice: &mut Dice) -> Who {
    let usual = match call {
        LeaseCall::Start | LeaseCall::Reject | LeaseCall::GiveNotice => Who::Provider,
        LeaseCall::Cancel => Who::Renter,
        LeaseCall::Close { .. } => dice.pick(&[Who::Renter, Who::Provider]),
        LeaseCall::Expire | LeaseCall::Settle | LeaseCall::TopUp(_) | LeaseCall::Fault => Who::Stranger,
    };
    mostly(usual, dice)
}

fn of_job(call: JobCall, dice: &mut Dice) -> Who {
    let usual = match call {
        JobCall::Reject | JobCall::Submit { .. } => Who::Provider,
        JobCall::Accept | JobCall::Refuse | JobCall::Dispute => Who::Renter,
        JobCall::Settle { .. } | JobCall::Finalize | JobCall::Expire | JobCall::Rule(_) => Who::Stranger,
    };
    mostly(usual, dice)
}

fn any_job(world: &World, dice: &mut Dice) -> Next {
    let Agreement::Job(_, job) = &world.agreement else { unreachable!("asked for a job") };
    let declared = match job.state() {
        JobState::Submitted { declared, .. } | JobState::Disputed { declared, .. } => declared.0,
        JobState::Open { .. } | JobState::Ended(_) => 5,
    };
    let most = job.held().escrow.0;
    let cost = dice.pick(&[0, declared, most, most + 1, declared.saturating_sub(1)]);
    let result = if dice.roll(6) == 0 { OTHER } else { RESULT };
    let calls = [
        JobCall::Submit { result, used: dice.seconds(400) },
        JobCall::Submit { result: RESULT, used: dice.seconds(4) },
        JobCall::Settle { result, cost: Amount(cost) },
        JobCall::Finalize,
        JobCall::Refuse,
        JobCall::Accept,
        JobCall::Expire,
        JobCall::Reject,
        JobCall::Dispute,
        JobCall::Submit { result: B256::ZERO, used: dice.seconds(4) },
    ];
    let call = dice.pick(&calls);
    (wait(dice), Step::Job(call), of_job(call, dice))
}

/// Mostly towards a verdict.
fn court(world: &World, minds: &[Mind; MEDIATORS], now: UnixTime, dice: &mut Dice) -> Next {
    let short = Pause { seconds: dice.seconds(8).0, blocks: 0 };
    if dice.often(12) {
        return bench(world, dice);
    }
    if dice.often(15) {
        let calls = [
            DisputeCall::Draw { seed: B256::ZERO },
            DisputeCall::Commit(OTHER),
            DisputeCall::Reveal { result: RESULT, salt: salt(MEDIATORS) },
            DisputeCall::Resolve,
        ];
        return (short, Step::Court(dice.pick(&calls)), anybody(dice));
    }
    let Agreement::Job(_, job) = &world.agreement else { unreachable!("asked for a job") };
    match job.state() {
        JobState::Open { run_by, .. } if now > run_by => (short, Step::Job(JobCall::Expire), anybody(dice)),
        JobState::Open { .. } => {
            let submit = JobCall::Submit { result: RESULT, used: dice.seconds(300) };
            (short, Step::Job(submit), Who::Provider)
        }
        JobState::Submitted { challenge_until, .. } if now > challenge_until => {
            let call = dice.pick(&[JobCall::Dispute, JobCall::Refuse, JobCall::Finalize, JobCall::Finalize]);
            (short, Step::Job(call), Who::Renter)
        }
        JobState::Submitted { .. } if idle(world).is_some() && dice.often(70) => {
            let (who, call) = idle(world).expect("just asked");
            (short, Step::Bench(call), Who::Mediator(who))
        }
        JobState::Submitted { .. } if dice.often(15) => (short, Step::Job(JobCall::Refuse), Who::Renter),
        JobState::Submitted { .. } => (short, Step::Job(JobCall::Dispute), mostly(Who::Renter, dice)),
        JobState::Ended(_) => any_job(world, dice),
        JobState::Disputed { .. } => match world.dispute.as_ref().map(|dispute| dispute.state()) {
            Some(DisputeState::Armed { .. }) => {
                let blocks = dice.pick(&[0, 1, 2, 3, 4, 5, 260]);
                (Pause { seconds: 0, blocks }, Step::Court(DisputeCall::Draw { seed: B256::ZERO }), anybody(dice))
            }
            Some(DisputeState::Voting { reveal_by, .. }) if now > *reveal_by => {
                (short, Step::Court(DisputeCall::Resolve), anybody(dice))
            }
            Some(DisputeState::Voting { panel, .. }) => vote(world, panel, minds, dice),
            Some(DisputeState::Resolved(_)) | None => unreachable!("the job would have ended"),
        },
    }
}

fn vote(world: &World, panel: &[(Address, Vote)], minds: &[Mind; MEDIATORS], dice: &mut Dice) -> Next {
    let Agreement::Job(id, _) = &world.agreement else { unreachable!("only jobs are disputed") };
    let short = Pause { seconds: dice.seconds(8).0, blocks: 0 };
    let number = |account| world.cast.mediators.iter().position(|m| *m == account).expect("drawn from the mediators");
    if dice.often(20) {
        return misbehave(world, number(dice.pick(panel).0), dice);
    }
    for (account, vote) in panel {
        let who = number(*account);
        let says = match minds[who] {
            Mind::Votes(result) => result,
            Mind::Hides => OTHER,
            Mind::Sleeps => continue,
        };
        if *vote == Vote::Silent && dice.often(90) {
            let call = DisputeCall::Commit(commitment(*id, *account, says, salt(who)));
            return (short, Step::Court(call), Who::Mediator(who));
        }
    }
    // Those who sleep have to be waited for: out of the commit window, and sometimes out of the next.
    let asleep = panel.iter().any(|(_, vote)| *vote == Vote::Silent);
    let pause = if asleep && dice.often(60) { Pause { seconds: 4_300, blocks: 0 } } else { short };
    for (account, vote) in panel {
        let who = number(*account);
        if let (Vote::Committed(_), Mind::Votes(result)) = (vote, minds[who])
            && dice.often(85)
        {
            let call = DisputeCall::Reveal { result, salt: salt(who) };
            return (pause, Step::Court(call), Who::Mediator(who));
        }
    }
    let pause = if dice.often(30) { Pause { seconds: 3_700, blocks: 0 } } else { short };
    (pause, Step::Court(DisputeCall::Resolve), anybody(dice))
}

/// A mediator that could not be drawn, when so many cannot that panels would be short, and what it lacks.
fn idle(world: &World) -> Option<(usize, BenchCall)> {
    let joined: Vec<Address> = world.bench.joined(world.set.id).collect();
    let lacks = |who: usize| {
        let account = world.cast.mediators[who];
        let bond = BenchCall::Register { bond: Amount(world.set.fee.0 * 5) };
        let poor = !world.bench.bond(account).can_serve(world.set.fee);
        poor.then_some(bond).or_else(|| (!joined.contains(&account)).then_some(BenchCall::Join(world.set.id)))
    };
    let idle: Vec<_> = (0..MEDIATORS).filter_map(|who| Some((who, lacks(who)?))).collect();
    if MEDIATORS - idle.len() < 4 { idle.first().copied() } else { None }
}

/// What a member of a panel may not do.
fn misbehave(world: &World, member: usize, dice: &mut Dice) -> Next {
    let bond = world.bench.bond(world.cast.mediators[member]);
    let calls = [
        Step::Court(DisputeCall::Commit(OTHER)),
        Step::Court(DisputeCall::Reveal { result: OTHER, salt: salt(MEDIATORS) }),
        Step::Court(DisputeCall::Reveal { result: RESULT, salt: salt(MEDIATORS) }),
        Step::Bench(if bond.retired_at.is_some() { BenchCall::Withdraw } else { BenchCall::Retire }),
        Step::Court(DisputeCall::Resolve),
    ];
    let step = dice.pick(&calls);
    let seconds = if matches!(step, Step::Bench(BenchCall::Withdraw)) { dice.pick(&[2, WEEK]) } else { 2 };
    (Pause { seconds, blocks: 0 }, step, Who::Mediator(member))
}

/// Somebody's bond or service: some retire, wait, and ask for it back; some leave the set.
fn bench(world: &World, dice: &mut Dice) -> Next {
    let number = dice.pick(&[0, 1, 2, 3, 4]);
    let who = mostly(Who::Mediator(number), dice);
    let gone = world.bench.bond(world.cast.mediators[number]).retired_at.is_some();
    if !gone && dice.often(30) {
        let call = if dice.often(60) { BenchCall::Join(world.set.id) } else { BenchCall::Leave(world.set.id) };
        return (Pause { seconds: 2, blocks: 0 }, Step::Bench(call), who);
    }
    let post = BenchCall::Register { bond: Amount(u128::from(dice.roll(6_000_000))) };
    // A week would end a job that waits for its result or for its renter.
    let Agreement::Job(_, job) = &world.agreement else { unreachable!("asked for a job") };
    let patient = matches!(job.state(), JobState::Disputed { .. } | JobState::Ended(_));
    let calls = if gone {
        let week = if patient { WEEK } else { 2 };
        [(week, BenchCall::Withdraw), (week, BenchCall::Withdraw), (2, BenchCall::Withdraw), (2, post)]
    } else {
        let more = |bond| BenchCall::Register { bond: Amount(bond) };
        [(2, BenchCall::Retire), (2, post), (2, more(0)), (2, more(MAX_STORED))]
    };
    let (seconds, call) = dice.pick(&calls);
    (Pause { seconds, blocks: 0 }, Step::Bench(call), who)
}

/// Each mediator's own.
pub(crate) fn salt(who: usize) -> B256 {
    B256::repeat_byte(u8::try_from(who).expect("few mediators"))
}
