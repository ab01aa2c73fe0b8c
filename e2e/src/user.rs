//! An ordinary user of this computer, whom only the test's thread and what it starts know: a name, a home, and the product within reach.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::tent::Tent;

/// Nobody's number on Debian.
const ID: u32 = 47_611;

/// The user. Everything of theirs is below one folder.
pub struct User {
    folder: Tent,
}

impl User {
    /// In the mount namespace that [`crate::devices::without`] made: the cache of images, the chain and the binary are where others may
    /// read them.
    pub fn new(binary: &Path) -> Result<Self> {
        let user = Self { folder: Tent::pitch("sublet-e2e-user-")? };
        let root = user.folder.path();
        fs::create_dir(user.home())?;
        user.owns(&user.home())?;
        show(binary, &user.binary())?;
        let known =
            std::env::var_os("SUBLET_GUEST_INIT").context("SUBLET_GUEST_INIT names nothing: use `make test`")?;
        // CACHE/images/kernel/init
        let cache = Path::new(&known).ancestors().nth(3).context("no cache of images")?;
        show(&cache.join("images"), &root.join("cache/images"))?;
        let chain = std::env::var_os("SUBLET_ANVIL").context("SUBLET_ANVIL names nothing: use `make test`")?;
        show(Path::new(&chain), &root.join("anvil"))?;
        let known = fs::read_to_string("/etc/passwd")?;
        let names = root.join("passwd");
        fs::write(&names, format!("{known}renter:x:{ID}:{ID}::{}:/bin/sh\n", user.home().display()))?;
        show(&names, Path::new("/etc/passwd"))?;
        Ok(user)
    }

    /// A folder of theirs.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The product as they see it.
    pub fn binary(&self) -> PathBuf {
        self.folder.path().join("sublet")
    }

    /// Gives them a file or folder.
    pub fn owns(&self, path: &Path) -> Result<()> {
        chown(path, Some(ID), Some(ID)).with_context(|| format!("cannot give away {}", path.display()))
    }

    /// Has them run it, with nothing of root's around it.
    pub fn runs(&self, command: &mut Command) {
        let root = self.folder.path();
        command.env_clear().env("PATH", OsStr::new("/usr/bin:/bin")).env("HOME", self.home());
        command.env("SUBLET_CACHE", root.join("cache")).env("SUBLET_ANVIL", root.join("anvil"));
        // The other groups go with it.
        command.uid(ID).gid(ID);
    }
}

/// `from` also at `to`.
fn show(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
    } else if !to.exists() {
        fs::write(to, "")?;
    }
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND, none).with_context(|| format!("cannot show {}", from.display()))
}
