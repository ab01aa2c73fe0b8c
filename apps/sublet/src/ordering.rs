//! From a wish to an agreement: sign an order, post it to the solvers, wait until one opens it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sublet_base::{B256, Seconds};
use sublet_chain::{Event, Ledger, Located, Wallet};
use sublet_client::solver::{SolverClient, SolverError};
use sublet_market::{Kind, SignedOrder, TypedData};
use sublet_wire::solver::{Cancel, OrderState, OrderView, Refusal, SignedCancel};
use tokio::time::{Instant, sleep};

use crate::offers::terms_for;
use crate::output::{Advise, Progress, refuse};
use crate::patience::{chain_is_away, patiently};
use crate::records::{Opened, Record, Records};
use crate::session::Session;
use crate::wish::Wish;

/// How long an order that nothing fits stays on the book before the command gives up and takes it back.
const PATIENCE: Duration = Duration::from_secs(20);
/// Validity of an order, seconds; longer than the patience, because opening takes some blocks.
const VALID_FOR: Seconds = Seconds(300);
/// Pause while something is away.
const AWAY: Duration = Duration::from_secs(1);

/// Signs the order, records it, posts it and waits for the agreement.
pub(crate) async fn open(
    session: &Session,
    wallet: &Wallet,
    records: &Records,
    wish: Wish,
    progress: &Progress,
) -> Result<(Record, Opened)> {
    let (max_price, limits) = terms_for(session, &wish).await?;
    let escrow = max_price.over(wish.duration)?;
    session.require_free(wallet.address(), escrow).await?;
    progress.step(format!("ordering at {max_price} at most{}", limits.warning(wish.kind)));

    let peer_key = session.link_key()?.peer_key();
    let head = session.ledger.head().await?;
    let order = wish.order(wallet.address(), (max_price, limits), peer_key, head.time.plus(VALID_FOR));
    let signed = wallet.sign_order(order, &session.ledger.domain())?;
    let hash = signed.order.signing_hash(&session.ledger.domain());
    let mut record = Record {
        order: hash,
        kind: wish.kind,
        renter: wallet.address(),
        name: wish.name,
        document: String::from_utf8(wish.document)?,
        max_price,
        duration: wish.duration,
        since: head.block.number,
        valid_until: signed.order.valid_until,
        opened: None,
        over: false,
    };
    records.put(&record).await?;
    let solver = post(session, &signed).await?;
    let opened = wait(session, wallet, &solver, &record, progress).await?;
    record.opened = Some(opened);
    records.put(&record).await?;
    Ok((record, opened))
}

/// The first solver that takes the order. A refusal that says something about the order ends the search: others would refuse it too.
async fn post(session: &Session, signed: &SignedOrder) -> Result<SolverClient> {
    let wire = signed.clone().into();
    let mut last = None;
    for solver in session.solvers()? {
        match solver.post_order(&wire).await {
            Ok(_) => return Ok(solver),
            Err(SolverError::Refused(refusal)) if !refusal.code.is_about_the_solver() => return refused(refusal),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(SolverError::Refused(refusal)) => refused(refusal),
        Some(error) => Err(error).advise(|| {
            let list = if signed.order.kind == Kind::Lease { "sublet leases list" } else { "sublet jobs list" };
            format!(
                "is `sublet up` running? should a solver have the order all the same, `{list}` shows what came of it"
            )
        }),
        None => bail!("network.json names no solver"),
    }
}

fn refused<T>(refusal: Refusal) -> Result<T> {
    let remedy = refusal.remedy.clone();
    Err(anyhow::Error::new(refusal).context("the solver refuses the order")).advise(|| remedy)
}

/// Waits until the order is open. Gives up, and takes the order back, when nothing fits for too long.
async fn wait(
    session: &Session,
    wallet: &Wallet,
    solver: &SolverClient,
    record: &Record,
    progress: &Progress,
) -> Result<Opened> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let view = match solver.order(record.order).await {
            Ok(view) => view,
            Err(error) if error.is_retryable() => {
                progress.step("the solver does not answer; waiting");
                match on_chain(session, record, progress).await? {
                    Became::Agreement(opened) => return Ok(opened),
                    Became::Nothing => {
                        let over = "the order expired before anybody filled it; nothing was paid";
                        return Err(anyhow::Error::new(error).context(over));
                    }
                    Became::NotYet => {}
                }
                sleep(AWAY).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match view.state {
            // The solver may be wrong, or lie to have another agreement paid: only the chain says what the order became.
            OrderState::Opened { agreement } => match on_chain(session, record, progress).await? {
                Became::Agreement(opened) => return Ok(opened),
                Became::Nothing => bail!(
                    "the solver says that the order became agreement {}, but the chain knows nothing of it; nothing was paid",
                    agreement.id
                ),
                Became::NotYet => progress.step("opened, says the solver; waiting to see it on chain"),
            },
            OrderState::Opening { .. } => progress.step("matched; opening the agreement on chain"),
            OrderState::Waiting { reasons } if reasons.is_empty() || Instant::now() < deadline => {
                progress.step("waiting for an offer that fits");
            }
            OrderState::Waiting { reasons } => {
                match take_back(session, wallet, solver, record.order).await {
                    Ok(_) => {}
                    Err(error) if chain_is_away(&error) => {
                        progress.step("the chain does not answer; waiting for it");
                        sleep(AWAY).await;
                        continue;
                    }
                    Err(_) => {
                        // It may have been matched this very moment: look again before giving up.
                        sleep(Duration::from_millis(500)).await;
                        continue;
                    }
                }
                let why: Vec<_> = reasons.iter().map(|r| format!("\n  - {}", r.message)).collect();
                return refuse(
                    format!("nobody can fill the order:{}", why.concat()),
                    "nothing was paid; see `sublet market`, and ask for less or offer a higher --max-price",
                );
            }
            OrderState::Failed { reason } => bail!("the order failed: {reason}"),
            OrderState::Expired => bail!("the order expired before anybody filled it; nothing was paid"),
            OrderState::Cancelled => bail!("the order was cancelled; nothing was paid"),
        }
        sleep(Duration::from_millis(150)).await;
    }
}

/// What the chain says of an order.
enum Became {
    Agreement(Opened),
    NotYet,
    /// Its time is over.
    Nothing,
}

async fn on_chain(session: &Session, record: &Record, progress: &Progress) -> Result<Became> {
    // The time first: whatever was filled before it is in the events.
    let (head, events) = patiently(progress, async || {
        let head = session.ledger.head().await?;
        Ok((head, session.ledger.events(record.since, head.block.number).await?))
    })
    .await?;
    Ok(match became(&events, record.order) {
        Some(opened) => Became::Agreement(opened),
        None if head.time > record.valid_until => Became::Nothing,
        None => Became::NotYet,
    })
}

/// The agreement that an order became.
fn became(events: &[Located], order: B256) -> Option<Opened> {
    events.iter().find_map(|located| {
        let (id, provider) = match &located.event {
            Event::LeaseOpened(e) if e.order == order => (e.id.0, e.provider),
            Event::JobOpened(e) if e.order == order => (e.id.0, e.provider),
            _ => return None,
        };
        Some(Opened { id, provider, transaction: located.tx })
    })
}

/// What an interrupted command may leave on the books.
pub(crate) fn left_behind(kind: Kind) -> String {
    let list = if kind == Kind::Lease { "sublet leases list" } else { "sublet jobs list" };
    format!("if the order is out it may still be filled within {VALID_FOR}: `{list}` shows what becomes of it")
}

/// Finds out what became of orders whose command ended before it knew: filled all the same, or over.
pub(crate) async fn catch_up(session: &Session, records: &Records) -> Result<()> {
    let unsure = records.unsure().await?;
    let Some(since) = unsure.iter().map(|record| record.since).min() else { return Ok(()) };
    let head = session.ledger.head().await?;
    let events = session.ledger.events(since, head.block.number).await?;
    for mut record in unsure {
        record.opened = became(&events, record.order);
        record.over = record.opened.is_none() && head.time > record.valid_until;
        if record.opened.is_some() || record.over {
            records.put(&record).await?;
        }
    }
    Ok(())
}

/// Asks the solver to forget the order.
pub(crate) async fn take_back(
    session: &Session,
    wallet: &Wallet,
    solver: &SolverClient,
    hash: B256,
) -> Result<OrderView> {
    let valid_until = session.ledger.head().await?.time.plus(VALID_FOR);
    let digest = Cancel { document: hash, valid_until }.signing_hash(&session.ledger.domain());
    let cancel = SignedCancel { valid_until: valid_until.0, signature: wallet.sign_digest(digest)?.to_string() };
    solver.cancel_order(hash, &cancel).await.context("the solver does not take the order back")
}
