//! The chain's state file and its last good copy.
//!
//! Anvil rewrites the file in place, so a kill at the wrong moment leaves half a file. Every complete version is copied aside.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::IgnoredAny;
use sublet_daemon::create_private_dir;

use super::AnvilError;
use super::reserve::Reserve;

/// `chain.json`, `chain.good.json`, `chain.reserve` and `anvil.log` in one folder.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    copied: Option<(SystemTime, u64)>,
    reserve: Reserve,
    /// What was complained about last, which is not said again every time.
    complaint: String,
}

impl State {
    pub(super) fn open(folder: &Path) -> Result<Self, AnvilError> {
        create_private_dir(folder).map_err(|error| {
            let source = std::io::Error::other(error);
            AnvilError::State { path: folder.to_owned(), source }
        })?;
        let reserve = Reserve::new(folder.join("chain.reserve"));
        Ok(Self { folder: folder.to_owned(), copied: None, reserve, complaint: String::new() })
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("chain.json")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("anvil.log")
    }

    fn copy(&self) -> PathBuf {
        self.folder.join("chain.good.json")
    }

    /// Before a start: puts the good copy in the place of a damaged file.
    pub(super) fn repair(&self) -> Result<(), AnvilError> {
        let (file, copy) = (self.file(), self.copy());
        if !file.exists() && !copy.exists() || is_whole(&file) {
            return Ok(());
        }
        if !is_whole(&copy) {
            return Err(AnvilError::Damaged { path: file });
        }
        tracing::warn!(file = %file.display(), "the chain's state was damaged; going back to its last good copy");
        std::fs::copy(&copy, &file).map(|_| ()).map_err(|source| AnvilError::State { path: file, source })
    }

    fn length(&self) -> u64 {
        std::fs::metadata(self.file()).map_or(0, |about| about.len())
    }

    /// Before a start: sets room aside for the last state.
    pub(super) fn set_room_aside(&self) -> Result<(), AnvilError> {
        let path = self.folder.clone();
        self.reserve.hold(self.length()).map_err(|source| match source.kind() {
            std::io::ErrorKind::StorageFull => AnvilError::Full { path, source },
            _ => AnvilError::State { path, source },
        })
    }

    /// Before an end: there must be room for the last state.
    pub(super) fn make_room(&self) {
        self.reserve.release();
    }

    /// Copies a version that is complete and new. A version caught half-written is left for the next time.
    pub(super) fn keep(&mut self) {
        let Ok(meta) = std::fs::metadata(self.file()) else {
            return;
        };
        let stamp = meta.modified().ok().map(|time| (time, meta.len()));
        if stamp.is_none() || stamp == self.copied {
            return;
        }
        match self.copy_if_whole().and_then(|whole| self.reserve.hold(self.length()).map(|()| whole)) {
            Ok(true) => {
                self.copied = stamp;
                self.complaint.clear();
            }
            Ok(false) => {}
            Err(error) => {
                let why = error.to_string();
                if why != self.complaint {
                    tracing::warn!(error = %error, "cannot keep a copy of the chain's state");
                    self.complaint = why;
                }
            }
        }
    }

    /// Checks the copy rather than the file, which may change under our eyes, and never holds it in memory: it can be large.
    fn copy_if_whole(&self) -> std::io::Result<bool> {
        let fresh = self.folder.join("chain.good.json.new");
        if let Err(error) = std::fs::copy(self.file(), &fresh) {
            // Half a copy only takes up room.
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        if !is_whole(&fresh) {
            return Ok(false);
        }
        File::open(&fresh)?.sync_all()?;
        std::fs::rename(&fresh, self.copy())?;
        File::open(&self.folder)?.sync_all()?;
        Ok(true)
    }
}

fn is_whole(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| serde_json::from_reader::<_, IgnoredAny>(BufReader::new(file)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_file_is_replaced_by_the_last_whole_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::open(folder.path()).expect("a state");
        state.repair().expect("nothing yet");
        std::fs::write(state.file(), r#"{"block":1}"#).expect("written");
        state.keep();
        std::fs::write(state.file(), r#"{"block":2,"acc"#).expect("written");
        state.keep();
        state.repair().expect("repaired");
        assert_eq!(std::fs::read_to_string(state.file()).expect("the file"), r#"{"block":1}"#);
        std::fs::write(state.copy(), "").expect("written");
        std::fs::write(state.file(), "{").expect("written");
        assert!(matches!(state.repair(), Err(AnvilError::Damaged { .. })));
    }
}
