//! Whole mediators against the real contracts on a real chain, each with a host in memory.
#![allow(missing_docs, unreachable_pub)]

mod host;
mod net;

use std::collections::BTreeMap;
use std::time::Duration;

use host::archive;
use net::{BOND, FEE, Net, Outcome, RENTER_PEER, eventually};
use sublet_base::{Amount, B256, Digest, JobId, PeerKey, Seconds, TOKEN_DECIMALS, keccak256};
use sublet_chain::{Call, Event, JobEnd, Ledger, TxKey};
use sublet_market::{Class, ImageRef, JobDocument, ModuleRef};
use sublet_wire::link::RefusalReason;
use tokio::io::AsyncReadExt;

const ONE: u128 = 10u128.pow(TOKEN_DECIMALS as u32);

fn job(message: &str) -> JobDocument {
    JobDocument {
        module: ModuleRef { name: "echo".into(), version: "1.0.0".parse().expect("a version") },
        image: ImageRef { name: "debian-12".into(), digest: Digest([1; 32]) },
        argv: vec!["/bin/echo".into(), message.into()],
        env: BTreeMap::new(),
        inputs: BTreeMap::new(),
        resources: serde_json::from_value(serde_json::json!({ "vcpus": 1, "memory_mib": 64, "disk_gib": 1 }))
            .expect("resources"),
        class: Class::Exact,
        timeout: Seconds(60),
    }
}

fn right(document: &JobDocument) -> B256 {
    keccak256(archive(&document.argv))
}

async fn ends(net: &Net, job: JobId, end: JobEnd) {
    eventually(&format!("{job} to be {end}"), || async {
        matches!(net.renter.job(job).await, Ok(Some(record)) if record.end == end)
    })
    .await;
}

/// Every mediator has its bond, has earned this much, and keeps nothing.
async fn earned(net: &Net, votes: u128) -> Outcome {
    for mediator in &net.mediators {
        let record = net.renter.mediator(mediator.account).await?.ok_or("not registered")?;
        assert_eq!((record.bond, record.at_stake), (BOND, Amount::ZERO));
        assert_eq!(net.renter.free_of(mediator.account).await?, Amount(ONE - BOND.0 + votes * FEE.0));
        eventually("its machine to be deleted", || async { mediator.host.names().is_empty() }).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_mediators_judge_right_wrong_and_withheld_results() -> Outcome {
    let mut net = Net::start().await?;
    for which in 0..3 {
        net.start_mediator(which).await?;
    }
    net.until_all_serve().await;
    let (good, bad, gone) = (job("good"), job("bad"), job("gone"));
    let upheld = net.dispute(&good, right(&good), true).await?;
    let overturned = net.dispute(&bad, right(&good), true).await?;
    let withheld = net.dispute(&gone, right(&gone), false).await?;
    ends(&net, overturned, JobEnd::Overturned).await;

    // The renter of a job, and nobody else, gets what the mediators found.
    let peers = net.peers(0).ok_or("it does not serve")?;
    let mut found = peers.result(RENTER_PEER, overturned).await?;
    let mut bytes = vec![];
    found.content.read_to_end(&mut bytes).await?;
    assert_eq!((keccak256(&bytes), found.hash), (right(&bad), right(&bad)));
    let stranger = PeerKey([8; 32]);
    for refused in [peers.admit(stranger).await, peers.result(stranger, overturned).await.map(drop)] {
        assert_eq!(refused.map_err(|r| r.reason), Err(RefusalReason::NotSeen), "a stranger learns nothing");
    }
    let too_much = peers.document(RENTER_PEER, overturned).await.map(drop);
    assert_eq!(too_much.map_err(|r| r.reason), Err(RefusalReason::Unsupported));
    ends(&net, upheld, JobEnd::Upheld).await;
    ends(&net, withheld, JobEnd::Overturned).await;
    // A case without an archive is forgotten as soon as it is over, which may be now.
    let nothing = peers.result(RENTER_PEER, withheld).await.map(drop).map_err(|r| r.reason);
    assert!(matches!(nothing, Err(RefusalReason::NotReady | RefusalReason::NotSeen)), "{nothing:?}");

    earned(&net, 3).await?;
    // Three overturned and upheld panels of three; the rest of the money is where it was, or with the other party.
    // The contract counts no more time than the provider had.
    let used = net.renter.job(upheld).await?.ok_or("no job")?.used;
    let cost = u128::from(used.0) * 1_000;
    assert_eq!(net.renter.free_of(net.renter_wallet.address()).await?.0, ONE - cost - 9 * FEE.0 + 2 * 100_000);
    assert_eq!(net.provider.free_of(net.provider.account().ok_or("no account")?).await?.0, ONE + cost - 2 * 100_000);
    eventually("the archive not to be kept for ever", || async { peers.admit(RENTER_PEER).await.is_err() }).await;
    for which in 0..3 {
        net.stop_mediator(which).await?;
    }
    Ok(())
}

/// Mediators that have read nothing of the job before its dispute look its opening up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_older_than_its_mediators_is_judged() -> Outcome {
    let mut net = Net::start().await?;
    let document = job("old");
    let old = net.submitted(&document, right(&document), true).await?;
    net.from_block = net.renter.head().await?.block.number + 1;
    assert!(net.renter.job_opened(old).await?.is_some_and(|opened| opened.peer_key == RENTER_PEER));
    assert!(net.renter.job_opened(JobId(old.0 + 1)).await?.is_none());
    for which in 0..3 {
        net.start_mediator(which).await?;
    }
    net.until_all_serve().await;
    net.renter.submit(&TxKey::passing("late"), &Call::Dispute(old)).await?;
    ends(&net, old, JobEnd::Upheld).await;
    earned(&net, 1).await?;
    for which in 0..3 {
        net.stop_mediator(which).await?;
    }
    Ok(())
}

/// One of three is killed at ten random moments: it votes once for each dispute, and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_cost_no_vote_and_leave_no_machine() -> Outcome {
    let mut net = Net::start().await?;
    for which in 0..3 {
        net.start_mediator(which).await?;
    }
    net.until_all_serve().await;
    let mut disputes = vec![];
    for round in 0..10u32 {
        if round % 3 == 0 {
            let document = job(&format!("round {round}"));
            disputes.push(net.dispute(&document, right(&document), true).await?);
        }
        tokio::time::sleep(Duration::from_millis(u64::from(rand::random_range(0..1_500u32)))).await;
        net.kill_mediator(0).await;
        net.start_mediator(0).await?;
    }
    for dispute in &disputes {
        ends(&net, *dispute, JobEnd::Upheld).await;
    }
    earned(&net, disputes.len() as u128).await?;
    let head = net.renter.head().await?.block.number;
    let mut votes: BTreeMap<JobId, u32> = BTreeMap::new();
    for located in net.renter.events(0, head).await? {
        match located.event {
            Event::VoteRevealed { id, mediator, .. } if mediator == net.mediators[0].account => {
                *votes.entry(id).or_default() += 1;
            }
            _ => {}
        }
    }
    assert_eq!(votes, disputes.iter().map(|id| (*id, 1)).collect());
    for which in 0..3 {
        net.stop_mediator(which).await?;
    }
    Ok(())
}
