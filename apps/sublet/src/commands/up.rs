//! `sublet up`: a whole local network from one command.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use sublet_base::Address;
use sublet_daemon::{DataDir, LockError, Supervisor};
use sublet_link::GatewayUrl;
use sublet_market::MediatorSetId;

use crate::home::{Home, Network};
use crate::output::{Advise, Output};
use crate::roles::begin;
use crate::roles::court;
use crate::roles::host::Kinds;
use crate::roles::log::Talk;
use crate::roles::network::{self, Choice, Ports, Scale, Up};

/// Flags of `sublet up`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Ctrl-c stops everything it started; the next `sublet up` goes on from there.\n\n\
                        Examples:\n  sublet up\n  sublet up --reset\n  sublet --home /tmp/other up --port 7700")]
pub(crate) struct Args {
    /// Forget the local network of this home first: chain, agreements, results. Accounts stay
    #[arg(long)]
    reset: bool,
    /// First of the three ports of chain, gateway and solver; 0 takes free ones [default: those of the last time, else free ones]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// How many providers, each with a host of its own; 0 leaves them to `sublet provider run`
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=network::MOST_PROVIDERS as i64))]
    providers: u8,
    /// How many mediators judge disputed jobs, on a host of their own: 3, or 0 so that jobs go out unjudged
    #[arg(long, value_name = "0|3", value_parser = mediators)]
    mediators: Option<usize>,
    /// Use this gateway instead of starting one
    #[arg(long, value_name = "URL")]
    gateway: Option<GatewayUrl>,
    /// Run no real machines: for trying out the rest
    #[arg(long)]
    simulate: bool,
    /// Seconds between blocks of the local chain
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    block_time: u32,
    /// Log each change of state, not only problems
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    state: &'static str,
    home: String,
    account: Address,
    mediator_set: MediatorSetId,
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<&'a str>,
    #[serde(flatten)]
    network: &'a Network,
}

impl Args {
    /// Runs until told to stop.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let shutdown = begin(None, if self.verbose { Talk::Changes } else { Talk::Problems })?;
        let lock = DataDir::lock(home.root().join("run")).map_err(already_up)?;
        // Before the reset, which forgets those of the last time.
        let ports = Ports::choose(home, self.port.map_or(Choice::Remembered, Choice::From))?;
        if self.reset {
            let home = home.clone();
            tokio::task::spawn_blocking(move || network::reset(&home)).await??;
        }
        network::check_home(home)?;
        let kinds = if self.simulate { Kinds::Simulated } else { Kinds::Real };
        let providers = usize::from(self.providers);
        // Where nobody rents anything out there is nothing to judge, unless it is asked for.
        let mediators = self.mediators.unwrap_or(if providers > 0 { court::NAMES.len() } else { 0 });
        let scale = Scale { providers, mediators, kinds };
        let mut tasks = Supervisor::new();
        let progress = output.progress("starting a local network");
        let relay = self.gateway.map(|url| url.to_string());
        let starting = network::start(home, ports, relay, self.block_time, scale, &mut tasks, &progress);
        let started = shutdown.run_until_cancelled(starting).await;
        progress.done();
        let failed = match started {
            Some(Ok(up)) => {
                announce(home, output, &up)?;
                None
            }
            Some(Err(error)) => {
                shutdown.cancel();
                Some(error)
            }
            None => None,
        };
        let ended = tasks.run(shutdown).await.context("the local network broke down");
        let home = home.clone();
        let stopped = tokio::task::spawn_blocking(move || network::stop_machines(&home)).await?;
        drop(lock);
        match failed {
            Some(error) => Err(error),
            None => {
                ended?;
                stopped?;
                output.say("stopped; `sublet up` goes on from here")?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// A panel needs an odd number, and one of a single member would be its own majority.
fn mediators(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(count) if count == 0 || count == court::NAMES.len() => Ok(count),
        _ => anyhow::bail!("0 or {}", court::NAMES.len()),
    }
}

fn already_up(error: LockError) -> anyhow::Error {
    let held = matches!(error, LockError::Held { .. });
    let result: Result<()> =
        Err(error).context(if held { "a network is already up in this home" } else { "cannot use this home" });
    let advised = if held {
        result.advise(|| {
            "use it from another terminal (`sublet market`), or stop it with ctrl-c where it runs".to_owned()
        })
    } else {
        result
    };
    advised.expect_err("made from an error")
}

fn announce(home: &Home, output: Output, up: &Up) -> Result<()> {
    let home = home.root().display().to_string();
    let answer = Answer {
        state: "up",
        home: home.clone(),
        account: up.renter,
        mediator_set: up.mediator_set,
        lacking: up.lacking.as_deref(),
        network: &up.network,
    };
    output.answer(&answer, || {
        let n = &up.network;
        let judges = match up.mediator_set {
            MediatorSetId(0) => String::new(),
            MediatorSetId(set) => format!("mediators set {set}, which judges disputed jobs\n  "),
        };
        format!(
            "the network is up\n  chain     {} (id {})\n  contract  {}\n  solver    {} (API at {}docs)\n  gateway   {}\n  {judges}\
             account   default {}\n  home      {home}{}\n\ntry, in another terminal{}:\n  sublet market\n  \
             sublet run cowsay -i message=moo\n  sublet rent --name first && sublet ssh first\n\nctrl-c stops everything",
            n.rpc,
            n.chain_id,
            n.contract,
            n.solvers.join(" "),
            n.solvers.first().map(|url| format!("{url}/")).unwrap_or_default(),
            n.relays.join(" "),
            up.renter,
            up.lacking.as_ref().map(|what| format!("\n\nbut {what}")).unwrap_or_default(),
            if std::env::var_os("SUBLET_HOME").is_some() { " with the same SUBLET_HOME" } else { "" },
        )
    })
}
