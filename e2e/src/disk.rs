//! A disk of a few MiB in place of a folder, seen only by this test and what it starts.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// A tmpfs of limited size over a folder. Only root can have one.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Puts a disk of `mib` over `folder`, for this thread and the processes that it starts from here on. Nothing, and a word about it,
    /// where that is not possible.
    pub fn over(folder: &Path, mib: u32) -> Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can put a small disk over a folder");
            return Ok(None);
        }
        unshare(CloneFlags::CLONE_NEWNS).context("no mount namespace of our own")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        let size = format!("size={mib}m,mode=700");
        mount(Some("small"), folder, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))?;
        Ok(Some(Self { folder: folder.to_owned() }))
    }

    /// Takes up all that is free but the last `leave` KiB.
    pub fn fill(&self, leave: u64) -> Result<()> {
        let stat = nix::sys::statvfs::statvfs(&self.folder)?;
        let free = stat.blocks_available() * stat.fragment_size();
        let taken = free.saturating_sub(leave << 10);
        let file = std::fs::File::options().create(true).append(true).open(self.filler())?;
        let from = file.metadata()?.len();
        if taken > 0 {
            nix::fcntl::posix_fallocate(&file, from.cast_signed(), taken.cast_signed())?;
        }
        if leave == 0 {
            self.fill_the_rest()?;
        }
        Ok(())
    }

    /// Others write at the same time, and give room back.
    fn fill_the_rest(&self) -> Result<()> {
        use io::Write;
        let mut file = std::fs::File::options().create(true).append(true).open(self.filler())?;
        loop {
            match file.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => bail!(error),
            }
        }
    }

    /// Gives all of it back.
    pub fn make_room(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}
