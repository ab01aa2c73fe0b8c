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
    /// Print a shell's completion script
    Completions(commands::completions::Args),
}

impl Cli {
    /// Runs the command; the exit code is the command's own where it has one (`ssh`, `run`).
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let output = Output::new(self.json);
        let home = Home::locate(self.home)?;
        let _ = (&output, &home);
        match self.command {
            Command::Completions(args) => args.run(),
        }
    }
}
