//! Speed as ratios: what Sublet takes, divided by what the same thing takes by hand, measured in turns in one run.

mod hand;
mod login;
mod machine;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use sublet_base::MachineId;

#[derive(Debug, Parser)]
#[command(name = "sublet-bench", about = "Measures Sublet against the same thing done by hand")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Machine create -> ssh login, divided by the same image booted by plain QEMU with the same flags.
    Machine(machine::Options),
    /// Connects standard input and output to a machine's port, as ssh's ProxyCommand.
    #[command(hide = true)]
    Dial {
        /// Folder of the driver.
        root: PathBuf,
        /// The machine.
        id: MachineId,
        /// Port in it.
        port: u16,
    },
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|word| word == sublet_drivers::helper::WORD) {
        return sublet_drivers::helper::main(args);
    }
    let result = match Cli::parse().command {
        Command::Machine(options) => machine::run(&options),
        Command::Dial { root, id, port } => dial(root, &id, port),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sublet-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dial(root: PathBuf, id: &MachineId, port: u16) -> Result<()> {
    use std::io;
    use std::net::Shutdown;

    let stream = sublet_machine::Driver::dial(&machine::driver(root)?, id, port)?;
    let (mut to, mut from) = (stream.try_clone()?, stream);
    let up = std::thread::spawn(move || -> io::Result<()> {
        io::copy(&mut io::stdin().lock(), &mut to)?;
        to.shutdown(Shutdown::Write)
    });
    io::copy(&mut from, &mut io::stdout().lock())?;
    // The machine has hung up; whatever ssh still sends goes nowhere.
    drop(up);
    Ok(())
}
