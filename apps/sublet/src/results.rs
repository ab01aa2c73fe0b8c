//! A job's result archive: fetched from a stranger, unpacked, and read.
//!
//! The archive is a tar of exactly `exit_code`, `stdout`, `stderr` and, below `outputs/`, plain files and folders. Anything else
//! (links, devices, absolute names, `..`) makes the whole archive refused before a byte of it is written.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sublet_base::{Address, B256, JobId};
use sublet_client::peer::PeerClient;
use tar::{Archive, EntryType};

use crate::home::Home;

/// Largest archive fetched, bytes.
const MAX_ARCHIVE: u64 = 2 << 30;
/// Beside the archive's own files: the account of the mediator that it came from. No archive can hold one.
const FOUND_BY: &str = "found_by";

/// A fetched and unpacked result.
#[derive(Clone, Debug)]
pub(crate) struct JobResult {
    folder: PathBuf,
}

impl JobResult {
    /// Where the result of a job is, or will be.
    pub(crate) fn of(home: &Home, job: JobId) -> Self {
        Self { folder: home.results().join(job.to_string()) }
    }

    /// The folder with everything.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The archive as it was hashed.
    pub(crate) fn archive(&self) -> PathBuf {
        self.folder.join("result.tar")
    }

    /// Whether it is all here.
    pub(crate) fn is_here(&self) -> bool {
        self.folder.join("exit_code").is_file()
    }

    /// The mediator whose result this is, in place of the provider's.
    pub(crate) fn found_by(&self) -> Option<Address> {
        fs::read_to_string(self.folder.join(FOUND_BY)).ok()?.trim().parse().ok()
    }

    /// Remembers whose result this is.
    pub(crate) fn note_finder(&self, mediator: Address) -> Result<()> {
        Ok(fs::write(self.folder.join(FOUND_BY), format!("{mediator}\n"))?)
    }

    /// Fetches the archive of `job`, checks it against `hash`, and unpacks it. Nothing is kept of a wrong one.
    pub(crate) async fn fetch(&self, client: &PeerClient, job: JobId, hash: B256) -> Result<()> {
        sublet_daemon::create_private_dir(&self.folder)?;
        let partial = self.folder.join("result.tar.partial");
        let mut file =
            tokio::fs::File::create(&partial).await.with_context(|| format!("cannot write {}", partial.display()))?;
        if let Err(error) = client.result(job, hash, MAX_ARCHIVE, &mut file).await {
            let _ = tokio::fs::remove_file(&partial).await;
            return Err(error.into());
        }
        file.sync_all().await?;
        tokio::fs::rename(&partial, self.archive()).await?;
        self.unpack()
    }

    /// Unpacks the archive beside itself, in place of an earlier one; `exit_code` comes last, and marks a complete result.
    fn unpack(&self) -> Result<()> {
        let names = self.check().context("the result archive is refused")?;
        self.clear().context("cannot remove an earlier result")?;
        let mut archive = Archive::new(fs::File::open(self.archive())?);
        let mut code = None;
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            let target = self.folder.join(&path);
            if entry.header().entry_type() == EntryType::Directory {
                fs::create_dir_all(&target)?;
            } else if path == Path::new("exit_code") {
                let mut text = String::new();
                entry.by_ref().take(32).read_to_string(&mut text)?;
                code = Some(text);
            } else {
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent)?;
                }
                let mut file =
                    fs::File::create(&target).with_context(|| format!("cannot write {}", target.display()))?;
                std::io::copy(&mut entry, &mut file)?;
            }
        }
        let code = code.with_context(|| format!("the archive holds no exit code, only {} files", names.len()))?;
        fs::write(self.folder.join("exit_code"), code)?;
        Ok(())
    }

    /// Removes what an earlier archive held, its mark of completeness first.
    fn clear(&self) -> std::io::Result<()> {
        for name in ["exit_code", FOUND_BY, "stdout", "stderr"] {
            absent_is_fine(fs::remove_file(self.folder.join(name)))?;
        }
        absent_is_fine(fs::remove_dir_all(self.folder.join("outputs")))
    }

    /// Names in the archive, all of them harmless.
    fn check(&self) -> Result<Vec<PathBuf>> {
        let mut archive = Archive::new(fs::File::open(self.archive())?);
        let mut names = Vec::new();
        for entry in archive.entries()? {
            let entry = entry?;
            let path = entry.path()?.into_owned();
            ensure!(names.len() < 100_000, "it holds more than 100000 files");
            ensure!(allowed(&path), "it holds a file named {:?}", path.to_string_lossy());
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Directory => names.push(path),
                other => bail!("{:?} is a {other:?}, not a file or folder", path.to_string_lossy()),
            }
        }
        Ok(names)
    }

    /// The task's exit code, 0 to 255.
    pub(crate) fn exit_code(&self) -> Result<u8> {
        let text = fs::read_to_string(self.folder.join("exit_code"))?;
        let code: i32 = text.trim().parse().context("the exit code is no number")?;
        Ok(u8::try_from(code).unwrap_or(255))
    }

    /// What the task wrote to a stream, for a terminal: control characters other than line ends and tabs are dropped.
    pub(crate) fn stream(&self, name: &str) -> Result<String> {
        let bytes = fs::read(self.folder.join(name)).with_context(|| format!("the result holds no {name}"))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect())
    }

    /// Files below `outputs/`.
    pub(crate) fn has_outputs(&self) -> bool {
        fs::read_dir(self.folder.join("outputs")).is_ok_and(|mut entries| entries.next().is_some())
    }
}

fn absent_is_fine(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn allowed(path: &Path) -> bool {
    let mut parts = path.components();
    match parts.next() {
        Some(Component::Normal(first)) if first == "outputs" => parts.all(|part| matches!(part, Component::Normal(_))),
        Some(Component::Normal(first)) => {
            parts.next().is_none() && ["exit_code", "stdout", "stderr"].iter().any(|name| first == *name)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    fn result(entries: &[(&str, EntryType, &str)]) -> (tempfile::TempDir, JobResult) {
        let dir = tempfile::tempdir().unwrap();
        let result = JobResult { folder: dir.path().join("job-1") };
        fs::create_dir_all(&result.folder).unwrap();
        let mut builder = Builder::new(fs::File::create(result.archive()).unwrap());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.finish().unwrap();
        (dir, result)
    }

    #[test]
    fn a_result_is_unpacked_and_read() {
        let file = EntryType::Regular;
        let (_dir, result) = result(&[
            ("exit_code", file, "3\n"),
            ("stdout", file, "moo\x1b[31m\n"),
            ("stderr", file, ""),
            ("outputs/a/b.txt", file, "x"),
        ]);
        result.unpack().unwrap();
        assert!(result.is_here() && result.has_outputs());
        assert_eq!(result.exit_code().unwrap(), 3);
        assert_eq!(result.stream("stdout").unwrap(), "moo[31m\n");
    }

    #[test]
    fn another_result_takes_the_place_of_the_first() {
        let file = EntryType::Regular;
        let (_dir, first) = result(&[("exit_code", file, "3"), ("stdout", file, "a"), ("outputs/old", file, "x")]);
        first.unpack().unwrap();
        first.note_finder(Address::repeat_byte(7)).unwrap();
        assert_eq!(first.found_by(), Some(Address::repeat_byte(7)));
        let (_other, second) = result(&[("exit_code", file, "0"), ("stdout", file, "b")]);
        fs::copy(second.archive(), first.archive()).unwrap();
        first.unpack().unwrap();
        assert_eq!((first.exit_code().unwrap(), first.stream("stdout").unwrap().as_str()), (0, "b"));
        assert_eq!((first.has_outputs(), first.found_by()), (false, None));
    }

    #[test]
    fn a_hostile_archive_writes_nothing() {
        let hostile = [
            ("../x", EntryType::Regular),
            ("/etc/x", EntryType::Regular),
            ("outputs/../../x", EntryType::Regular),
            ("outputs/link", EntryType::Symlink),
            ("outputs/pipe", EntryType::Fifo),
            ("result.tar", EntryType::Regular),
        ];
        for (name, kind) in hostile {
            let content = if kind == EntryType::Regular { "x" } else { "" };
            let (_dir, result) = result(&[("stdout", EntryType::Regular, "x"), (name, kind, content)]);
            assert!(result.unpack().is_err(), "{name} should be refused");
            assert!(!result.folder.join("stdout").exists(), "{name}: nothing may be written");
        }
    }
}
