//! The whole agent against the real contract on a real chain, a host in memory, and a renter.
#![allow(missing_docs, unreachable_pub)]

mod host;
mod net;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use host::{HOST_KEY, archive};
use net::{Net, Outcome, RENTER_PEER, eventually, hash_of};
use sublet_base::{Amount, B256, Digest, JobId, LeaseId, PeerKey, Price, Seconds, TOKEN_DECIMALS};
use sublet_chain::{Call, JobEnd, JobState, LeaseEnd, LeaseState, Ledger, TxKey};
use sublet_market::{
    Acceptance, Class, ImageRef, JobDocument, Kind, MachineRequest, ModuleRef, Network, Resources, TypedData,
};
use sublet_store::Expect;
use sublet_wire::link::{Agreement, MachineState, RefusalReason};
use sublet_wire::workload::Mark;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ONE: u128 = 10u128.pow(TOKEN_DECIMALS as u32);

fn size() -> Resources {
    serde_json::from_value(serde_json::json!({ "vcpus": 1, "memory_mib": 256, "disk_gib": 1 })).expect("resources")
}

fn image() -> ImageRef {
    ImageRef { name: "debian-12".into(), digest: Digest([1; 32]) }
}

fn machine() -> MachineRequest {
    let key = format!("{HOST_KEY} renter");
    MachineRequest {
        name: "web1".parse().expect("a name"),
        image: image(),
        resources: size(),
        ssh_keys: vec![key],
        network: Network::None,
    }
}

fn job(message: &str) -> JobDocument {
    JobDocument {
        module: ModuleRef { name: "cowsay".into(), version: "1.0.0".parse().expect("a version") },
        image: image(),
        argv: vec!["/usr/games/cowsay".into(), message.into()],
        env: BTreeMap::new(),
        inputs: BTreeMap::new(),
        resources: size(),
        class: Class::None,
        timeout: Seconds(60),
    }
}

fn lease_id(id: Agreement) -> LeaseId {
    let Agreement::Lease(id) = id else { panic!("{id} is no lease") };
    id
}

fn job_id(id: Agreement) -> JobId {
    let Agreement::Job(id) = id else { panic!("{id} is no job") };
    id
}

async fn hand_over(net: &Net, id: Agreement, document: &str) {
    net.ask("hand over", |peers| async move { peers.handover(RENTER_PEER, id, document.to_owned()).await }).await;
}

async fn lease_is(net: &Net, id: LeaseId, state: LeaseState) {
    eventually(&format!("{id} to be {state}"), || async {
        matches!(net.renter.lease(id).await, Ok(Some(lease)) if lease.state == state)
    })
    .await;
}

async fn job_is(net: &Net, id: JobId, state: JobState) {
    eventually(&format!("{id} to be {state}"), || async {
        matches!(net.renter.job(id).await, Ok(Some(job)) if job.state == state)
    })
    .await;
}

/// Fetches the result, checks it, accepts it.
async fn accept(net: &Net, job: JobId, message: &str) -> Outcome<Amount> {
    let finished = net
        .ask("the result", |peers| async move {
            let status = peers.status(RENTER_PEER, Agreement::Job(job)).await?;
            match status.state {
                MachineState::Finished { result_hash, cost, .. } => Ok((result_hash, cost)),
                other => Err(sublet_wire::link::Refusal::new(RefusalReason::NotReady, &format!("{other:?}"))),
            }
        })
        .await;
    let (result_hash, cost) = finished;
    let bytes = net
        .ask("the archive", |peers| async move {
            let mut archive = peers.result(RENTER_PEER, job).await?;
            let mut bytes = vec![];
            archive.content.read_to_end(&mut bytes).await.map_err(|_| broken())?;
            if bytes.len() as u64 == archive.length { Ok(bytes) } else { Err(broken()) }
        })
        .await;
    assert_eq!(bytes, archive(&["/usr/games/cowsay".to_owned(), message.to_owned()]));
    assert_eq!(hash_of(&bytes), result_hash);
    let acceptance = Acceptance { job, result_hash, cost };
    let signed = net.renter_wallet.sign_acceptance(acceptance, &net.renter.domain())?;
    net.ask("acceptance", |peers| {
        let signed = signed.clone();
        async move {
            match peers.accept(RENTER_PEER, signed.acceptance, signed.signature).await {
                // It was taken before a kill, and the job is over since.
                Err(refusal) if refusal.reason == RefusalReason::NotSeen => Ok(()),
                other => other,
            }
        }
    })
    .await;
    Ok(cost)
}

/// Neither garbage nor more than the escrow is taken for an acceptance, nor does it keep the right one out.
async fn refuses_what_the_contract_would(net: &Net, job: JobId) -> Outcome {
    let result_hash = net
        .ask("the result", |peers| async move { peers.result(RENTER_PEER, job).await.map(|archive| archive.hash) })
        .await;
    let acceptance = Acceptance { job, result_hash, cost: Amount(3 * 2_000) };
    let greedy =
        net.renter_wallet.sign_acceptance(Acceptance { cost: Amount(200_001), ..acceptance }, &net.renter.domain())?;
    for (acceptance, signature) in [(acceptance, "0x00".parse()?), (greedy.acceptance, greedy.signature)] {
        let peers = net.ask("an agent", |peers| async move { Ok(peers) }).await;
        let refused = peers.accept(RENTER_PEER, acceptance, signature).await;
        assert_eq!(refused.map_err(|r| r.reason), Err(RefusalReason::Invalid));
    }
    Ok(())
}

/// Code of an account that signs anything when it is only asked, and fails in a transaction: by the price of its gas.
const TWO_FACED: &str = "0x3a601257631626ba7e60e01b5f5260205ff35b5f5ffd";

/// Asking a renter's code beforehand binds it to nothing. Its key, which any delegated account has too, cannot lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renters_code_makes_the_provider_pay_in_vain_once() -> Outcome {
    let mut net = Net::start().await?;
    net.start_agent().await?;
    let (work, document) = net.open(Kind::Job, &job("moo"), 100).await?;
    hand_over(&net, work, &document).await;
    let id = job_id(work);
    let result_hash = net
        .ask("the result", |peers| async move { peers.result(RENTER_PEER, id).await.map(|archive| archive.hash) })
        .await;
    net.rpc("anvil_setCode", serde_json::json!([net.renter_wallet.address(), TWO_FACED])).await?;

    let unsigned = Acceptance { job: id, result_hash, cost: Amount(3 * 2_000) };
    let accept_by_code = async |net: &Net| -> Outcome<Result<(), sublet_wire::link::Refusal>> {
        let peers = net.ask("an agent", |peers| async move { Ok(peers) }).await;
        Ok(peers.accept(RENTER_PEER, unsigned.clone(), "0x00".parse()?).await)
    };
    accept_by_code(&net).await??;
    let refused_for_good = async |net: &Net| {
        let answer = accept_by_code(net).await;
        matches!(answer, Ok(Err(refusal)) if refusal.to_string().contains("failed on chain"))
    };
    eventually("no other to be taken", || refused_for_good(&net)).await;
    net.kill_agent().await;
    net.start_agent().await?;
    assert!(refused_for_good(&net).await, "it was written down");

    accept(&net, id, "moo").await?;
    job_is(&net, id, JobState::Ended).await;
    assert_eq!(net.renter.job(id).await?.map(|j| j.end), Some(JobEnd::Settled));
    net.stop_agent().await
}

fn broken() -> sublet_wire::link::Refusal {
    sublet_wire::link::Refusal::new(RefusalReason::Internal, "cut off")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_and_a_job_are_served_and_paid() -> Outcome {
    let mut net = Net::start().await?;
    net.start_agent().await?;

    let (lease, document) = net.open(Kind::Lease, &machine(), 1_000).await?;
    hand_over(&net, lease, &document).await;
    lease_is(&net, lease_id(lease), LeaseState::Active).await;
    let key = net
        .ask("the host key", |peers| async move {
            match peers.status(RENTER_PEER, lease).await?.state {
                MachineState::Ready { ssh_host_key } => Ok(ssh_host_key.as_str().to_owned()),
                other => Err(sublet_wire::link::Refusal::new(RefusalReason::NotReady, &format!("{other:?}"))),
            }
        })
        .await;
    assert_eq!(key, HOST_KEY);
    let mut stream = net.ask("ssh", |peers| async move { peers.connect(RENTER_PEER, lease_id(lease), 22).await }).await;
    stream.write_all(b"SSH").await?;
    let mut echo = [0; 3];
    stream.read_exact(&mut echo).await?;
    assert_eq!(&echo, b"SSH");

    let (work, document) = net.open(Kind::Job, &job("moo"), 100).await?;
    hand_over(&net, work, &document).await;
    refuses_what_the_contract_would(&net, job_id(work)).await?;
    let cost = accept(&net, job_id(work), "moo").await?;
    assert_eq!(cost, Amount(3 * 2_000));
    job_is(&net, job_id(work), JobState::Ended).await;
    assert_eq!(net.renter.job(job_id(work)).await?.map(|j| j.end), Some(JobEnd::Settled));

    net.renter
        .submit(&TxKey::passing("close"), &Call::CloseLease { id: lease_id(lease), max_penalty: Amount::ZERO })
        .await?;
    eventually("no machine to be left", || async { net.host.names().is_empty() }).await;
    let (renter, provider) = net.balances().await?;
    assert_eq!(renter + provider, 2 * ONE, "money appeared or vanished");
    // The least a lease costs, or what was used, and the job.
    assert!(provider >= ONE + 60 * 1_000 + 6_000, "the provider earned {}", provider.saturating_sub(ONE));
    net.stop_agent().await?;
    let record = net.renter.provider(net.provider()).await?.ok_or("not registered")?;
    assert!(!record.online, "an agent that stops takes no new agreements");
    Ok(())
}

/// The number is another agreement's then, and what was done under it for the first one must not pass for the second's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agreement_whose_block_was_replaced_leaves_nothing_to_the_next_of_its_number() -> Outcome {
    let mut net = Net::start().await?;
    net.start_agent().await?;
    net.offer(Kind::Job).await;
    eventually("the provider to be online", || async {
        matches!(net.renter.provider(net.provider()).await, Ok(Some(record)) if record.online)
    })
    .await;
    let before = net.rpc("evm_snapshot", serde_json::json!([])).await?;
    let (gone, document) = net.open(Kind::Job, &job("moo"), 100).await?;
    hand_over(&net, gone, &document).await;
    net.ask("a result", |peers| async move { peers.result(RENTER_PEER, job_id(gone)).await.map(drop) }).await;

    net.revert(before).await?;
    let (again, document) = net.open(Kind::Job, &job("quack"), 100).await?;
    assert_eq!(again, gone, "the number is given anew");
    for _ in 0..8 {
        net.rpc("evm_mine", serde_json::json!([])).await?;
    }
    hand_over(&net, again, &document).await;
    accept(&net, job_id(again), "quack").await?;
    job_is(&net, job_id(again), JobState::Ended).await;
    eventually("no machine to be left", || async { net.host.names().is_empty() }).await;
    net.stop_agent().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_wrong_documents_are_refused() -> Outcome {
    let mut net = Net::start().await?;
    let network = net.renter.domain();
    let mark = Mark::of(net.provider(), network.chain_id, network.contract);
    net.host.put_orphan(&format!("lease-99-{mark}"));
    net.host.put_orphan("somebody-elses");
    net.host.put_orphan("lease-99-00000000");
    net.start_agent().await?;
    let (lease, document) = net.open(Kind::Lease, &machine(), 1_000).await?;
    net.ask("to be admitted", |peers| async move { peers.admit(RENTER_PEER).await }).await;
    let peers = || net.ask("an agent", |peers| async move { Ok(peers) });
    let reason = |refused: Result<(), sublet_wire::link::Refusal>| refused.map_err(|r| r.reason);

    let stranger = PeerKey([8; 32]);
    assert_eq!(reason(peers().await.admit(stranger).await), Err(RefusalReason::NotSeen));
    let theirs = peers().await.handover(stranger, lease, document.clone()).await;
    assert_eq!(reason(theirs), Err(RefusalReason::Stranger));
    let other = document.replace("web1", "web2");
    assert_eq!(reason(peers().await.handover(RENTER_PEER, lease, other).await), Err(RefusalReason::HashDiffers));
    let early = peers().await.connect(RENTER_PEER, lease_id(lease), 22).await.err().map(|r| r.reason);
    assert_eq!(early, Some(RefusalReason::NotReady));

    // Hashes to what is on chain, yet asks for more than was offered: never served, so rejected for free.
    let mut greedy = machine();
    greedy.resources.vcpus.0 = 3;
    let (greedy, document) = net.open(Kind::Lease, &greedy, 1_000).await?;
    net.ask("to be seen", |peers| async move { peers.status(RENTER_PEER, greedy).await }).await;
    assert_eq!(reason(peers().await.handover(RENTER_PEER, greedy, document).await), Err(RefusalReason::Invalid));

    let acceptance = Acceptance { job: JobId(1), result_hash: B256::ZERO, cost: Amount(1) };
    let forged = peers().await.accept(RENTER_PEER, acceptance, "0x00".parse()?).await;
    assert_eq!(reason(forged), Err(RefusalReason::NotSeen));
    eventually("the orphan to be removed", || async { net.host.names() == ["lease-99-00000000", "somebody-elses"] })
        .await;
    net.stop_agent().await
}

/// Mediators get a disputed job's document and archive, those that were drawn, and only while it is disputed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drawn_panel_gets_what_it_needs_and_nobody_else() -> Outcome {
    let mut net = Net::start().await?;
    let keys = [PeerKey([21; 32]), PeerKey([22; 32]), PeerKey([23; 32])];
    let (set, mediators) = net.mediators(keys).await?;
    let mut config = net::config();
    config.acceptance_wait = Seconds(0);
    config.offers.iter_mut().for_each(|offer| offer.mediator_set = set);
    net.start_agent_with(config).await?;
    let exact = JobDocument { class: Class::Exact, ..job("moo") };
    let (work, document) = net.open(Kind::Job, &exact, 100).await?;
    let id = job_id(work);
    hand_over(&net, work, &document).await;
    job_is(&net, id, JobState::Submitted).await;
    let peers = net.ask("an agent", |peers| async move { Ok(peers) }).await;
    let document_for = async |peer| peers.document(peer, id).await.map_err(|r| r.reason);
    assert_eq!(document_for(RENTER_PEER).await.as_deref(), Ok(&*document));
    assert_eq!(peers.admit(keys[0]).await.map_err(|r| r.reason), Err(RefusalReason::NotSeen), "nobody is drawn yet");

    net.renter.submit(&TxKey::passing("dispute"), &Call::Dispute(id)).await?;
    let from = net.renter.dispute(id).await?.ok_or("no dispute")?.draw_from;
    // Blocks come with transactions here.
    while net.renter.head().await?.block.number < from {
        net.renter.submit(&TxKey::passing("time"), &Call::Approve(Amount(0))).await?;
    }
    assert_eq!(document_for(keys[0]).await, Err(RefusalReason::Stranger), "not drawn yet");
    net.renter.submit(&TxKey::passing("draw"), &Call::Draw(id)).await?;
    for key in keys {
        net.ask("to be admitted", |peers| async move { peers.admit(key).await }).await;
        assert_eq!(document_for(key).await.as_deref(), Ok(&*document));
        let mut bytes = vec![];
        peers.result(key, id).await?.content.read_to_end(&mut bytes).await?;
        assert_eq!(bytes, archive(&["/usr/games/cowsay".to_owned(), "moo".to_owned()]));
        // Judging is not renting.
        assert_eq!(peers.status(key, work).await.map_err(|r| r.reason).err(), Some(RefusalReason::Stranger));
        assert_eq!(peers.logs(key, work, false).await.map_err(|r| r.reason).err(), Some(RefusalReason::Stranger));
    }
    let stranger = PeerKey([24; 32]);
    assert_eq!(document_for(stranger).await, Err(RefusalReason::Stranger));
    assert_eq!(peers.result(stranger, id).await.map_err(|r| r.reason).err(), Some(RefusalReason::Stranger));
    assert_eq!(peers.admit(stranger).await.map_err(|r| r.reason), Err(RefusalReason::NotSeen));

    let result = net.renter.job(id).await?.and_then(|job| job.result).ok_or("no result")?;
    for (ledger, secret) in mediators.iter().zip(1..) {
        let (me, salt) = (ledger.account().ok_or("no account")?, B256::repeat_byte(secret));
        let commitment = sublet_market::agreement::commitment(id, me, result, salt);
        ledger.submit(&TxKey::passing("commit"), &Call::CommitVote { job: id, commitment }).await?;
    }
    for (ledger, secret) in mediators.iter().zip(1..) {
        let salt = B256::repeat_byte(secret);
        ledger.submit(&TxKey::passing("reveal"), &Call::RevealVote { job: id, result, salt }).await?;
    }
    net.renter.submit(&TxKey::passing("resolve"), &Call::Resolve(id)).await?;
    assert_eq!(net.renter.job(id).await?.map(|j| j.end), Some(JobEnd::Upheld));
    eventually("the panel to be dismissed", || async { document_for(keys[0]).await.is_err() }).await;
    net.stop_agent().await
}

/// A provider must not pay for a host that hangs, whatever it hangs at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hanging_host_does_not_serve_is_declined_in_time() -> Outcome {
    let mut net = Net::start().await?;
    let mut config = net::config();
    for offer in &mut config.offers {
        offer.start_within = Seconds(if offer.kind == Kind::Lease { 8 } else { 24 });
    }
    net.start_agent_with(config).await?;
    net.host.makes_nothing.store(true, Ordering::Relaxed);
    let (lease, document) = net.open(Kind::Lease, &machine(), 1_000).await?;
    hand_over(&net, lease, &document).await;
    lease_is(&net, lease_id(lease), LeaseState::Ended).await;
    assert_eq!(net.renter.lease(lease_id(lease)).await?.map(|l| l.end), Some(LeaseEnd::Rejected));

    net.host.says_nothing.store(true, Ordering::Relaxed);
    let (work, document) = net.open(Kind::Job, &job("moo"), 100).await?;
    hand_over(&net, work, &document).await;
    job_is(&net, job_id(work), JobState::Ended).await;
    assert_eq!(net.renter.job(job_id(work)).await?.map(|j| j.end), Some(JobEnd::Rejected));
    assert_eq!(net.balances().await?, (ONE, ONE));
    net.host.says_nothing.store(false, Ordering::Relaxed);
    net.stop_agent().await
}

/// A kill between forgetting an offer and cancelling it must not let it stand, nor be promised beside the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_was_being_cancelled_is_cancelled_after_a_restart() -> Outcome {
    let mut net = Net::start().await?;
    net.start_agent().await?;
    let hash = net.offer(Kind::Lease).await.offer.signing_hash(&net.renter.domain());
    net.stop_agent().await?;
    let store = net.open_store().await?;
    let standing = store.documents("standing-offer").get::<serde_json::Value>("machine").await?.ok_or("none stands")?;
    store.documents("leaving-offer").put("machine", &standing.value, Expect::Absent).await?;
    store.documents("standing-offer").delete("machine", Expect::Anything).await?;
    drop(store);
    let mut config = net::config();
    config.offers[0].price = Price(1_001);
    net.start_agent_with(config).await?;
    eventually("the offer to be cancelled", || async {
        matches!(net.renter.is_offer_cancelled(net.provider(), hash).await, Ok(true))
    })
    .await;
    eventually("another to stand", || async {
        let offers = net.outside.offers.lock().expect("not poisoned");
        offers.iter().filter(|o| o.offer.kind == Kind::Lease).count() == 2
    })
    .await;
    net.stop_agent().await
}

/// The agent is killed at ten random moments while a lease and jobs are under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_leave_no_machine_and_lose_no_money() -> Outcome {
    let mut net = Net::start().await?;
    net.start_agent().await?;
    let (lease, lease_document) = net.open(Kind::Lease, &machine(), 1_000).await?;
    let (first, first_document) = net.open(Kind::Job, &job("one"), 100).await?;
    let (second, second_document) = net.open(Kind::Job, &job("two"), 100).await?;
    let documents = [(lease, &lease_document), (first, &first_document), (second, &second_document)];

    // Spread by a fixed odd step, so that a failure can be repeated.
    let mut moment = 37u64;
    for kill in 0..10 {
        moment = (moment * 137 + 71) % 400;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        if let Some((id, document)) = documents.get(kill / 2) {
            hand_over(&net, *id, document).await;
        }
        net.kill_agent().await;
        net.start_agent().await?;
    }
    lease_is(&net, lease_id(lease), LeaseState::Active).await;
    accept(&net, job_id(first), "one").await?;
    accept(&net, job_id(second), "two").await?;
    for id in [first, second] {
        job_is(&net, job_id(id), JobState::Ended).await;
        assert_eq!(net.renter.job(job_id(id)).await?.map(|j| j.end), Some(JobEnd::Settled));
    }
    net.kill_agent().await;
    net.renter
        .submit(&TxKey::passing("close"), &Call::CloseLease { id: lease_id(lease), max_penalty: Amount::ZERO })
        .await?;
    net.start_agent().await?;
    eventually("no machine to be left", || async { net.host.names().is_empty() }).await;
    let record = net.renter.lease(lease_id(lease)).await?.ok_or("no lease")?;
    assert_eq!((record.state, record.end), (LeaseState::Ended, LeaseEnd::ClosedByRenter));
    let (renter, provider) = net.balances().await?;
    assert_eq!(renter + provider, 2 * ONE, "money appeared or vanished");
    assert!(provider >= ONE + 60 * 1_000 + 2 * 6_000, "the provider lost money");
    net.stop_agent().await
}
