//! A lease and a job from signed documents to the last unit, on a real chain.

mod common;

use common::{Net, Outcome, offer, order};
use sublet_base::{Amount, B256, JobId, LeaseId, Seconds};
use sublet_chain::{Call, Event, JobEnd, JobState, LeaseEnd, LeaseState, Ledger, Refusal, SubmitError, TxKey};
use sublet_market::{Acceptance, Class, InvalidDocument, Kind, MAX_EXACT, MediatorSetId, Offer, Order, TypedData};

fn tokens(amount: Amount) -> u128 {
    amount.0 / Amount::tokens(1).0
}

#[tokio::test]
async fn a_lease_is_opened_run_settled_and_closed() -> Outcome {
    let net = Net::start().await?;
    let (provider, provider_key) = net.provider("provider").await?;
    let (renter, renter_key) = net.person("renter", 500).await?;
    let (solver, _) = net.person("solver", 0).await?;
    let offered = offer(&provider, &provider_key, Kind::Lease).await?;
    let ordered = order(&renter, &renter_key, Kind::Lease, 100, 1).await?;
    let (offer_hash, order_hash) =
        (offered.offer.signing_hash(&renter.domain()), ordered.order.signing_hash(&renter.domain()));

    let opening = Call::Open(Box::new((offered, ordered)));
    assert_eq!(solver.check(&opening).await?, Ok(()));
    let landed = solver.submit(&TxKey::lasting("open"), &opening).await?;
    let opened =
        landed.find(|e| if let Event::LeaseOpened(o) = e { Some((**o).clone()) } else { None }).ok_or("not opened")?;
    assert_eq!((opened.offer, opened.order), (offer_hash, order_hash), "our hashes are not the contract's");
    assert_eq!((opened.escrow, opened.pledge), (Amount::tokens(100), Amount::tokens(100)));
    assert_eq!(
        (renter.free_of(renter_key.address()).await?, provider.open_count(offer_hash).await?),
        (Amount::tokens(400), 1)
    );

    let id = LeaseId(landed.opened().ok_or("no number")?);
    provider.submit(&TxKey::passing("start"), &Call::StartLease(id)).await?;
    net.pass(20).await?;
    provider.submit(&TxKey::passing("beat"), &Call::Beat).await?;
    let lease = renter.lease(id).await?.ok_or("no lease")?;
    assert_eq!((lease.state, lease.end, lease.renter), (LeaseState::Active, LeaseEnd::None, renter_key.address()));
    assert!(lease.owed_seconds >= Seconds(20), "owes {}", lease.owed_seconds);
    let settled = provider.submit(&TxKey::passing("settle"), &Call::SettleLease(id)).await?;
    let paid = settled
        .find(|e| if let Event::LeaseSettled { paid, .. } = e { Some(*paid) } else { None })
        .ok_or("not paid")?;
    assert!(paid >= Amount::tokens(20), "paid {paid}");
    let closed = renter.submit(&TxKey::passing("close"), &Call::CloseLease { id, max_penalty: Amount::ZERO }).await?;
    let (end, split) = closed
        .find(|e| if let Event::LeaseEnded { end, split, .. } = e { Some((*end, *split)) } else { None })
        .ok_or("not ended")?;
    assert_eq!(end, LeaseEnd::ClosedByRenter);
    assert_eq!(split.pledge_back, Amount::tokens(100));
    let (renter_has, provider_has) =
        (renter.free_of(renter_key.address()).await?, provider.free_of(provider_key.address()).await?);
    assert_eq!(tokens(renter_has) + tokens(provider_has), 1500, "money appeared or vanished");
    assert_eq!(renter_has, Amount::tokens(400).plus(split.refunded)?);
    provider.submit(&TxKey::passing("out"), &Call::Withdraw(provider_has)).await?;
    assert_eq!(provider.token_balance(provider_key.address()).await?, provider_has);
    Ok(())
}

#[tokio::test]
async fn a_job_is_settled_by_the_renters_signature() -> Outcome {
    let net = Net::start().await?;
    let (provider, provider_key) = net.provider("provider").await?;
    let (renter, renter_key) = net.person("renter", 500).await?;
    let pair =
        (offer(&provider, &provider_key, Kind::Job).await?, order(&renter, &renter_key, Kind::Job, 100, 1).await?);
    let id =
        JobId(renter.submit(&TxKey::lasting("open"), &Call::Open(Box::new(pair))).await?.opened().ok_or("no number")?);
    let submit = Call::SubmitJob { job: id, result: B256::repeat_byte(5), used: Seconds(40) };
    net.pass(40).await?;
    provider.submit(&TxKey::lasting("submit"), &submit).await?;
    let job = renter.job(id).await?.ok_or("no job")?;
    assert_eq!((job.state, job.result, job.used), (JobState::Submitted, Some(B256::repeat_byte(5)), Seconds(40)));

    let acceptance = Acceptance { job: id, result_hash: B256::repeat_byte(5), cost: Amount::tokens(40) };
    let forged = Call::SettleJob(provider_key.sign_acceptance(acceptance.clone(), &renter.domain())?);
    let refused = provider.submit(&TxKey::passing("forged"), &forged).await;
    assert!(matches!(&refused, Err(SubmitError::Refused(Refusal::AcceptanceBadSignature { .. }))), "{refused:?}");
    let signed = Call::SettleJob(renter_key.sign_acceptance(acceptance, &renter.domain())?);
    let landed = provider.submit(&TxKey::lasting("settle"), &signed).await?;
    assert!(landed.events.iter().any(|e| matches!(e, Event::JobEnded { end: JobEnd::Settled, .. })));
    assert_eq!(provider.free_of(provider_key.address()).await?, Amount::tokens(1040));
    assert_eq!(renter.free_of(renter_key.address()).await?, Amount::tokens(460));
    assert_eq!(renter.job(JobId(99)).await?, None);
    Ok(())
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong_and_costs_nothing() -> Outcome {
    let net = Net::start().await?;
    let (provider, provider_key) = net.provider("provider").await?;
    let (renter, renter_key) = net.person("renter", 60).await?;
    let offered = offer(&provider, &provider_key, Kind::Lease).await?;
    let gas = renter.gas_balance(renter_key.address()).await?;
    let dear = order(&renter, &renter_key, Kind::Lease, 100, 1).await?;
    let error = renter
        .submit(&TxKey::passing("open"), &Call::Open(Box::new((offered.clone(), dear))))
        .await
        .err()
        .ok_or("it opened")?;
    let sentence = error.refusal().map(ToString::to_string).ok_or("no reason")?;
    assert!(sentence.contains("100 SUB is needed, 60 SUB is free, 40 SUB is missing"), "{sentence}");
    assert!(!error.is_retryable());
    let mut foreign = order(&renter, &renter_key, Kind::Lease, 10, 2).await?;
    foreign.order.duration = Seconds(11);
    let answer = renter.check(&Call::Open(Box::new((offered.clone(), foreign)))).await?;
    assert!(matches!(answer, Err(Refusal::OrderBadSignature { .. })), "{answer:?}");
    let answer = renter.check(&Call::StartLease(LeaseId(7))).await?;
    assert!(answer.is_err());
    // What mediators would have to run again for too long: the same to the second here and there.
    let set = MediatorSetId(1);
    let long = Offer { kind: Kind::Job, mediator_set: set, max_duration: Seconds(u32::MAX), ..offered.offer };
    let long = provider_key.sign_offer(long, &renter.domain())?;
    for (duration, too_long) in [(MAX_EXACT.0, false), (MAX_EXACT.0 + 1, true)] {
        let exact = order(&renter, &renter_key, Kind::Job, duration, 3).await?.order;
        let exact = Order { class: Class::Exact, mediator_set: set, ..exact };
        assert_eq!(exact.check() == Err(InvalidDocument::TooLongToJudge), too_long);
        let exact = renter_key.sign_order(exact, &renter.domain())?;
        let answer = renter.check(&Call::Open(Box::new((long.clone(), exact)))).await?;
        let refused = matches!(&answer, Err(Refusal::OutOfRange { what, .. }) if what == "duration");
        assert_eq!(refused, too_long, "{answer:?}");
    }
    assert_eq!(renter.gas_balance(renter_key.address()).await?, gas, "a refused call cost gas");
    assert_eq!(
        net.faucet.give(renter_key.address(), Amount::tokens(2_000_000)).await.err().and_then(|e| e.refusal().cloned()),
        Some(Refusal::FaucetCap {
            account: renter_key.address(),
            left: Amount::tokens(999_940),
            asked: Amount::tokens(2_000_000)
        })
    );
    Ok(())
}
