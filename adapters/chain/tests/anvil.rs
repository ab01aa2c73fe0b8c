//! The local chain is kept up, keeps its state, and leaves no process behind.

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use common::{Net, Outcome, anvil, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sublet_base::Amount;
use sublet_chain::{
    AnvilError, AnvilOptions, AnvilStatus, DeployOptions, Deployment, Depth, DirTxJournal, EvmLedger, EvmOptions,
    Faucet, Ledger, LocalAnvil, ReadError, SendAs, ensure_deployed,
};
use tempfile::TempDir;

const CHILD: &str = "ANVIL_CHILD";

fn pid(chain: &LocalAnvil) -> Option<u32> {
    match *chain.status().borrow() {
        AnvilStatus::Running { pid, .. } => Some(pid),
        _ => None,
    }
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_taken_port_and_a_missing_binary_are_said() -> Outcome {
    let folder = TempDir::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let error = LocalAnvil::start(&AnvilOptions { port, ..anvil(&folder) }).await.err().ok_or("it started")?;
    assert!(matches!(error, AnvilError::PortTaken { port: p, .. } if p == port), "{error}");
    let binary = Some(folder.path().join("nowhere"));
    let error = LocalAnvil::start(&AnvilOptions { binary, ..anvil(&folder) }).await.err().ok_or("it started")?;
    assert!(error.to_string().contains("anvil is not installed"), "{error}");
    let broken = AnvilOptions { extra: vec!["--no-such-flag".to_owned()], ..anvil(&folder) };
    let error = LocalAnvil::start(&broken).await.err().ok_or("it started")?;
    assert!(error.to_string().contains("ended with"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_crash_is_mended_and_a_stop_keeps_everything() -> Outcome {
    let net = Net::start().await?;
    let (ledger, wallet) = net.person("alice", 5).await?;
    let head = ledger.head().await?.block.number;
    let Net { chain, folder, deployment, .. } = net;
    let port = chain.port();
    let first = pid(&chain).ok_or("no pid")?;
    chain.stop().await;
    assert!(!alive(first), "it is still running");

    std::fs::write(folder.path().join("chain/chain.json"), "{\"half")?;
    let chain = LocalAnvil::start(&AnvilOptions { port, ..anvil(&folder) }).await?;
    assert_eq!(ledger.free_of(wallet.address()).await?, Amount::tokens(5), "from the good copy");
    assert!(ledger.head().await?.block.number >= head);
    assert!(!ledger.events(deployment.block, head).await?.is_empty(), "its events are gone");

    let second = pid(&chain).ok_or("no pid")?;
    kill(Pid::from_raw(second.cast_signed()), Signal::SIGKILL)?;
    let mut status = chain.status();
    status.wait_for(|s| matches!(s, AnvilStatus::Running { restarts: 1, .. })).await?;
    eventually("an answer", || async { ledger.head().await.is_ok() }).await;
    assert_eq!(ledger.free_of(wallet.address()).await?, Amount::tokens(5));
    chain.stop().await;
    assert_eq!(*status.borrow(), AnvilStatus::Stopped);
    Ok(())
}

#[tokio::test]
async fn it_does_not_outlive_a_killed_parent() -> Outcome {
    if let Some(folder) = std::env::var_os(CHILD) {
        let options = AnvilOptions { state: Some(Path::new(&folder).join("chain")), ..AnvilOptions::default() };
        let chain = LocalAnvil::start(&options).await?;
        println!("anvil is {}", pid(&chain).ok_or("no pid")?);
        std::future::pending::<()>().await;
    }
    let folder = TempDir::new()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["it_does_not_outlive_a_killed_parent", "--exact", "--nocapture"])
        .env(CHILD, folder.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let mut found = None;
    for line in lines {
        if let Some((_, number)) = line?.split_once("anvil is ") {
            found = Some(number.trim().parse::<u32>()?);
            break;
        }
    }
    let anvil = found.ok_or("the child said nothing")?;
    assert!(alive(anvil));
    child.kill()?;
    child.wait()?;
    eventually("the orphan's end", || async { !alive(anvil) }).await;
    assert!(folder.path().join("chain/chain.json").exists(), "it was killed before it wrote its state");
    Ok(())
}

#[tokio::test]
async fn contracts_are_deployed_once_for_each_chain() -> Outcome {
    let folder = TempDir::new()?;
    let record = folder.path().join("deployment.json");
    let chain = LocalAnvil::start(&anvil(&folder)).await?;
    let dev = Faucet::dev_wallet()?;
    let account = |name: &str| -> Result<SendAs, Box<dyn std::error::Error>> {
        let journal = std::sync::Arc::new(DirTxJournal::open(&folder.path().join(name))?);
        Ok(SendAs { wallet: dev.clone(), journal, options: common::quick() })
    };
    let options = DeployOptions { token: None, guardian: dev.address() };
    let first = ensure_deployed(chain.url(), account("tx")?, &options, &record).await?;
    assert_eq!(ensure_deployed(chain.url(), account("tx")?, &options, &record).await?, first);
    assert_eq!(Deployment::load(&record)?, Some(first.clone()));
    let nowhere = EvmOptions {
        url: chain.url().to_owned(),
        contract: sublet_base::Address::repeat_byte(9),
        depth: Depth::Newest,
    };
    assert!(matches!(EvmLedger::connect(&nowhere, None).await, Err(ReadError::NoContract { .. })));
    chain.stop().await;

    // Chains are told apart by their first block, whose only difference is its time in seconds.
    let started = SystemTime::now();
    eventually("another second", || async { started.elapsed().is_ok_and(|e| e > Duration::from_secs(1)) }).await;
    let other = TempDir::new()?;
    let chain = LocalAnvil::start(&anvil(&other)).await?;
    let second = ensure_deployed(chain.url(), account("tx")?, &options, &record).await?;
    assert_ne!(second.genesis, first.genesis, "a chain that started over is another chain");
    let (options, port) =
        (EvmOptions { url: chain.url().to_owned(), contract: second.contract, depth: Depth::Newest }, chain.port());
    chain.stop().await;
    let (heard, mut failures) = tokio::sync::mpsc::unbounded_channel();
    let waiting = async move { EvmLedger::connect_when_up(&options, None, |e| drop(heard.send(e.to_string()))).await };
    let waiting = tokio::spawn(waiting);
    assert!(failures.recv().await.is_some_and(|e| e.contains("the chain does not answer")));
    let chain = LocalAnvil::start(&AnvilOptions { port, ..anvil(&other) }).await?;
    let ledger = waiting.await??;
    assert_eq!(ledger.token(), second.token);
    chain.stop().await;
    Ok(())
}
