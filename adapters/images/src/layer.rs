//! Layers: tar archives applied to a [`Tree`], and a tree written as one deterministic archive.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use crate::archive::{self, Item, XATTR};
use crate::tree::{Components, Kind, LayerError, Node, NodeId, Tree};

/// Prefix of a whiteout's name.
const WHITEOUT: &[u8] = b".wh.";
/// A whiteout of everything in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

impl Tree {
    /// Applies an uncompressed layer: later entries win, whiteouts hide lower layers.
    ///
    /// Device nodes are left out: every machine gets a `/dev` of its own, and one elsewhere would be a hole in it.
    ///
    /// # Errors
    /// [`LayerError`]; the tree is then half-changed, so drop it.
    pub fn apply(&mut self, layer: impl Read) -> Result<(), LayerError> {
        self.next_layer();
        archive::each(&mut Archive::new(layer), |item| {
            self.count_entry()?;
            item.map_or(Ok(()), |item| self.take(item))
        })
    }

    fn take<R: Read>(&mut self, item: Item<'_, R>) -> Result<(), LayerError> {
        let Item { path, link, meta, mut entry } = item;
        if self.take_whiteout(&path)? {
            return Ok(());
        }
        let kind = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => self.spool(&mut entry)?,
            EntryType::Directory => Kind::Folder(BTreeMap::new()),
            EntryType::Symlink if !link.is_empty() && link.len() < 4096 && !link.contains(&0) => Kind::Symlink(link),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Link => return self.hard_link(&path, &Components::parse(&link)?),
            EntryType::Char | EntryType::Block => {
                tracing::debug!(%path, "left out a device node");
                self.remove(&path);
                return Ok(());
            }
            _ => return Err(LayerError::Kind(path.to_string())),
        };
        if path.0.is_empty() && !matches!(kind, Kind::Folder(_)) {
            return Err(LayerError::Path("/".into()));
        }
        self.put(&path, meta, kind)
    }

    /// Carries out a whiteout; false when the entry is none.
    fn take_whiteout(&mut self, path: &Components) -> Result<bool, LayerError> {
        let Some((name, parents)) = path.0.split_last() else { return Ok(false) };
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        let parents = Components(parents.to_vec());
        if name == OPAQUE {
            self.opaque(&parents);
        } else if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(LayerError::Path(path.to_string()));
        } else {
            self.whiteout(&parents, hidden);
        }
        Ok(true)
    }

    /// Writes the tree as a tar with sorted entries and no time later than `latest` (seconds).
    ///
    /// # Errors
    /// The writer's.
    pub fn pack(&self, out: impl Write, latest: u64) -> io::Result<()> {
        let mut packer = Packer { tree: self, tar: Builder::new(out), latest, seen: BTreeMap::new() };
        packer.folder(Self::ROOT, &mut b"./".to_vec())?;
        packer.tar.into_inner()?.flush()
    }

    /// Keeps only what is at or below one of `keep` (everything if empty), then removes what is at or below one of
    /// `drop`, or only below it where it ends in `/`.
    ///
    /// # Errors
    /// [`LayerError::Path`] for a path that leaves the root.
    pub fn filter(&mut self, keep: &[String], drop: &[String]) -> Result<(), LayerError> {
        if !keep.is_empty() {
            let keep = keep.iter().map(|p| Components::parse(p.as_bytes())).collect::<Result<BTreeSet<_>, _>>()?;
            let mut doomed = Vec::new();
            self.others(Self::ROOT, &mut Components::default(), &keep, &mut doomed);
            doomed.iter().for_each(|path| self.remove(path));
        }
        for path in drop {
            let parsed = Components::parse(path.as_bytes())?;
            if !path.ends_with('/') {
                self.remove(&parsed);
            } else if let Some(folder) = self.find(&parsed) {
                let names: Vec<_> = self.children(folder).map(|(name, _)| name.clone()).collect();
                for name in names {
                    let mut child = parsed.clone();
                    child.0.push(name);
                    self.remove(&child);
                }
            }
        }
        Ok(())
    }

    /// Collects the topmost paths that are neither kept nor above something kept.
    fn others(&self, folder: NodeId, path: &mut Components, keep: &BTreeSet<Components>, doomed: &mut Vec<Components>) {
        for (name, id) in self.children(folder) {
            path.0.push(name.clone());
            let leads_to_kept = keep.range(path.clone()..).next().is_some_and(|k| k.0.starts_with(&path.0));
            if !leads_to_kept {
                doomed.push(path.clone());
            } else if !keep.contains(path) {
                self.others(id, path, keep, doomed);
            }
            path.0.pop();
        }
    }
}

/// Writes a tree depth first, names in byte order.
struct Packer<'a, W: Write> {
    tree: &'a Tree,
    tar: Builder<W>,
    latest: u64,
    /// First path of every file, for hard links.
    seen: BTreeMap<NodeId, Vec<u8>>,
}

impl<W: Write> Packer<'_, W> {
    fn folder(&mut self, id: NodeId, path: &mut Vec<u8>) -> io::Result<()> {
        let tree = self.tree;
        self.entry(id, path)?;
        for (name, child) in tree.children(id) {
            let length = path.len();
            path.extend_from_slice(name);
            if matches!(tree.node(child).kind, Kind::Folder(_)) {
                path.push(b'/');
                self.folder(child, path)?;
            } else {
                self.entry(child, path)?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, id: NodeId, path: &[u8]) -> io::Result<()> {
        let node = self.tree.node(id);
        let target = Path::new(OsStr::from_bytes(path));
        let mut header = self.header(node);
        if let Some(first) = self.seen.get(&id) {
            header.set_entry_type(EntryType::Link);
            header.set_size(0);
            let first = first.clone();
            return self.tar.append_link(&mut header, target, Path::new(OsStr::from_bytes(&first)));
        }
        if !node.meta.xattrs.is_empty() {
            let pairs: Vec<(String, &[u8])> = node
                .meta
                .xattrs
                .iter()
                .map(|(k, v)| (format!("{XATTR}{}", String::from_utf8_lossy(k)), v.as_slice()))
                .collect();
            self.tar.append_pax_extensions(pairs.iter().map(|(k, v)| (k.as_str(), *v)))?;
        }
        match &node.kind {
            Kind::Folder(_) | Kind::Fifo => self.tar.append_data(&mut header, target, io::empty()),
            Kind::Symlink(link) => self.tar.append_link(&mut header, target, Path::new(OsStr::from_bytes(link))),
            Kind::File { offset, size } => {
                self.seen.insert(id, path.to_vec());
                let content = SpoolReader { tree: self.tree, at: *offset, left: *size };
                self.tar.append_data(&mut header, target, content)
            }
        }
    }

    fn header(&self, node: &Node) -> Header {
        let mut header = Header::new_gnu();
        header.set_mode(u32::from(node.meta.mode));
        header.set_uid(u64::from(node.meta.uid));
        header.set_gid(u64::from(node.meta.gid));
        header.set_mtime(node.meta.mtime.min(self.latest));
        let (kind, size) = match &node.kind {
            Kind::Folder(_) => (EntryType::Directory, 0),
            Kind::Symlink(_) => (EntryType::Symlink, 0),
            Kind::Fifo => (EntryType::Fifo, 0),
            Kind::File { size, .. } => (EntryType::Regular, *size),
        };
        header.set_entry_type(kind);
        header.set_size(size);
        header
    }
}

/// Reads one file's content out of the spool.
pub(crate) struct SpoolReader<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) at: u64,
    pub(crate) left: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        self.tree.read_at(&mut buffer[..length], self.at)?;
        self.at += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}
