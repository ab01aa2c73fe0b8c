//! Where the built artefacts are: one cache folder that `make setup` fills and every program reads.
//!
//! ```text
//! ${SUBLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sublet}/images/
//!   oci/               OCI image layout: debian-12, cowsay, and what was pulled
//!   disks/             erofs files made from it
//!   kernel/vmlinuz     kernel of every virtual machine
//!   kernel/init        our static init, which containers have bind-mounted
//!   kernel/initrd      our init and the kernel modules it loads
//!   kernel/modules/    lib/modules/RELEASE of that kernel
//! ```

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::store::{ImageStore, StoreError};

/// Why the artefacts cannot be used. Each says what to do.
#[derive(Debug, Error)]
pub enum ArtefactError {
    /// No variable says where the cache is.
    #[error("cannot tell where the image cache is: set SUBLET_CACHE or HOME")]
    NoHome,
    /// A file is not there.
    #[error("{0} is missing; run `make images`")]
    Missing(PathBuf),
}

/// The cache of images, kernel and initrd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefacts {
    root: PathBuf,
}

impl Artefacts {
    /// The cache the environment names: `SUBLET_CACHE`, else `XDG_CACHE_HOME/sublet`, else `HOME/.cache/sublet`.
    ///
    /// # Errors
    /// [`ArtefactError::NoHome`] if none is set. Whether anything is there is told by [`Self::check`].
    pub fn locate() -> Result<Self, ArtefactError> {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = variable("SUBLET_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|c| c.join("sublet")))
            .or_else(|| variable("HOME").map(|h| h.join(".cache/sublet")));
        cache.map(|c| Self::at(c.join("images"))).ok_or(ArtefactError::NoHome)
    }

    /// The cache at `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The kernel's folder.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.root.join("kernel")
    }

    /// The kernel, compressed as the machine loads it.
    #[must_use]
    pub fn vmlinuz(&self) -> PathBuf {
        self.kernel().join("vmlinuz")
    }

    /// The initrd with our init.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.kernel().join("initrd")
    }

    /// Our static init.
    #[must_use]
    pub fn init(&self) -> PathBuf {
        self.kernel().join("init")
    }

    /// `lib/modules/RELEASE` of the kernel.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.kernel().join("modules")
    }

    /// Opens the image store, making it where it is missing.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be made or holds something else.
    pub fn store(&self) -> Result<ImageStore, StoreError> {
        ImageStore::open(&self.root)
    }

    /// Checks that kernel, init and initrd are there.
    ///
    /// # Errors
    /// [`ArtefactError::Missing`] with the first that is not.
    pub fn check(&self) -> Result<(), ArtefactError> {
        [self.vmlinuz(), self.init(), self.initrd()]
            .into_iter()
            .try_for_each(|path| if path.is_file() { Ok(()) } else { Err(ArtefactError::Missing(path)) })
    }
}
