//! A folder in memory, which others see only as an empty one.

use std::path::Path;

use anyhow::Result;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// Gone with everything below it when dropped.
pub struct Tent(TempDir);

impl Tent {
    /// In a mount namespace of one's own.
    pub fn pitch(prefix: &str) -> Result<Self> {
        let tent = Self(tempfile::Builder::new().prefix(prefix).tempdir()?);
        mount(Some("tent"), tent.path(), Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
        Ok(tent)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tent {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}
