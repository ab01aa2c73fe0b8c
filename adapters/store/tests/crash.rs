//! A killed process and a full disk: what was acknowledged is there, what was not is whole or absent.
//!
//! The test binary starts itself again with `STORE_CHILD` set; that child writes until it is killed or the disk is full.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sublet_base::B256;
use sublet_store::{Expect, Position, Store, StoreError};
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn std::error::Error>>;
const CHILD: &str = "STORE_CHILD";

/// Writes pairs for ever, printing each number once it is acknowledged. Returns the error that stopped it.
async fn write_pairs(path: &Path, padding: usize) -> Result<(u64, StoreError), StoreError> {
    let store = Store::open(path).await?;
    let mut number = store.cursor("pairs").load().await?.map_or(1, |at| at.block + 1);
    loop {
        if let Err(error) = write_pair(&store, number, padding).await {
            return Ok((number - 1, error));
        }
        let mut out = std::io::stdout().lock();
        let told = writeln!(out, "wrote {number}").and_then(|()| out.flush());
        if told.is_err() {
            std::process::exit(3);
        }
        number += 1;
    }
}

async fn write_pair(store: &Store, number: u64, padding: usize) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.put_document("left", &number.to_string(), &"x".repeat(padding), Expect::Absent).await?;
    tx.put_document("right", &number.to_string(), &number, Expect::Absent).await?;
    tx.advance_cursor("pairs", Position { block: number, hash: B256::ZERO }).await?;
    tx.commit().await
}

/// Whole pairs only, numbered without a gap up to the cursor, which is at or after the last acknowledged.
async fn check_whole(path: &Path, acknowledged: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let store = Store::open(path).await?;
    let reached = store.cursor("pairs").load().await?.map_or(0, |at| at.block);
    let (left, right) =
        (store.documents("left").list::<String>().await?, store.documents("right").list::<u64>().await?);
    assert!(reached >= acknowledged, "{acknowledged} were acknowledged and {reached} are there");
    assert_eq!((left.len() as u64, right.len() as u64), (reached, reached), "half a pair is stored");
    Ok(reached)
}

/// The test of this name, run again as a child.
fn child(test: &str, path: &Path) -> Result<Command, std::io::Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([test, "--exact", "--nocapture"]).env(CHILD, path).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

#[tokio::test]
async fn what_was_acknowledged_survives_sigkill() -> Outcome {
    if let Some(path) = std::env::var_os(CHILD) {
        write_pairs(Path::new(&path), 3000).await?;
        return Ok(());
    }
    let folder = TempDir::new()?;
    let path = folder.path().join("sublet.db");
    let mut total = 0;
    for round in 1..=5u64 {
        let mut process = child("what_was_acknowledged_survives_sigkill", &path)?.spawn()?;
        let lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let mut killed = false;
        for line in lines {
            if let Some((_, number)) = line?.split_once("wrote ") {
                total = number.parse()?;
                if !killed && total % (7 * round) == 0 {
                    process.kill()?;
                    killed = true;
                }
            }
        }
        process.wait()?;
        assert!(killed, "the child ended by itself in round {round}");
        total = check_whole(&path, total).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_no_half_state() -> Outcome {
    if let Some(path) = std::env::var_os(CHILD) {
        let (reached, error) = write_pairs(Path::new(&path), 30_000).await?;
        assert!(matches!(error, StoreError::Full { .. }), "expected a full disk, got {error:?}");
        assert_eq!(check_whole_open_again(Path::new(&path)).await?, reached);
        println!("full after {reached}");
        return Ok(());
    }
    let folder = TempDir::new()?;
    let mount = "mount -t tmpfs -o size=2m none \"$0\" && exec \"$@\"";
    let inner = child("a_full_disk_is_said_and_leaves_no_half_state", &folder.path().join("sublet.db"))?;
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
        .arg(folder.path())
        .arg(inner.get_program())
        .args(inner.get_args());
    command.env(CHILD, folder.path().join("sublet.db")).process_group(0);
    let output = command.output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if err.contains("unshare failed") || err.contains("mount:") {
        writeln!(std::io::stderr(), "skipped: this user may not mount a tmpfs of its own: {err}")?;
        return Ok(());
    }
    assert!(output.status.success() && out.contains("full after "), "{out}\n{err}");
    Ok(())
}

/// Checks without letting go of the file system, which lives only as long as the child.
async fn check_whole_open_again(path: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    check_whole(path, 0).await
}
