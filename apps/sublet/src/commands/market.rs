//! `sublet market`: what is on offer.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use sublet_base::{Address, Amount};
use sublet_wire::solver::{Kind, OfferQuery};

use crate::arguments::{address, price_of_hour};
use crate::home::Home;
use crate::offers::book;
use crate::output::{Advise, Output, table};
use crate::session::Session;

/// Flags of `sublet market`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet market\n  sublet market --kind lease --vcpus 2 --memory 4096 --max-price 0.5"
)]
pub(crate) struct Args {
    /// Machines to rent, or places to run jobs
    #[arg(long)]
    kind: Option<What>,
    /// At least so many virtual processors
    #[arg(long)]
    vcpus: Option<u32>,
    /// At least so much memory, MiB
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// At least so much disk, GiB
    #[arg(long, value_name = "GIB")]
    disk: Option<u32>,
    /// At most this price, SUB an hour
    #[arg(long, value_name = "SUB")]
    max_price: Option<Amount>,
    /// Only this provider's
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    provider: Option<Address>,
    /// Also offers that are full, or whose provider is offline
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Lease,
    Job,
}

impl Args {
    /// Asks every solver and prints what they have.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let session = Session::reader(home, output).await?;
        let query = OfferQuery {
            kind: self.kind.map(|kind| match kind {
                What::Lease => Kind::Lease,
                What::Job => Kind::Job,
            }),
            vcpus: self.vcpus,
            memory_mib: self.memory,
            disk_gib: self.disk,
            max_price: self.max_price.map(price_of_hour),
            provider: self.provider,
            all: self.all,
            ..OfferQuery::default()
        };
        let mut offers = Vec::new();
        for solver in session.solvers()? {
            offers.extend(book(&solver, &query).await.advise(|| "is `sublet up` running?".to_owned())?);
        }
        offers.sort_by_key(|view| view.offer.price);
        output.answer(&offers, || {
            if offers.is_empty() {
                return "nothing on offer fits".to_owned();
            }
            let mut rows = table(["KIND", "VCPUS", "MEMORY", "DISK", "SUB/HOUR", "FREE", "UP TO", "PROVIDER"]);
            for view in &offers {
                let (offer, size) = (&view.offer, &view.offer.resources);
                rows.add_row([
                    format!("{:?}", offer.kind).to_lowercase(),
                    size.vcpus.to_string(),
                    format!("{} MiB", size.memory_mib),
                    format!("{} GiB", size.disk_gib),
                    offer.price.per_hour().to_string(),
                    view.free.to_string(),
                    format!("{} h", offer.max_duration / 3600),
                    offer.provider.to_string(),
                ]);
            }
            rows.to_string()
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
