//! Recipes: how an image is made from Debian packages, as `images/NAME/recipe.toml` with an optional `rootfs/` of files
//! to lay over it. `mmdebstrap` does the work; what is kept of it is decided here, so that the same packages give the
//! same digest.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use sublet_machine::ImageConfig;
use thiserror::Error;

use crate::apt;
use crate::store::{ImageStore, StoreError};
use crate::tree::{Children, Components, Kind, LayerError, Meta, Tree};

/// No file of an image is younger: 2024-01-01, seconds.
pub const EPOCH: u64 = 1_704_067_200;
/// Counted up when this file changes what a recipe gives.
const FORMAT: u32 = 1;

/// How a recipe fails.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// A file of the recipe cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The recipe is not valid.
    #[error("{path} is not a recipe")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A program did not start.
    #[error("cannot run {0}; `make setup` installs it")]
    Spawn(&'static str, #[source] io::Error),
    /// A program failed.
    #[error("{program} failed for {name}:\n{log}")]
    Failed {
        /// Which.
        program: &'static str,
        /// The recipe.
        name: String,
        /// The end of what it said.
        log: String,
    },
    /// An ordinary user without subordinate ids.
    #[error(
        "building images as an ordinary user needs ranges for you in /etc/subuid and /etc/subgid, as adduser makes them; or build as root"
    )]
    NoSubordinateIds,
    /// What it made, or the recipe's own files, cannot be used.
    #[error("cannot use what was built for {name}")]
    Layer {
        /// The recipe.
        name: String,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// A path that must be in the result is not.
    #[error("the packages of {name} no longer have {path}; adjust its recipe")]
    Lacks {
        /// The recipe.
        name: String,
        /// What is missing.
        path: String,
    },
    /// The image store failed.
    #[error("cannot store {0}")]
    Store(String, #[source] Box<StoreError>),
}

/// What mmdebstrap does with the packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Variant {
    /// A system that installs packages: essential ones and apt.
    Minbase,
    /// The packages' files and nothing run.
    Extract,
}

/// A recipe as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    suite: String,
    variant: Variant,
    packages: Vec<String>,
    /// Only these paths, with what is below them; everything if empty.
    #[serde(default)]
    keep: Vec<String>,
    /// Without these; a path that ends in `/` is emptied.
    #[serde(default)]
    drop: Vec<String>,
    /// Empty folders to have, mode 0755.
    #[serde(default)]
    folders: Vec<String>,
    #[serde(default)]
    run: Run,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Run {
    argv: Vec<String>,
    env: Vec<String>,
    cwd: String,
}

/// A recipe that was read.
#[derive(Clone, Debug)]
pub struct Recipe {
    folder: PathBuf,
    name: String,
    document: Document,
}

impl Recipe {
    /// Reads the recipe in `folder`, named like it.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn read(folder: &Path) -> Result<Self, RecipeError> {
        let path = folder.join("recipe.toml");
        let text = fs::read_to_string(&path).map_err(|source| RecipeError::Read { path: path.clone(), source })?;
        let document = toml::from_str(&text).map_err(|e| RecipeError::Parse { path, source: Box::new(e) })?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { folder: folder.to_owned(), name, document })
    }

    /// The image's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A digest of everything in the recipe: equal means there is nothing to build again.
    ///
    /// # Errors
    /// [`RecipeError::Read`].
    pub fn fingerprint(&self) -> Result<String, RecipeError> {
        let mut hash = Sha256::new();
        hash.update(FORMAT.to_be_bytes());
        for path in files(&self.folder)? {
            let content = fs::read(&path).map_err(|source| RecipeError::Read { path: path.clone(), source })?;
            let name = path.strip_prefix(&self.folder).unwrap_or(&path).to_string_lossy().into_owned();
            hash.update(format!("{name}\0{}\0{}\0", file_mode(&path)?, content.len()));
            hash.update(&content);
        }
        Ok(format!("recipe:{}", sublet_base::Digest(hash.finalize().into()).hex()))
    }

    /// Builds the root file system in `work`, an empty folder; takes seconds to minutes.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn build(&self, store: &ImageStore, work: &Path) -> Result<Tree, RecipeError> {
        let archive = work.join("rootfs.tar");
        self.mmdebstrap(work, &archive)?;
        let file = File::open(&archive).map_err(|source| RecipeError::Read { path: archive.clone(), source })?;
        let mut tree = store.empty_tree().map_err(|e| RecipeError::Store(self.name.clone(), Box::new(e)))?;
        tree.apply(io::BufReader::new(file)).map_err(|e| self.layer(e))?;
        self.require(&tree)?;
        tree.filter(&self.document.keep, &self.document.drop).map_err(|e| self.layer(e))?;
        self.overlay(&mut tree)?;
        Ok(tree)
    }

    /// How the image wants to be run.
    #[must_use]
    pub fn config(&self) -> ImageConfig {
        let run = self.document.run.clone();
        ImageConfig { argv: run.argv, env: run.env, cwd: run.cwd }
    }

    fn mmdebstrap(&self, work: &Path, archive: &Path) -> Result<(), RecipeError> {
        let variant = match self.document.variant {
            Variant::Minbase => "--variant=minbase",
            Variant::Extract => "--variant=extract",
        };
        let log = work.join("mmdebstrap.log");
        let output = File::create(&log).map_err(|source| RecipeError::Read { path: log.clone(), source })?;
        let errors = output.try_clone().map_err(|source| RecipeError::Read { path: log.clone(), source })?;
        let mut command = Command::new("mmdebstrap");
        command.args([variant, "--format=tar", "--architectures=amd64"]);
        command.arg(format!("--include={}", self.document.packages.join(",")));
        command.arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
        command.arg(&self.document.suite).arg(archive);
        if let Some(sources) = apt::own_sources(&self.document.suite)? {
            let path = work.join("debian.list");
            fs::write(&path, sources).map_err(|source| RecipeError::Read { path: path.clone(), source })?;
            command.arg(path);
        }
        command.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).env("LC_ALL", "C.UTF-8").env("TMPDIR", work);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let status = command.status().map_err(|e| RecipeError::Spawn("mmdebstrap", e))?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        if said.contains("unable to pick chroot mode") {
            return Err(RecipeError::NoSubordinateIds);
        }
        let lines: Vec<_> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(15)..].join("\n");
        Err(RecipeError::Failed { program: "mmdebstrap", name: self.name.clone(), log: end })
    }

    /// A kept path that vanished from the packages is an error here, not a riddle in a machine.
    fn require(&self, tree: &Tree) -> Result<(), RecipeError> {
        for path in &self.document.keep {
            let parsed = Components::parse(path.as_bytes()).map_err(|e| self.layer(e))?;
            if tree.find(&parsed).is_none() {
                return Err(RecipeError::Lacks { name: self.name.clone(), path: path.clone() });
            }
        }
        Ok(())
    }

    fn overlay(&self, tree: &mut Tree) -> Result<(), RecipeError> {
        tree.next_layer();
        for folder in &self.document.folders {
            let meta = Meta { mode: 0o755, mtime: EPOCH, ..Meta::default() };
            let path = Components::parse(folder.as_bytes()).map_err(|e| self.layer(e))?;
            tree.put(&path, meta, Kind::Folder(Children::new())).map_err(|e| self.layer(e))?;
        }
        let rootfs = self.folder.join("rootfs");
        if !rootfs.is_dir() {
            return Ok(());
        }
        for path in files(&rootfs)? {
            let inside = path.strip_prefix(&rootfs).unwrap_or(&path).to_string_lossy().into_owned();
            let mut file = File::open(&path).map_err(|source| RecipeError::Read { path: path.clone(), source })?;
            let meta = Meta { mode: file_mode(&path)?, mtime: EPOCH, ..Meta::default() };
            let content: Kind = tree.spool(&mut file).map_err(|e| self.layer(e))?;
            let inside = Components::parse(inside.as_bytes()).map_err(|e| self.layer(e))?;
            tree.put(&inside, meta, content).map_err(|e| self.layer(e))?;
        }
        Ok(())
    }

    fn layer(&self, source: LayerError) -> RecipeError {
        RecipeError::Layer { name: self.name.clone(), source }
    }
}

/// Git keeps only the executable bit; so do we, whatever the umask was at checkout.
fn file_mode(path: &Path) -> Result<u16, RecipeError> {
    let metadata = fs::metadata(path).map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
    Ok(if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 })
}

/// Every file below `folder`, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>, RecipeError> {
    let read = |source| RecipeError::Read { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}
