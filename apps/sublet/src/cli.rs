//! The command line's shape: global flags and one line for each command.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::commands;
use crate::home::Home;
use crate::output::Output;

/// Rent computers, rent yours out, or run jobs with a checked result.
#[derive(Debug, Parser)]
#[command(
    name = "sublet",
    version,
    max_term_width = 120,
    after_help = "Start with `sublet up`: a whole network on this computer, for trying things out."
)]
pub(crate) struct Cli {
    /// Answer with JSON on standard output, for programs
    #[arg(long, global = true)]
    json: bool,

    /// Where accounts, keys and the network's addresses are kept [default: ~/.sublet]
    #[arg(long, global = true, env = "SUBLET_HOME", value_name = "DIR", hide_env_values = true)]
    home: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a whole local network: chain, contracts, gateway, solver, providers and mediators with their hosts
    Up(commands::up::Args),
    /// Keys, balances, and moving money in and out
    Account(commands::account::Args),
    /// What is on offer
    Market(commands::market::Args),
    /// Run a job: order, wait, check the result, settle
    Run(commands::run::Args),
    /// What was ordered and how it went
    Jobs(commands::jobs::Args),
    /// A contract that orders jobs by itself: deploy the example, fund it, ask it
    Contract(commands::contract::Args),
    /// Rent a machine
    Rent(commands::rent::Args),
    /// The machines you rent, and what they cost
    Leases(commands::leases::Args),
    /// Log in to a machine
    Ssh(commands::ssh::Args),
    /// Make a port of a machine reachable here
    Forward(commands::forward::Args),
    /// What a machine or a job printed
    Logs(commands::logs::Args),
    /// What this computer can do, and why not
    Doctor(commands::doctor::Args),
    /// Run machines on this computer
    Host(commands::host::Args),
    /// The machines of a host
    Machine(commands::machine::Args),
    /// Rent out a host
    Provider(commands::provider::Args),
    /// Judge disputed jobs
    Mediator(commands::mediator::Args),
    /// Keep a book of offers and orders and match them
    Solver(commands::solver::Args),
    /// Relay links between peers that cannot reach each other
    Gateway(commands::gateway::Args),
    /// Print a shell's completion script
    Completions(commands::completions::Args),
    #[command(name = "__proxy", hide = true)]
    Proxy(commands::proxy::Args),
}

impl Cli {
    /// Runs the command; the exit code is the command's own where it has one (`ssh`, `run`).
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let output = Output::new(self.json);
        let home = Home::locate(self.home)?;
        match self.command {
            Command::Up(args) => args.run(&home, output).await,
            Command::Account(args) => args.run(&home, output).await,
            Command::Market(args) => args.run(&home, output).await,
            Command::Run(args) => args.run(&home, output).await,
            Command::Jobs(args) => args.run(&home, output).await,
            Command::Contract(args) => args.run(&home, output).await,
            Command::Rent(args) => args.run(&home, output).await,
            Command::Leases(args) => args.run(&home, output).await,
            Command::Ssh(args) => args.run(&home, output).await,
            Command::Forward(args) => args.run(&home, output).await,
            Command::Logs(args) => args.run(&home, output).await,
            Command::Doctor(args) => args.run(&home, output).await,
            Command::Host(args) => args.run(&home, output).await,
            Command::Machine(args) => args.run(&home, output).await,
            Command::Provider(args) => args.run(&home, output).await,
            Command::Mediator(args) => args.run(&home, output).await,
            Command::Solver(args) => args.run(&home, output).await,
            Command::Gateway(args) => args.run(&home, output).await,
            Command::Completions(args) => args.run(),
            Command::Proxy(args) => args.run(&home, output).await,
        }
    }
}
