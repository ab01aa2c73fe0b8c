//! `sublet completions SHELL`

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Flags of `sublet completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: sublet completions bash > ~/.local/share/bash-completion/completions/sublet")]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

impl Args {
    /// Prints the script.
    pub(crate) fn run(self) -> Result<ExitCode> {
        clap_complete::generate(self.shell, &mut Cli::command(), "sublet", &mut std::io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}
