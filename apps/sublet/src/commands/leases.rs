//! `sublet leases`: the machines rented from this home, what they cost so far, and ending them.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Serialize;
use sublet_base::{Amount, B256, LeaseId, Seconds};
use sublet_chain::{Call, Event, LeaseEnd, LeaseRecord, LeaseState, Ledger, TxKey};
use sublet_market::Kind;

use crate::arguments::duration;
use crate::home::Home;
use crate::ordering;
use crate::output::{Output, table};
use crate::records::{Record, Records};
use crate::session::{As, Session, tx_key};

/// Flags of `sublet leases`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet leases list\n  sublet leases show web\n  sublet leases top-up web 2h\n  sublet leases close web"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the machines rented from this home
    List {
        /// Also the ones that ended
        #[arg(long)]
        all: bool,
    },
    /// Show one machine: its state, what it cost so far, how long the money lasts
    Show {
        /// Name, or number like lease-3
        lease: String,
    },
    /// Buy more time
    TopUp {
        /// Name or number
        lease: String,
        /// How much: 90s, 15m, 4h or 2d
        #[arg(value_parser = duration)]
        time: Seconds,
        #[command(flatten)]
        who: As,
    },
    /// End it: the machine is deleted, and what was not used comes back
    Close {
        /// Name or number
        lease: String,
        #[command(flatten)]
        who: As,
    },
}

#[derive(Serialize)]
struct View {
    lease: LeaseId,
    name: String,
    state: LeaseState,
    end: LeaseEnd,
    provider: sublet_base::Address,
    /// Token units a second.
    price: sublet_base::Price,
    price_per_hour: Amount,
    /// Paid and owed until now, token units.
    cost_so_far: Amount,
    /// What closing it costs in all, however early, token units.
    at_least: Amount,
    /// Still locked and not owed, token units.
    left: Amount,
    /// How long that lasts.
    runway: Seconds,
    opened_by: B256,
}

#[derive(Serialize)]
struct Closed {
    lease: LeaseId,
    end: LeaseEnd,
    /// To the provider in all, token units.
    paid: Amount,
    /// Back to the renter, token units.
    refunded: Amount,
    transaction: B256,
}

impl Args {
    /// Runs the action.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let session = Session::reader(home, output).await?;
        let records = Records::open(home).await?;
        ordering::catch_up(&session, &records).await?;
        match self.action {
            Action::List { all } => list(&session, &records, all).await?,
            Action::Show { lease } => {
                let (id, record, _) = records.lease(&lease).await?;
                let view = view(&session, &record, id).await?;
                output.answer(&view, || describe(&view))?;
            }
            Action::TopUp { lease, time, who } => top_up(&session, &records, &lease, time, &who).await?,
            Action::Close { lease, who } => close(&session, &records, &lease, &who).await?,
        }
        records.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn view(session: &Session, record: &Record, id: LeaseId) -> Result<View> {
    let lease = session.ledger.lease(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    let opened_by = record.opened.map(|opened| opened.transaction).unwrap_or_default();
    let owed = lease.price.over(lease.owed_seconds)?;
    let left = lease.escrow.minus(owed).unwrap_or(Amount::ZERO);
    let used = Seconds(lease.paid_seconds.0.saturating_add(lease.owed_seconds.0));
    let runway = left.0.checked_div(lease.price.0).unwrap_or(0);
    Ok(View {
        lease: id,
        name: record.name.clone(),
        state: lease.state,
        end: lease.end,
        provider: lease.provider,
        price: lease.price,
        price_per_hour: lease.price.per_hour(),
        cost_so_far: lease.price.over(used)?,
        at_least: lease.price.over(lease.min_charge.min(lease.duration))?,
        left,
        runway: Seconds(u32::try_from(runway).unwrap_or(u32::MAX)),
        opened_by,
    })
}

fn describe(view: &View) -> String {
    let least = if view.cost_so_far < view.at_least {
        format!(" (at least {} SUB in the end)", view.at_least)
    } else {
        String::new()
    };
    let state = if view.state == LeaseState::Ended { view.end.to_string() } else { view.state.to_string() };
    format!(
        "{} ({})\nstate        {state}\nprice        {}\ncost so far  {} SUB{least}\nleft         {} SUB, {} of running\nprovider     {}",
        view.name,
        view.lease,
        view.price,
        view.cost_so_far,
        view.left,
        people(view.runway),
        view.provider
    )
}

/// `2 h 5 min`, `40 s`.
fn people(time: Seconds) -> String {
    match (time.0 / 3600, time.0 / 60 % 60) {
        (0, 0) => format!("{} s", time.0),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

async fn list(session: &Session, records: &Records, all: bool) -> Result<()> {
    let mut views = Vec::new();
    for record in records.all(Kind::Lease).await? {
        if let Some(opened) = record.opened {
            let view = view(session, &record, LeaseId(opened.id)).await?;
            if all || view.state != LeaseState::Ended {
                views.push(view);
            }
        }
    }
    session.output.answer(&views, || {
        if views.is_empty() {
            return "no machines rented; try `sublet rent --name web`".to_owned();
        }
        let mut rows = table(["NAME", "LEASE", "STATE", "SUB/HOUR", "COST SO FAR", "LASTS"]);
        for view in &views {
            rows.add_row([
                view.name.clone(),
                view.lease.to_string(),
                view.state.to_string(),
                view.price_per_hour.to_string(),
                view.cost_so_far.to_string(),
                people(view.runway),
            ]);
        }
        rows.to_string()
    })
}

async fn top_up(session: &Session, records: &Records, which: &str, time: Seconds, who: &As) -> Result<()> {
    let (id, record, _) = records.lease(which).await?;
    let wallet = who.wallet(&session.home)?;
    let lease = session.ledger.lease(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    session.require_free(wallet.address(), lease.price.over(time)?).await?;
    let sender = Session::sender(&session.home, session.output, wallet).await?;
    let progress = session.output.progress(format!("topping {id} up"));
    sender.ledger.submit(&tx_key("top-up"), &Call::TopUpLease(id, time)).await?;
    progress.done();
    let view = view(session, &record, id).await?;
    session.output.answer(&view, || describe(&view))
}

async fn close(session: &Session, records: &Records, which: &str, who: &As) -> Result<()> {
    let (id, record, _) = records.lease(which).await?;
    let lease = session.ledger.lease(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    let call = match lease.state {
        LeaseState::Active => Call::CloseLease { id, max_penalty: Amount::ZERO },
        LeaseState::Open => Call::CancelLease(id),
        LeaseState::Ended => bail!("{id} has ended already: {}", lease.end),
        LeaseState::None => bail!("the chain knows no {id}"),
    };
    let wallet = who.wallet(&session.home)?;
    let sender = Session::sender(&session.home, session.output, wallet).await?;
    let progress = session.output.progress(format!("closing {id}"));
    let landed = sender.ledger.submit(&TxKey::passing(format!("close {id}")), &call).await?;
    progress.done();
    let closed = closed(session, &record, &lease, id, &landed).await?;
    session.output.answer(&closed, || {
        format!(
            "{} ({id}) is {}: {} SUB paid, {} SUB came back (transaction {})",
            record.name, closed.end, closed.paid, closed.refunded, closed.transaction
        )
    })
}

/// What was paid in all: every settlement of the lease, and the last part with its end.
async fn closed(
    session: &Session,
    record: &Record,
    lease: &LeaseRecord,
    id: LeaseId,
    landed: &sublet_chain::Landed,
) -> Result<Closed> {
    let mut paid = Amount::ZERO;
    let mut ended = None;
    for located in session.ledger.events(record.since, landed.block.number).await? {
        match located.event {
            Event::LeaseSettled { id: which, paid: part, .. } if which == id => paid = paid.plus(part)?,
            Event::LeaseEnded { id: which, end, split } if which == id => ended = Some((end, split)),
            _ => {}
        }
    }
    let (end, split) = ended.with_context(|| format!("{id} of {} has not ended", lease.renter))?;
    Ok(Closed { lease: id, end, paid: paid.plus(split.paid)?, refunded: split.refunded, transaction: landed.tx })
}
