//! Room on the disk that is set aside for the chain's last state. Anvil writes it in place when it stops, so a full disk would
//! leave half a state, and the blocks since the last whole one would be lost.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::posix_fallocate;

/// Set aside for the smallest chain, bytes.
const LEAST: u64 = 4 << 20;

/// A file that only takes up room.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Sets aside enough for a state that is now `length` bytes long, and for what it grows in the meantime.
    ///
    /// # Errors
    /// The system's; `StorageFull` if there is no such room.
    pub(super) fn hold(&self, length: u64) -> io::Result<()> {
        let wanted = length.saturating_mul(2).max(LEAST);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        let held = file.metadata()?.len();
        if held >= wanted {
            return Ok(());
        }
        posix_fallocate(&file, 0, wanted.cast_signed()).map_err(|error| {
            // What little there was is better left to others.
            let _ = file.set_len(held);
            error.into()
        })
    }

    /// Gives the room back, for the state to be written.
    pub(super) fn release(&self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot give back the room that was set aside for the chain's state");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn room_is_really_taken_grows_with_the_state_and_is_given_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let reserve = Reserve::new(folder.path().join("reserve"));
        let taken = || std::fs::metadata(&reserve.path).map(|about| about.blocks() * 512).unwrap_or(0);
        reserve.hold(10).expect("room");
        assert!(taken() >= LEAST, "{} bytes", taken());
        reserve.hold(LEAST).expect("room");
        assert!(taken() >= 2 * LEAST, "{} bytes", taken());
        reserve.release();
        assert_eq!(taken(), 0);
        reserve.release();
    }
}
