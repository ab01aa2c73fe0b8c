//! What this person did: orders signed, leases named, documents to hand over. Written before anything is sent, so that a
//! client killed at any time can go on.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sublet_base::{Address, B256, JobId, LeaseId, Price, Seconds, UnixTime};
use sublet_market::Kind;
use sublet_store::{Documents, Expect, Store};

use crate::home::Home;
use crate::output::refuse;

/// An order of this person and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The order's EIP-712 digest; also the key.
    pub(crate) order: B256,
    /// Lease or job.
    pub(crate) kind: Kind,
    /// Who ordered.
    pub(crate) renter: Address,
    /// What people call it: a lease's name, a job's module.
    pub(crate) name: String,
    /// The canonical document to hand over.
    pub(crate) document: String,
    /// The most it may cost a second.
    pub(crate) max_price: Price,
    /// How long it is paid for.
    pub(crate) duration: Seconds,
    /// The chain's newest block when it was signed: nothing about it is in an earlier one.
    pub(crate) since: u64,
    /// Until when it may be filled.
    #[serde(default)]
    pub(crate) valid_until: UnixTime,
    /// The agreement, once it is open.
    pub(crate) opened: Option<Opened>,
    /// It was never filled and cannot be any more.
    #[serde(default)]
    pub(crate) over: bool,
}

/// The agreement an order became.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Number in the contract.
    pub(crate) id: u64,
    /// Who serves it.
    pub(crate) provider: Address,
    /// The transaction that opened it.
    pub(crate) transaction: B256,
}

/// The records of a home.
pub(crate) struct Records {
    orders: Documents,
    store: Store,
}

impl Records {
    /// Opens them, or starts them; other commands may have them open at the same time.
    pub(crate) async fn open(home: &Home) -> Result<Self> {
        sublet_daemon::create_private_dir(home.root())?;
        let store = Store::open_shared(&home.records()).await.context("the client's records cannot be opened")?;
        Ok(Self { orders: store.documents("order"), store })
    }

    /// Stores a record, replacing what was known of the same order.
    pub(crate) async fn put(&self, record: &Record) -> Result<()> {
        self.orders.put(&record.order.to_string(), record, Expect::Anything).await?;
        Ok(())
    }

    /// Every record of a kind, oldest agreement first, unopened orders last.
    pub(crate) async fn all(&self, kind: Kind) -> Result<Vec<Record>> {
        let mut records: Vec<Record> = self.list().await?;
        records.retain(|record| record.kind == kind);
        records.sort_by_key(|record| record.opened.map_or(u64::MAX, |opened| opened.id));
        Ok(records)
    }

    /// Orders whose end nobody has looked up: the command that made them went away too early.
    pub(crate) async fn unsure(&self) -> Result<Vec<Record>> {
        let mut records: Vec<Record> = self.list().await?;
        records.retain(|record| record.opened.is_none() && !record.over);
        Ok(records)
    }

    async fn list<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        Ok(self.orders.list().await?.into_iter().map(|document| document.value).collect())
    }

    /// The lease with this number or name. Of several with one name, the newest.
    pub(crate) async fn lease(&self, which: &str) -> Result<(LeaseId, Record, Opened)> {
        let number = which.parse::<LeaseId>().ok();
        let (record, opened) = self.find(Kind::Lease, which, number.map(|id| id.0), "sublet leases list").await?;
        Ok((LeaseId(opened.id), record, opened))
    }

    /// The job with this number, or the newest run of this module.
    pub(crate) async fn job(&self, which: &str) -> Result<(JobId, Record, Opened)> {
        let number = which.parse::<JobId>().ok();
        let (record, opened) = self.find(Kind::Job, which, number.map(|id| id.0), "sublet jobs list").await?;
        Ok((JobId(opened.id), record, opened))
    }

    async fn find(&self, kind: Kind, which: &str, number: Option<u64>, list: &str) -> Result<(Record, Opened)> {
        let records = self.all(kind).await?;
        let found = match number {
            Some(_) => records.iter().find(|r| r.opened.map(|o| o.id) == number),
            None => records.iter().rev().find(|r| r.name == which && r.opened.is_some()),
        };
        let Some(record) = found else {
            return refuse(format!("there is no {kind} `{which}` here"), format!("see `{list}`"));
        };
        match record.opened {
            Some(opened) => Ok((record.clone(), opened)),
            None if record.over => bail!("the order for {kind} `{which}` was never filled; nothing was paid"),
            None => bail!("the order for {kind} `{which}` is not filled yet"),
        }
    }

    /// Whether a lease of this name may still be running.
    pub(crate) async fn lease_named(&self, name: &str) -> Result<Option<Opened>> {
        Ok(self.all(Kind::Lease).await?.iter().rev().find(|r| r.name == name).and_then(|r| r.opened))
    }

    /// Closes the database.
    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}
