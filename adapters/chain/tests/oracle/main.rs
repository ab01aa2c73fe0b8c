//! One set of rules, two implementations: the same calls at the same times go to `domain/market` and to the contracts,
//! which must agree on what is refused and why, on every balance, on every state, and on what is still held.

#[path = "../common/mod.rs"]
mod common;
mod dice;
mod refusals;
mod stage;
mod story;
mod world;

use std::collections::BTreeSet;

use common::Outcome as Test;
use dice::Dice;
use stage::{Outcome, Stage};
use story::Pause;
use sublet_market::agreement::BenchCall;
use sublet_market::{Class, Kind};
use world::{Step, Who};

/// Calls made of an agreement that is over: all must be refused.
const ENCORE: u64 = 2;

/// How much is told, and what must have happened in it to prove something.
struct Proof<'a> {
    stories: u64,
    calls: u64,
    ends: &'a [&'a str],
    done: &'a [&'a str],
    refused: &'a [&'a str],
}

async fn compare_stories(kind: Kind, class: Class, proof: Proof<'_>) -> Test {
    let mut stage = Stage::start().await?;
    let (mut agreed, mut ends) = (0, BTreeSet::new());
    for story in 0..proof.stories {
        let mut dice = Dice(story * 7_919 + 13);
        let mut world = stage.open(kind, class, &mut dice).await?;
        let minds = story::minds(&mut dice);
        let mut encore = 0;
        for _ in 0..proof.calls {
            encore += u64::from(world.is_over());
            if encore > ENCORE {
                break;
            }
            let (pause, step, who) = story::next(&world, &minds, stage.now().await?, &mut dice);
            stage.pass(pause).await?;
            if dice.roll(3) == 0 {
                stage.beat().await?;
            }
            agreed += u64::from(stage.compare(&mut world, step, who).await? == Outcome::Done);
        }
        ends.extend(world.end());
        if class == Class::Exact && world.is_over() && !stage.done.contains("Bench(Withdraw") {
            // Dice alone may never let a retired mediator wait long enough.
            for (seconds, call) in [(2, BenchCall::Retire), (story::WEEK, BenchCall::Withdraw)] {
                stage.pass(Pause { seconds, blocks: 0 }).await?;
                stage.compare(&mut world, Step::Bench(call), Who::Mediator(0)).await?;
            }
        }
        stage.leave(world);
    }
    let missing = |wanted: &[&str], seen: &BTreeSet<String>| -> Vec<String> {
        wanted.iter().filter(|name| !seen.contains(**name)).map(|name| (*name).to_owned()).collect()
    };
    let unseen = (missing(proof.ends, &ends), missing(proof.done, &stage.done), missing(proof.refused, &stage.refused));
    assert_eq!(unseen, (vec![], vec![], vec![]), "{agreed} calls went through, {ends:?}");
    Ok(())
}

#[tokio::test]
async fn leases_are_decided_alike_by_domain_and_contract() -> Test {
    let proof = Proof {
        stories: 60,
        calls: 14,
        ends: &["Rejected", "Cancelled", "Expired", "ClosedByRenter", "ClosedByProvider", "RanOut", "Faulted"],
        done: &["Lease(Start", "Lease(Settle", "Lease(TopUp", "Lease(GiveNotice", "Lease(Close", "Lease(Fault"],
        refused: &[
            "State",
            "Caller",
            "TooEarly",
            "TooLate",
            "TooLong",
            "Zero",
            "AlreadyNoticed",
            "Stale",
            "PenaltyTooHigh",
        ],
    };
    compare_stories(Kind::Lease, Class::None, proof).await
}

#[tokio::test]
async fn jobs_are_decided_alike_by_domain_and_contract() -> Test {
    let proof = Proof {
        stories: 60,
        calls: 12,
        ends: &["Rejected", "Expired", "Settled", "Accepted", "Finalized", "Refused"],
        done: &["Job(Submit", "Job(Settle", "Job(Refuse"],
        refused: &[
            "State",
            "Caller",
            "TooEarly",
            "TooLate",
            "Zero",
            "OtherResult",
            "CostTooHigh",
            "CostTooLow",
            "NotDisputable",
        ],
    };
    compare_stories(Kind::Job, Class::None, proof).await
}

#[tokio::test]
async fn disputes_are_decided_alike_by_domain_and_contract() -> Test {
    let proof = Proof {
        stories: 60,
        calls: 30,
        ends: &["Upheld", "Overturned", "Inconclusive"],
        done: &[
            "Job(Dispute",
            "Court(Draw",
            "Court(Commit",
            "Court(Reveal",
            "Court(Resolve",
            "Bench(Register",
            "Bench(Retire",
            "Bench(Withdraw",
            "Bench(Join",
            "Bench(Leave",
        ],
        refused: &[
            "State",
            "Caller",
            "TooEarly",
            "NotRefusable",
            "TooEarlyBlock",
            "NotSeated",
            "NotListed",
            "VoteStage",
            "OtherVote",
            "BondTooLarge",
            "Zero",
            "AtStake",
        ],
    };
    compare_stories(Kind::Job, Class::Exact, proof).await
}
