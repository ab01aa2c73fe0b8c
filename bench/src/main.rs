//! Speed as ratios: what Sublet takes, divided by what the same thing takes by hand, measured in turns in one run.

mod hand;
mod login;
mod machine;
mod network;
mod runc;

use std::io::{self, Read, Write};
use std::net::Shutdown;
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
    /// A local network: its idle memory, and a job's time beside the same container run by `runc`.
    Network(network::Options),
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
        Command::Network(options) => network::run(&options),
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
    let stream = sublet_machine::Driver::dial(&machine::driver(root)?, id, port)?;
    let (mut to, mut from) = (stream.try_clone()?, stream);
    let up = std::thread::spawn(move || -> io::Result<()> {
        carry(&mut io::stdin().lock(), &mut to)?;
        to.shutdown(Shutdown::Write)
    });
    carry(&mut from, &mut io::stdout().lock())?;
    // The machine has hung up; whatever ssh still sends goes nowhere.
    drop(up);
    Ok(())
}

/// `io::copy` would splice, and that keeps ssh out of its own pipe while it waits for the socket.
fn carry(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..count])?;
        to.flush()?;
    }
}
