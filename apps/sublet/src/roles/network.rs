//! A whole network from one command: what `sublet up` starts, in the order it depends on each other.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sublet_base::{Address, Price};
use sublet_chain::Depth;
use sublet_client::{HostClient, SolverClient};
use sublet_daemon::{BoxError, Supervisor};
use sublet_market::{Kind, MediatorSetId};
use sublet_provider::{OfferConfig, ProviderConfig};
use sublet_wire::host::HostReport;
use sublet_wire::solver::OfferQuery;
use sublet_wire::workload::room;

use super::gateway::GatewayFlags;
use super::host::{HostFlags, Kinds};
use super::solver::SolverFlags;
use super::{chain, court, gateway, host, local, provider, solver};
use crate::home::{Home, Network};
use crate::offers::book;
use crate::output::{Progress, refuse};

/// Stopping the chain means writing its state.
const CHAIN_GRACE: Duration = Duration::from_secs(30);
/// A provider goes offline on chain and lets work end.
const PROVIDER_GRACE: Duration = Duration::from_secs(20);
const HOST_GRACE: Duration = Duration::from_secs(20);

/// Where chain, gateway and solver listen on loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    chain: u16,
    gateway: u16,
    solver: u16,
}

/// Which ports to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Those of the last time, else free ones.
    Remembered,
    /// Three from here on; 0 means free ones.
    From(u16),
}

impl Ports {
    /// The ports for this start.
    pub(crate) fn choose(home: &Home, choice: Choice) -> Result<Self> {
        match choice {
            Choice::From(0) => Ok(Self::default()),
            Choice::From(first) => {
                let too_high = || format!("there are no three ports from {first} on");
                let last = first.checked_add(2).with_context(too_high)?;
                Ok(Self { chain: first, gateway: first + 1, solver: last })
            }
            Choice::Remembered => {
                let Ok(network) = home.network() else { return Ok(Self::default()) };
                let port =
                    |url: &String| url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok());
                Ok(Self {
                    chain: port(&network.rpc).unwrap_or(0),
                    gateway: network.relays.first().and_then(port).unwrap_or(0),
                    solver: network.solvers.first().and_then(port).unwrap_or(0),
                })
            }
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What is rented out, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// How many providers, each with a host of its own.
    pub(crate) providers: usize,
    /// How many mediators judge its jobs, on a host of theirs.
    pub(crate) mediators: usize,
    /// Real machines or none.
    pub(crate) kinds: Kinds,
}

/// Names and prices of the local providers, token units a second, cheapest first.
const PROVIDERS: [(&str, Price); 4] = [
    ("birch", Price(100_000_000_000_000)),
    ("cedar", Price(150_000_000_000_000)),
    ("fir", Price(200_000_000_000_000)),
    ("oak", Price(250_000_000_000_000)),
];
/// Most providers of a local network.
pub(crate) const MOST_PROVIDERS: usize = PROVIDERS.len();

/// A network that is up.
pub(crate) struct Up {
    pub(crate) network: Network,
    pub(crate) renter: Address,
    /// Who judges disputes; 0 for nobody.
    pub(crate) mediator_set: MediatorSetId,
    /// What cannot be rented out on this computer, and why, if there is anything.
    pub(crate) lacking: Option<String>,
}

/// Starts everything, but no gateway when `relay` names one; what was started is in `tasks` even if this fails or is
/// dropped half-way.
pub(crate) async fn start(
    home: &Home,
    ports: Ports,
    relay: Option<String>,
    block_seconds: u32,
    scale: Scale,
    tasks: &mut Supervisor,
    progress: &Progress,
) -> Result<Up> {
    progress.step("starting the chain");
    let chain = chain::start(home, ports.chain, block_seconds).await?;
    let rpc = chain.url().to_owned();
    tasks.spawn_with_grace("chain", CHAIN_GRACE, |stop| chain::keep(chain, stop));
    progress.step("deploying the contracts");
    let deployed = chain::contracts(home, &rpc).await?;

    let relays = match relay {
        Some(relay) => vec![relay],
        None => vec![spawn_gateway(home, ports, tasks, progress).await?],
    };

    let (chain_id, contract, token) = (deployed.chain_id, deployed.contract, deployed.token);
    let mut network = Network { rpc, chain_id, contract, token, depth: Depth::Newest, solvers: Vec::new(), relays };
    progress.step("giving the local accounts gas and tokens");
    let renter = local::account(home, "default")?;
    let solver = local::account(home, "solver")?;
    let named = &PROVIDERS[..scale.providers.min(MOST_PROVIDERS)];
    let sellers = named.iter().map(|(name, _)| local::account(home, name)).collect::<Result<Vec<_>>>()?;
    let judges = court::NAMES.iter().take(scale.mediators).map(|name| local::account(home, name));
    let judges = judges.collect::<Result<Vec<_>>>()?;
    local::fund(home, &network, [&renter, &solver].into_iter().chain(&sellers).chain(&judges)).await?;

    progress.step("starting the solver");
    let flags = SolverFlags { listen: Some(loopback(ports.solver)) };
    let solver = solver::start(home, &network, solver, None, &flags, other_port).await?;
    network.solvers.push(format!("http://{}", solver.address()));
    tasks.spawn("solver", |stop| async move { solver.serve(stop).await.map_err(BoxError::from) });
    home.remember(&network)?;

    let mediator_set = court::set(home, &network, &judges).await?;
    let mut offers = Vec::new();
    for ((name, price), wallet) in named.iter().zip(sellers) {
        progress.step(format!("starting host and provider {name}"));
        let socket = spawn_host(home, name, scale, tasks).await?;
        let config = for_rent(&network, name, *price, mediator_set, deployed.block)?;
        offers.clone_from(&config.offers);
        let provider = provider::start(home, &network, &format!("provider-{name}"), wallet, &socket, config).await?;
        tasks.spawn_with_grace("provider", PROVIDER_GRACE, |stop| async move {
            provider.run(stop).await.map_err(anyhow::Error::into_boxed_dyn_error)
        });
    }
    if mediator_set != MediatorSetId(0) {
        progress.step(format!("starting {} mediators and their host", judges.len()));
        let socket = spawn_host(home, court::HOST, scale, tasks).await?;
        court::start(home, &network, judges, mediator_set, deployed.block, &socket, tasks).await?;
    }
    let lacking = wait_for_offers(home, &network, named, &offers, progress).await?;
    Ok(Up { network, renter: renter.address(), mediator_set, lacking })
}

fn other_port() -> String {
    "choose other ports with --port, or --port 0 for free ones".to_owned()
}

async fn spawn_gateway(home: &Home, ports: Ports, tasks: &mut Supervisor, progress: &Progress) -> Result<String> {
    progress.step("starting the gateway");
    let flags = GatewayFlags { listen: Some(loopback(ports.gateway)), status: None };
    let gateway = gateway::start(home, None, &flags, other_port).await?;
    let url = format!("http://{}", gateway.address());
    tasks.spawn("gateway", |stop| async move { gateway.run(stop).await.map_err(BoxError::from) });
    Ok(url)
}

async fn spawn_host(home: &Home, name: &str, scale: Scale, tasks: &mut Supervisor) -> Result<PathBuf> {
    let mut config = host::configuration(home, name, None, &HostFlags::default())?;
    // Several hosts share this computer: memory and disk are divided, processors are not, as one job seldom fills one.
    let hosts = scale.providers + usize::from(scale.mediators > 0);
    let share = 100 / u32::try_from(hosts.max(1)).unwrap_or(100);
    config.capacity.memory_percent = share;
    config.capacity.disk_percent = share;
    let socket = config.socket.clone();
    let host = host::start(config, scale.kinds).await?;
    tasks.spawn_with_grace("host", HOST_GRACE, |stop| async move {
        host.run(stop).await.map_err(anyhow::Error::into_boxed_dyn_error)
    });
    Ok(socket)
}

/// A machine and a job slot, at `price`; the rest as the `[provider]` section has it when nothing is said.
fn for_rent(
    network: &Network,
    name: &str,
    price: Price,
    mediator_set: MediatorSetId,
    from_block: u64,
) -> Result<ProviderConfig> {
    let offers = serde_json::json!([
        { "name": "machine", "kind": "lease", "price": price, "resources": { "vcpus": 1, "memory_mib": 1024, "disk_gib": 4 } },
        { "name": "job", "kind": "job", "price": price, "mediator_set": mediator_set, "resources": { "vcpus": 1, "memory_mib": 512, "disk_gib": 2 } },
    ]);
    Ok(ProviderConfig {
        name: name.to_owned(),
        relay: network.relays.first().cloned(),
        offers: serde_json::from_value(offers)?,
        from_block,
        ..ProviderConfig::default()
    })
}

/// Waits until every provider has on the book what its host has room for, which never happens where that is nothing. Says what
/// there is no room for.
async fn wait_for_offers(
    home: &Home,
    network: &Network,
    named: &[(&str, Price)],
    offers: &[OfferConfig],
    progress: &Progress,
) -> Result<Option<String>> {
    progress.step("waiting for offers; the first start boots a guest to see what this computer can do");
    let Some(url) = network.solvers.first() else { return Ok(None) };
    let solver = SolverClient::new(url)?;
    loop {
        // One that a machine from before fills is there as well.
        let known = book(&solver, &OfferQuery { all: true, ..OfferQuery::default() }).await?;
        let mut hosts = Vec::new();
        for (name, _) in named {
            if let Ok(report) = HostClient::new(&host::socket(home, name))?.report().await {
                if let Some(why) = powerless(&report, offers) {
                    return Ok(Some(why));
                }
                hosts.push(report);
            }
        }
        let online = known.iter().filter(|view| view.online);
        let views: Vec<(Kind, Address)> = online.map(|view| (view.offer.kind.into(), view.offer.provider)).collect();
        if hosts.len() == named.len() && offers.iter().all(|offer| is_on_the_book(offer, &hosts, &views)) {
            return Ok(hosts.iter().find_map(|host| cramped(host, offers)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Whether as many providers offer it as have room for it. A solver may take one offer of a provider long before another.
fn is_on_the_book(offer: &OfferConfig, hosts: &[HostReport], views: &[(Kind, Address)]) -> bool {
    let sellers: BTreeSet<_> = views.iter().filter(|(kind, _)| *kind == offer.kind).map(|(_, who)| who).collect();
    sellers.len() >= hosts.iter().filter(|host| fits(host, offer)).count()
}

/// Why nothing can be rented out on this host, if so: no driver works, or no offer fits.
fn powerless(report: &HostReport, offers: &[OfferConfig]) -> Option<String> {
    let broken: Vec<String> =
        report.drivers.iter().filter_map(|d| Some(format!("{}: {}", d.kind, d.state.as_ref().err()?.reason))).collect();
    if !broken.is_empty() && broken.len() == report.drivers.len() {
        return Some(format!("no machine can run on this computer ({}); see `sublet doctor`", broken.join("; ")));
    }
    let none_fits = !offers.is_empty() && !offers.iter().any(|offer| fits(report, offer));
    none_fits.then(|| cramped(report, offers)).flatten()
}

/// Which offers a host has too little for, if any.
fn cramped(report: &HostReport, offers: &[OfferConfig]) -> Option<String> {
    let (total, small) = (&report.total, offers.iter().filter(|offer| !fits(report, offer)).collect::<Vec<_>>());
    let each = |offer: &&OfferConfig| {
        let r = &offer.resources;
        format!("a {} of {}, {} and {} of disk", offer.kind, r.vcpus, r.memory, r.disk)
    };
    let wanted = small.iter().map(each).collect::<Vec<_>>().join(", or ");
    let have = format!("{}, {} and {} of disk", total.vcpus, total.memory, total.disk);
    (!small.is_empty()).then(|| format!("a host here has no room for {wanted}: it has {have}"))
}

fn fits(report: &HostReport, offer: &OfferConfig) -> bool {
    room(&report.total, &offer.resources, offer.kind) > 0
}

/// Refuses a home that belongs to somebody else's network.
pub(crate) fn check_home(home: &Home) -> Result<()> {
    if chain::record(home).exists() || !home.root().join("network.json").exists() {
        return Ok(());
    }
    refuse(
        format!("{} already belongs to a network that is not local", home.root().display()),
        "start the local network in another directory: sublet --home DIR up",
    )
}

/// Every host that a local network may have.
fn hosts() -> impl Iterator<Item = &'static str> {
    PROVIDERS.iter().map(|(name, _)| *name).chain([court::HOST])
}

/// Stops the machines of the local network, which would outlive its hosts. Blocks.
pub(crate) fn stop_machines(home: &Home) -> Result<()> {
    for name in hosts() {
        host::stop_machines(&home.role(name)).with_context(|| format!("cannot stop the machines of host {name}"))?;
    }
    Ok(())
}

/// Forgets the local network: the chain, every role's data and what the client knew of it. Accounts stay.
pub(crate) fn reset(home: &Home) -> Result<()> {
    if !chain::record(home).exists() && !home.root().join("roles").exists() {
        return Ok(());
    }
    let root = home.root();
    // Machines outlive a crash; without their folders nobody would find them again.
    for name in hosts() {
        host::remove_machines(&home.role(name))
            .with_context(|| format!("cannot remove the machines of host {name}"))?;
    }
    let doomed = [
        root.join("roles"),
        root.join("transactions"),
        root.join("network.json"),
        home.records(),
        home.known_hosts(),
        home.results(),
    ];
    for path in doomed {
        let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match gone {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("cannot remove {}: {error}", path.display());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sublet_base::{GiB, MiB, Vcpus};
    use sublet_machine::Resources;

    use super::*;

    fn offers() -> Result<Vec<OfferConfig>> {
        let network = Network {
            rpc: String::new(),
            chain_id: 1,
            contract: Address::ZERO,
            token: Address::ZERO,
            depth: Depth::Newest,
            solvers: Vec::new(),
            relays: Vec::new(),
        };
        Ok(for_rent(&network, "small", Price(1), MediatorSetId(0), 0)?.offers)
    }

    fn with_disk(disk: u32) -> HostReport {
        let total = Resources { vcpus: Vcpus(2), memory: MiB(4096), disk: GiB(disk), pids: 1 << 16 };
        HostReport { total, free: total, drivers: Vec::new() }
    }

    #[test]
    fn every_offer_that_fits_is_waited_for() -> Result<()> {
        let (offers, hosts) = (offers()?, [with_disk(4), with_disk(3)]);
        let all = |views: &[(Kind, u8)]| {
            let views: Vec<_> = views.iter().map(|(kind, who)| (*kind, Address::repeat_byte(*who))).collect();
            offers.iter().all(|offer| is_on_the_book(offer, &hosts, &views))
        };
        let (lease, job) = (Kind::Lease, Kind::Job);
        assert!(!all(&[(job, 1), (job, 2)]), "somebody sells leases");
        assert!(!all(&[(lease, 1), (job, 1), (job, 1)]), "one provider twice");
        assert!(all(&[(lease, 1), (job, 1), (job, 2)]), "only one has room for a lease");
        Ok(())
    }

    #[test]
    fn what_a_small_host_has_no_room_for_is_said() -> Result<()> {
        let offers = offers()?;
        for (disk, lacking, nothing) in
            [(4, vec![], false), (3, vec!["a lease"], false), (1, vec!["a lease", "a job"], true)]
        {
            let report = with_disk(disk);
            let said = cramped(&report, &offers).unwrap_or_default();
            for kind in ["a lease", "a job"] {
                assert_eq!(said.contains(kind), lacking.contains(&kind), "{said}");
            }
            assert_eq!(powerless(&report, &offers).is_some(), nothing, "with {disk} GiB");
        }
        Ok(())
    }
}
