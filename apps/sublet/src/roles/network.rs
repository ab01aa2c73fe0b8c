//! A whole network in one process: what `sublet up` starts, in the order it depends on each other.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use sublet_base::Address;
use sublet_chain::Wallet;
use sublet_daemon::{BoxError, Supervisor};

use super::gateway::GatewayFlags;
use super::solver::SolverFlags;
use super::{chain, gateway, local, solver};
use crate::home::{Home, Network};
use crate::output::{Advise, Progress};

/// Ports of the chain, the gateway and the solver follow each other from here; 0 takes free ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) first: u16,
}

impl Ports {
    fn number(self, offset: u16) -> Result<u16> {
        match self.first {
            0 => Ok(0),
            first => first.checked_add(offset).with_context(|| format!("there are no three ports from {first} on")),
        }
    }

    fn address(self, offset: u16) -> Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, self.number(offset)?).into())
    }
}

/// Accounts of a local network.
pub(crate) struct Accounts {
    pub(crate) renter: Wallet,
    pub(crate) solver: Wallet,
    pub(crate) provider: Wallet,
}

impl Accounts {
    fn open(home: &Home) -> Result<Self> {
        Ok(Self {
            renter: local::account(home, "default")?,
            solver: local::account(home, "solver")?,
            provider: local::account(home, "provider")?,
        })
    }
}

/// A network that is up.
pub(crate) struct Up {
    pub(crate) network: Network,
    pub(crate) renter: Address,
}

/// Starts everything; what was started is in `tasks` even if this fails or is dropped half-way.
pub(crate) async fn start(
    home: &Home,
    ports: Ports,
    block_seconds: u32,
    tasks: &mut Supervisor,
    progress: &Progress,
) -> Result<Up> {
    progress.step("starting the chain");
    let chain = chain::start(home, ports.number(0)?, block_seconds).await?;
    let rpc = chain.url().to_owned();
    tasks.spawn("chain", |stop| chain::keep(chain, stop));
    progress.step("deploying the contracts");
    let deployed = chain::contracts(home, &rpc).await?;
    let accounts = Accounts::open(home)?;

    progress.step("starting the gateway");
    let flags = GatewayFlags { listen: Some(ports.address(1)?), status: None };
    let gateway = gateway::start(home, None, &flags).await?;
    let relay = format!("http://{}", gateway.address());
    tasks.spawn("gateway", |stop| async move { gateway.run(stop).await.map_err(BoxError::from) });

    let mut network = Network {
        rpc,
        chain_id: deployed.chain_id,
        contract: deployed.contract,
        token: deployed.token,
        solvers: Vec::new(),
        relays: vec![relay],
    };
    progress.step("giving the local accounts gas and tokens");
    local::fund(home, &network, &[&accounts.renter, &accounts.solver, &accounts.provider]).await?;

    progress.step("starting the solver");
    let flags = SolverFlags { listen: Some(ports.address(2)?) };
    let solver = solver::start(home, &network, accounts.solver, None, &flags).await?;
    network.solvers.push(format!("http://{}", solver.address()));
    tasks.spawn("solver", |stop| async move { solver.serve(stop).await.map_err(BoxError::from) });
    home.remember(&network)?;
    Ok(Up { network, renter: accounts.renter.address() })
}

/// Refuses a home that belongs to somebody else's network.
pub(crate) fn check_home(home: &Home) -> Result<()> {
    if chain::record(home).exists() || !home.root().join("network.json").exists() {
        return Ok(());
    }
    let refusal: Result<()> = Err(anyhow::anyhow!("{} already belongs to a network that is not local", home.root().display()));
    refusal.advise(|| "start the local network in another directory: sublet --home DIR up".to_owned())
}

/// Forgets the local network: the chain, every role's data and what the client knew of it. Accounts stay.
pub(crate) fn reset(home: &Home) -> Result<()> {
    if !chain::record(home).exists() && !home.root().join("roles").exists() {
        return Ok(());
    }
    let root = home.root();
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
