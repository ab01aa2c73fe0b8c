//! Archives to import, and what `fsck.erofs` makes of a disk.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use sublet_images::{Bounds, ImageStore, Tree};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A store in a folder of its own.
pub fn store() -> (TempDir, ImageStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    (folder, store)
}

pub fn tree() -> Tree {
    tree_within(Bounds::default())
}

pub fn tree_within(bounds: Bounds) -> Tree {
    Tree::new(tempfile::tempfile().unwrap(), bounds)
}

/// A tar under construction.
pub struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Adds an entry whose path and link are written as they are, however wrong.
    pub fn raw(mut self, kind: EntryType, path: &str, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.raw(EntryType::Regular, path, "", 0o644, content)
    }

    pub fn folder(self, path: &str) -> Self {
        self.raw(EntryType::Directory, path, "", 0o755, b"")
    }

    pub fn symlink(self, path: &str, to: &str) -> Self {
        self.raw(EntryType::Symlink, path, to, 0o777, b"")
    }

    pub fn hard_link(self, path: &str, to: &str) -> Self {
        self.raw(EntryType::Link, path, to, 0o644, b"")
    }

    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// What a person would see of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Folder(u32),
    File(u32, Vec<u8>),
    Symlink(PathBuf),
    Other(u32),
}

/// Everything in a disk, as the file system's own tools read it.
pub fn read_disk(disk: &Path) -> BTreeMap<PathBuf, Seen> {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out");
    let output = Command::new("fsck.erofs")
        .arg(format!("--extract={}", to.display()))
        .arg("--no-preserve-owner")
        .arg(disk)
        .output()
        .unwrap();
    assert!(output.status.success(), "fsck.erofs: {output:?}");
    let mut seen = BTreeMap::new();
    look(&to, &to, &mut seen);
    seen
}

fn look(root: &Path, path: &Path, seen: &mut BTreeMap<PathBuf, Seen>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mode = metadata.permissions().mode() & 0o7777;
    let what = if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            look(root, &entry.unwrap().path(), seen);
        }
        Seen::Folder(mode)
    } else if metadata.is_file() {
        Seen::File(mode, fs::read(path).unwrap())
    } else if metadata.is_symlink() {
        Seen::Symlink(fs::read_link(path).unwrap())
    } else {
        Seen::Other(metadata.mode())
    };
    seen.insert(Path::new("/").join(path.strip_prefix(root).unwrap()), what);
}

/// Writes a tree to a disk and reads it back.
pub fn through_erofs(tree: &Tree) -> BTreeMap<PathBuf, Seen> {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.erofs");
    tree.write_erofs(fs::File::create(&disk).unwrap()).unwrap();
    read_disk(&disk)
}
