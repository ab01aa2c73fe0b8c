//! `sublet`: every role of the market in one binary. This file only starts things; a command is a file in `commands/`.

mod arguments;
mod class;
mod cli;
mod commands;
mod disputes;
mod home;
mod jobs;
mod leases;
mod limits;
mod modules;
mod money;
mod offers;
mod ordering;
mod output;
mod patience;
mod records;
mod results;
mod roles;
mod session;
mod wish;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == sublet_drivers::helper::WORD) {
        // One privileged step in a process of its own; it must happen before any thread starts.
        return sublet_drivers::helper::main(arguments);
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::fail(&anyhow::Error::new(error).context("the operating system refused to start threads"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(cli.run());
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            output::fail(&error);
            ExitCode::FAILURE
        }
    }
}
