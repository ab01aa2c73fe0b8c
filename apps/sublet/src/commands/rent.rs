//! `sublet rent`: a machine of one's own, paid by the second.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use sublet_base::{Address, Amount, B256, GiB, LeaseId, MachineId, MiB, Price, Seconds, Vcpus};
use sublet_chain::{LeaseState, Ledger};
use sublet_market::{ImageRef, Kind, MachineRequest, Network, Resources, Traits, WorkloadDocument};

use crate::arguments::{address, duration, price_of_hour};
use crate::home::Home;
use crate::leases::{bring_up, login_key};
use crate::limits::Limits;
use crate::modules::image_digest;
use crate::ordering;
use crate::output::{Output, refuse};
use crate::patience::{patiently, unless_interrupted};
use crate::records::Records;
use crate::session::{As, Session};
use crate::wish::{Check, Wish};

/// Flags of `sublet rent`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet rent --name web\n  sublet rent --name big --vcpus 2 --memory 2048 --disk 10 --for 4h\n  sublet rent --name web --max-price 0.5 --ssh-key ~/.ssh/id_ed25519.pub"
)]
pub(crate) struct Args {
    /// What to call it: a-z, 0-9 and -; also its host name
    #[arg(long, default_value = "machine")]
    name: MachineId,
    /// Virtual processors
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    vcpus: u32,
    /// Memory, MiB; at least 96, to log in to a virtual machine
    #[arg(long, default_value_t = 512, value_name = "MIB", value_parser = clap::value_parser!(u32).range(96..))]
    memory: u32,
    /// Disk, GiB
    #[arg(long, default_value_t = 2, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..))]
    disk: u32,
    /// Image, by name or NAME@sha256:DIGEST
    #[arg(long, default_value = "debian-12")]
    image: String,
    /// How long to pay for at first: 90s, 15m, 4h or 2d; what is not used comes back
    #[arg(long = "for", default_value = "1h", value_parser = duration, value_name = "TIME")]
    duration: Seconds,
    /// At most this price, SUB an hour; the cheapest offer that fits otherwise
    #[arg(long, value_name = "SUB")]
    max_price: Option<Amount>,
    /// Put up with an offer that charges for up to this long, however early it is closed; 10m otherwise, or what `--for` says
    #[arg(long, value_parser = duration, value_name = "TIME")]
    max_min_charge: Option<Seconds>,
    /// Public key that may log in, besides the one `sublet ssh` uses; may be repeated
    #[arg(long, value_name = "FILE")]
    ssh_key: Vec<PathBuf>,
    /// Only this provider
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    provider: Option<Address>,
    #[command(flatten)]
    who: As,
}

#[derive(Serialize)]
struct Answer {
    lease: LeaseId,
    name: MachineId,
    provider: Address,
    price: Price,
    price_per_hour: Amount,
    locked: Amount,
    opened_by: B256,
    ssh_host_key: String,
}

impl Args {
    /// Orders the machine and waits until it can be logged in to.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        if self.name.as_str().parse::<LeaseId>().is_ok() {
            return refuse(
                format!("`{}` would be taken for a lease's number", self.name),
                "call the machine something else with --name",
            );
        }
        let wallet = self.who.wallet(home)?;
        let session = Session::reader(home, output).await?;
        let records = Records::open(home).await?;
        ordering::catch_up(&session, &records).await?;
        self.refuse_taken_name(&session, &records).await?;
        let wish = self.wish(home)?;
        let progress = output.progress("looking for a machine");
        let ordering = ordering::open(&session, &wallet, &records, wish, &progress);
        let (record, opened) = unless_interrupted(ordering, || ordering::left_behind(Kind::Lease)).await?;
        let id = LeaseId(opened.id);
        let left = || {
            format!(
                "{id} stays open and is paid for: see `sublet leases list`, or end it with `sublet leases close {id}`"
            )
        };
        let lease = patiently(&progress, async || Ok(session.ledger.lease(id).await?));
        let lease = unless_interrupted(lease, left).await?;
        let lease = lease.with_context(|| format!("the chain knows no {id}"))?;
        progress.step(format!("{id} is open at {}", lease.price));
        let up = unless_interrupted(bring_up(&session, &wallet, &record, opened, &progress), left).await;
        progress.done();
        records.close().await;
        let host_key = up?;
        let answer = Answer {
            lease: id,
            name: self.name,
            provider: opened.provider,
            price: lease.price,
            price_per_hour: lease.price.per_hour(),
            locked: lease.price.over(lease.duration)?,
            opened_by: opened.transaction,
            ssh_host_key: host_key.to_string(),
        };
        let terms = Limits::of(&lease).warning(Kind::Lease);
        output.answer(&answer, || {
            format!(
                "{} is up as {id}: {}{}, {} SUB locked for {}\nlog in with   sublet ssh {}\nend it with   sublet leases close {}",
                answer.name, answer.price, terms, answer.locked, lease.duration, answer.name, answer.name
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn refuse_taken_name(&self, session: &Session, records: &Records) -> Result<()> {
        let Some(opened) = records.lease_named(self.name.as_str()).await? else { return Ok(()) };
        let lease = session.ledger.lease(LeaseId(opened.id)).await?;
        if lease.is_some_and(|lease| lease.state != LeaseState::Ended) {
            let id = LeaseId(opened.id);
            return refuse(
                format!("you have a machine called `{}` already, {id}", self.name),
                "give this one another name with --name",
            );
        }
        Ok(())
    }

    fn wish(&self, home: &Home) -> Result<Wish> {
        let digest = image_digest(&self.image, None)?;
        let name = self.image.split_once('@').map_or(self.image.as_str(), |(name, _)| name);
        let mut ssh_keys = vec![login_key(home)?];
        for file in &self.ssh_key {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            ssh_keys.push(text.trim().to_owned());
        }
        let resources = Resources {
            vcpus: Vcpus(self.vcpus),
            memory: MiB(self.memory),
            disk: GiB(self.disk),
            gpus: 0,
            traits: Traits::NONE,
        };
        let image = ImageRef { name: name.to_owned(), digest };
        let request = MachineRequest { name: self.name.clone(), image, resources, ssh_keys, network: Network::None };
        let (document, workload) = request.seal()?;
        Ok(Wish {
            kind: Kind::Lease,
            name: self.name.to_string(),
            resources,
            max_price: self.max_price.map(price_of_hour),
            bounds: Limits::of_lease(self.duration, self.max_min_charge),
            duration: self.duration,
            check: Check::none(),
            challenge_window: Seconds(0),
            provider: self.provider,
            document,
            workload,
        })
    }
}
