//! A root file system held as a tree in memory, with file contents in one anonymous spool file.
//!
//! Layers are applied to the tree, not to a folder: a hostile path can name nothing outside it, ownership survives
//! without privileges, and a half-done unpack leaves nothing behind. Bounded by [`Bounds`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;

use thiserror::Error;

/// What an image may weigh once unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of file content, of all layers together.
    pub bytes: u64,
    /// Tar entries, of all layers together.
    pub entries: u64,
    /// Bytes of names, link targets and attributes, of all layers together: they are held in memory.
    pub words: u64,
}

impl Default for Bounds {
    /// 32 GiB, a million entries, 256 MiB of names and the like.
    fn default() -> Self {
        Self { bytes: 32 << 30, entries: 1_000_000, words: 256 << 20 }
    }
}

/// Longest path, bytes, as in Linux.
const MAX_PATH: usize = 4096;
/// Most folders inside one another; links could build what no path can name, and walking it takes a frame each.
const MAX_DEPTH: usize = 256;
/// Longest single name, bytes, as in Linux.
pub(crate) const MAX_NAME: usize = 255;
/// Extended attributes of one file, bytes of names and values: they must fit beside the inode.
const MAX_XATTRS: usize = 2048;

/// Why a layer is refused.
#[derive(Debug, Error)]
pub enum LayerError {
    /// The archive or the disk failed.
    #[error("could not read the layer")]
    Io(#[from] io::Error),
    /// A path that leaves the root, or that Linux could not hold.
    #[error("the layer has a forbidden path {0:?}")]
    Path(String),
    /// A hard link to nothing, or to a folder.
    #[error("the layer links {path:?} to {target:?}, which is no file")]
    Link {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// More than [`Bounds`] allows.
    #[error("the image is too large: more than {0}")]
    TooLarge(String),
    /// A symbolic link that loops, or a parent that is a file.
    #[error("{0:?} is below something that is not a folder")]
    NotAFolder(String),
    /// A kind of entry no root file system has.
    #[error("the layer has an entry of unknown kind at {0:?}")]
    Kind(String),
}

/// Index of a node in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// Children by name.
pub(crate) type Children = BTreeMap<Vec<u8>, NodeId>;

/// Ownership, permissions and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permission bits with set-id and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds.
    pub(crate) mtime: u64,
    /// Only `user.*` and `security.capability`.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder(Children),
    /// A range of the spool.
    File {
        offset: u64,
        size: u64,
    },
    Symlink(Vec<u8>),
    Fifo,
}

/// A file, folder or link. Hard links are one node under several names.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) meta: Meta,
    pub(crate) kind: Kind,
    /// Layer that last stated it; whiteouts hide lower layers only.
    pub(crate) layer: u32,
}

/// A root file system.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    spool: File,
    spooled: u64,
    entries: u64,
    words: u64,
    layers: u32,
    /// What this layer has hidden the contents of. Nothing of a lower layer comes back there, so once is enough.
    hidden: BTreeSet<NodeId>,
    bounds: Bounds,
}

impl Tree {
    /// The root's node.
    pub(crate) const ROOT: NodeId = NodeId(0);

    /// An empty root, spooling into `spool`.
    #[must_use]
    pub fn new(spool: File, bounds: Bounds) -> Self {
        let root =
            Node { meta: Meta { mode: 0o755, ..Meta::default() }, kind: Kind::Folder(Children::new()), layer: 0 };
        let (nodes, hidden) = (vec![root], BTreeSet::new());
        Self { nodes, spool, spooled: 0, entries: 0, words: 0, layers: 0, hidden, bounds }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Highest id in use plus one, for tables indexed by node.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Reads `buffer.len()` bytes of a file's content.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.spool.read_exact_at(buffer, offset)
    }

    /// A folder's children; none for anything else.
    pub(crate) fn children(&self, id: NodeId) -> impl Iterator<Item = (&Vec<u8>, NodeId)> {
        let children = match &self.node(id).kind {
            Kind::Folder(children) => Some(children),
            Kind::File { .. } | Kind::Symlink(_) | Kind::Fifo => None,
        };
        children.into_iter().flatten().map(|(name, id)| (name, *id))
    }

    /// Starts the next layer.
    pub(crate) fn next_layer(&mut self) {
        self.layers += 1;
        self.hidden.clear();
    }

    /// Counts one more entry.
    pub(crate) fn count_entry(&mut self) -> Result<(), LayerError> {
        self.entries += 1;
        if self.entries > self.bounds.entries {
            return Err(LayerError::TooLarge(format!("{} files", self.bounds.entries)));
        }
        Ok(())
    }

    fn count_words(&mut self, bytes: usize) -> Result<(), LayerError> {
        self.words += bytes as u64;
        if self.words > self.bounds.words {
            return Err(LayerError::TooLarge(format!("{} bytes of names, links and attributes", self.bounds.words)));
        }
        Ok(())
    }

    /// Copies a file's content into the spool.
    pub(crate) fn spool(&mut self, content: &mut impl Read) -> Result<Kind, LayerError> {
        let offset = self.spooled;
        let room = self.bounds.bytes - offset;
        self.spool.seek(io::SeekFrom::Start(offset))?;
        let size = io::copy(&mut content.take(room + 1), &mut self.spool)?;
        if size > room {
            return Err(LayerError::TooLarge(format!("{} bytes", self.bounds.bytes)));
        }
        self.spool.flush()?;
        self.spooled += size;
        Ok(Kind::File { offset, size })
    }

    /// Puts a node at `path`, replacing what is there; a folder over a folder keeps its children.
    pub(crate) fn put(&mut self, path: &Components, meta: Meta, kind: Kind) -> Result<(), LayerError> {
        let target = if let Kind::Symlink(target) = &kind { target.len() } else { 0 };
        self.count_words(target + meta.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>())?;
        let Some((name, parents)) = path.0.split_last() else {
            self.nodes[0].meta = meta;
            return Ok(());
        };
        let parent = self.make_folders(parents, path)?;
        let layer = self.layers;
        let existing = self.child(parent, name);
        if let (Some(id), Kind::Folder(_)) = (existing, &kind)
            && matches!(self.node(id).kind, Kind::Folder(_))
        {
            let node = &mut self.nodes[id.0];
            node.meta = meta;
            node.layer = layer;
            return Ok(());
        }
        self.nodes.push(Node { meta, kind, layer });
        self.link(parent, name, NodeId(self.nodes.len() - 1))
    }

    /// Makes `path` another name of the file at `target`.
    pub(crate) fn hard_link(&mut self, path: &Components, target: &Components) -> Result<(), LayerError> {
        let broken = || LayerError::Link { path: path.to_string(), target: target.to_string() };
        let id = self.find(target).ok_or_else(broken)?;
        if matches!(self.node(id).kind, Kind::Folder(_)) {
            return Err(broken());
        }
        let (name, parents) = path.0.split_last().ok_or_else(broken)?;
        let parent = self.make_folders(parents, path)?;
        self.nodes[id.0].layer = self.layers;
        self.link(parent, name, id)
    }

    /// Hides `name` of lower layers in the folder at `parents`.
    pub(crate) fn whiteout(&mut self, parents: &Components, name: &[u8]) {
        if let Some(folder) = self.find(parents) {
            self.hide(folder, name);
        }
    }

    /// Hides everything of lower layers in the folder at `path`.
    pub(crate) fn opaque(&mut self, path: &Components) {
        if let Some(folder) = self.find(path) {
            self.hide_below(folder);
        }
    }

    /// What this layer itself put there, before or after its whiteout, stays.
    fn hide(&mut self, folder: NodeId, name: &[u8]) {
        let Some(id) = self.child(folder, name) else { return };
        self.hide_below(id);
        if self.node(id).layer < self.layers && self.children(id).next().is_none() {
            self.unlink(folder, name);
        }
    }

    fn hide_below(&mut self, folder: NodeId) {
        if !self.hidden.insert(folder) {
            return;
        }
        let names: Vec<_> = self.children(folder).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.hide(folder, name));
    }

    /// Removes the entry at `path`, and whatever is below it.
    pub(crate) fn remove(&mut self, path: &Components) {
        if let Some((name, parents)) = path.0.split_last()
            && let Some(parent) = self.walk(parents)
        {
            self.unlink(parent, name);
        }
    }

    /// The node at `path`, following no link in its last component.
    pub(crate) fn find(&self, path: &Components) -> Option<NodeId> {
        match path.0.split_last() {
            None => Some(Self::ROOT),
            Some((name, parents)) => self.child(self.walk(parents)?, name),
        }
    }

    fn walk(&self, parents: &[Vec<u8>]) -> Option<NodeId> {
        match self.resolve(parents) {
            Resolved::Folder(id) => Some(id),
            Resolved::Missing { .. } | Resolved::Blocked | Resolved::TooDeep => None,
        }
    }

    fn child(&self, folder: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.node(folder).kind {
            Kind::Folder(children) => children.get(name).copied(),
            Kind::File { .. } | Kind::Symlink(_) | Kind::Fifo => None,
        }
    }

    fn link(&mut self, folder: NodeId, name: &[u8], id: NodeId) -> Result<(), LayerError> {
        self.count_words(name.len())?;
        if let Kind::Folder(children) = &mut self.nodes[folder.0].kind {
            children.insert(name.to_vec(), id);
        }
        Ok(())
    }

    fn unlink(&mut self, folder: NodeId, name: &[u8]) {
        if let Kind::Folder(children) = &mut self.nodes[folder.0].kind {
            children.remove(name);
        }
    }

    /// The folder at `parents`, made where missing, through links a lower layer left (`/lib -> usr/lib`).
    fn make_folders(&mut self, parents: &[Vec<u8>], whole: &Components) -> Result<NodeId, LayerError> {
        match self.resolve(parents) {
            Resolved::Folder(id) => Ok(id),
            Resolved::Blocked => Err(LayerError::NotAFolder(whole.to_string())),
            Resolved::TooDeep => Err(LayerError::TooLarge(format!("{MAX_DEPTH} folders inside one another"))),
            Resolved::Missing { mut folder, rest } => {
                for name in rest {
                    self.count_entry()?;
                    let meta = Meta { mode: 0o755, ..Meta::default() };
                    self.nodes.push(Node { meta, kind: Kind::Folder(Children::new()), layer: self.layers });
                    let id = NodeId(self.nodes.len() - 1);
                    self.link(folder, &name, id)?;
                    folder = id;
                }
                Ok(folder)
            }
        }
    }

    /// Follows names and links from the root, never leaving it, as `chroot` would.
    fn resolve(&self, parents: &[Vec<u8>]) -> Resolved {
        let mut todo: Vec<Vec<u8>> = parents.iter().rev().cloned().collect();
        let mut trail = vec![Self::ROOT];
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let here = *trail.last().unwrap_or(&Self::ROOT);
            if name == b".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let Some(id) = self.child(here, &name) else {
                let mut rest = vec![name];
                rest.extend(todo.into_iter().rev());
                // A dangling link's target is made only where that needs no climbing.
                return if rest.iter().any(|n| n == b"..") {
                    Resolved::Blocked
                } else if trail.len() + rest.len() > MAX_DEPTH {
                    Resolved::TooDeep
                } else {
                    Resolved::Missing { folder: here, rest }
                };
            };
            match &self.node(id).kind {
                Kind::Folder(_) if trail.len() > MAX_DEPTH => return Resolved::TooDeep,
                Kind::Folder(_) => trail.push(id),
                Kind::Symlink(target) => {
                    links += 1;
                    if links > 40 {
                        return Resolved::Blocked;
                    }
                    if target.starts_with(b"/") {
                        trail.truncate(1);
                    }
                    let parts = target.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".");
                    todo.extend(parts.rev().map(<[u8]>::to_vec));
                }
                Kind::File { .. } | Kind::Fifo => return Resolved::Blocked,
            }
        }
        Resolved::Folder(*trail.last().unwrap_or(&Self::ROOT))
    }
}

/// Where following a path ended.
enum Resolved {
    Folder(NodeId),
    Missing { folder: NodeId, rest: Vec<Vec<u8>> },
    Blocked,
    TooDeep,
}

/// A path inside the root, as checked names. Empty is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Components(pub(crate) Vec<Vec<u8>>);

impl Components {
    /// Splits a path from an archive.
    pub(crate) fn parse(path: &[u8]) -> Result<Self, LayerError> {
        let bad = || LayerError::Path(String::from_utf8_lossy(&path[..path.len().min(MAX_PATH)]).into_owned());
        if path.len() > MAX_PATH || path.contains(&0) {
            return Err(bad());
        }
        let names = path.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".");
        let names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
        if names.iter().any(|n| n == b".." || n.len() > MAX_NAME) {
            return Err(bad());
        }
        Ok(Self(names))
    }
}

impl std::fmt::Display for Components {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            f.write_str("/")?;
        }
        self.0.iter().try_for_each(|name| write!(f, "/{}", String::from_utf8_lossy(name)))
    }
}

/// Whether an extended attribute belongs on a machine's disk; others describe the computer the layer was made on.
pub(crate) fn wanted_xattr(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.")
}

/// Refuses attributes that would not fit beside an inode.
pub(crate) fn check_xattrs(path: &Components, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), LayerError> {
    let size: usize = xattrs.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    if size > MAX_XATTRS || xattrs.keys().any(|name| name.len() > MAX_NAME) {
        return Err(LayerError::TooLarge(format!("{MAX_XATTRS} bytes of attributes on {path}")));
    }
    Ok(())
}
