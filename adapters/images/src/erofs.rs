//! Writes a [`Tree`] as an erofs file system: the same tree gives the same bytes on every computer.
//!
//! Uncompressed, 4 KiB blocks, extended inodes, no shared attributes. The layout follows the kernel's
//! `fs/erofs/erofs_fs.h`: a superblock at 1024, inodes in 32-byte slots with the last part of a file's data right
//! behind its inode where it fits into the block, then the data blocks.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::layer::SpoolReader;
use crate::tree::{Kind, Node, NodeId, Tree};

const BLOCK: u64 = 4096;
const MAGIC: u32 = 0xE0F5_E1E2;
/// Where inodes may start: behind the superblock.
const FIRST_INODE: u64 = 1024 + 128;
const SLOT: u64 = 32;
const INODE: u64 = 64;
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2;
/// Block address of a file that has no block.
const NO_BLOCK: u32 = u32::MAX;
const DIRENT: usize = 12;

/// Where one node goes.
struct Place {
    id: NodeId,
    parent: NodeId,
    /// Byte offset of the inode.
    at: u64,
    /// Attributes as they stand behind the inode.
    xattrs: Vec<u8>,
    size: u64,
    inline: bool,
    /// First data block, relative to the first of all.
    block: u64,
}

impl Place {
    fn new(tree: &Tree, id: NodeId, parent: NodeId) -> Self {
        let size = match &tree.node(id).kind {
            Kind::Folder(_) => folder_size(tree, id),
            Kind::File { size, .. } => *size,
            Kind::Symlink(target) => target.len() as u64,
            Kind::Fifo => 0,
        };
        Self { id, parent, at: 0, xattrs: encode_xattrs(tree.node(id)), size, inline: false, block: 0 }
    }

    fn tail(&self) -> u64 {
        self.size % BLOCK
    }

    fn blocks(&self) -> u64 {
        if self.inline { self.size / BLOCK } else { self.size.div_ceil(BLOCK) }
    }

    fn length(&self) -> u64 {
        INODE + self.xattrs.len() as u64 + if self.inline { self.tail() } else { 0 }
    }
}

impl Tree {
    /// Writes the file system.
    ///
    /// # Errors
    /// The writer's; `InvalidInput` if it would need more than 2^32 blocks.
    pub fn write_erofs(&self, out: impl Write) -> io::Result<()> {
        let plan = Plan::new(self)?;
        let mut out = Out { inner: out, at: 0 };
        plan.superblock(&mut out)?;
        for place in &plan.places {
            out.pad_to(place.at)?;
            plan.inode(place, &mut out)?;
        }
        for place in &plan.places {
            if place.blocks() > 0 {
                out.pad_to((plan.first_block + place.block) * BLOCK)?;
                let length = (place.blocks() * BLOCK).min(place.size);
                plan.content(place, 0, length, &mut out)?;
            }
        }
        out.pad_to((plan.first_block + plan.blocks) * BLOCK)?;
        out.inner.flush()
    }
}

/// Every node's place, root first, parents before children.
struct Plan<'a> {
    tree: &'a Tree,
    places: Vec<Place>,
    /// Index in `places` by node.
    index: Vec<usize>,
    links: Vec<u32>,
    first_block: u64,
    blocks: u64,
}

impl<'a> Plan<'a> {
    fn new(tree: &'a Tree) -> io::Result<Self> {
        let mut index = vec![usize::MAX; tree.len()];
        let mut links = vec![0_u32; tree.len()];
        let mut places = vec![Place::new(tree, Tree::ROOT, Tree::ROOT)];
        index[0] = 0;
        links[0] = 2;
        let mut next = 0;
        while let Some(folder) = places.get(next).map(|p| p.id) {
            for (_, child) in tree.children(folder) {
                let is_folder = matches!(tree.node(child).kind, Kind::Folder(_));
                links[child.0] += if is_folder { 2 } else { 1 };
                links[folder.0] += u32::from(is_folder);
                if index[child.0] == usize::MAX {
                    index[child.0] = places.len();
                    places.push(Place::new(tree, child, folder));
                }
            }
            next += 1;
        }
        let mut plan = Self { tree, places, index, links, first_block: 0, blocks: 0 };
        plan.lay_out()?;
        Ok(plan)
    }

    fn lay_out(&mut self) -> io::Result<()> {
        let mut at = FIRST_INODE;
        for place in &mut self.places {
            let head = INODE + place.xattrs.len() as u64;
            // An inline tail must lie in its inode's block.
            place.inline = place.tail() > 0 && head + place.tail() <= BLOCK;
            if at % BLOCK + place.length() > BLOCK {
                at = at.next_multiple_of(BLOCK);
            }
            place.at = at;
            place.block = self.blocks;
            self.blocks += place.blocks();
            at = (at + place.length()).next_multiple_of(SLOT);
        }
        self.first_block = at.div_ceil(BLOCK);
        if self.first_block + self.blocks > u64::from(u32::MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the image needs more than 2^32 blocks"));
        }
        Ok(())
    }

    fn nid(&self, id: NodeId) -> u64 {
        self.places[self.index[id.0]].at / SLOT
    }

    fn superblock(&self, out: &mut Out<impl Write>) -> io::Result<()> {
        let mut block = [0_u8; 128];
        let blocks = (self.first_block + self.blocks) as u32;
        block[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        block[12] = 12; // log2 of the block size
        block[14..16].copy_from_slice(&((self.places[0].at / SLOT) as u16).to_le_bytes());
        block[16..24].copy_from_slice(&(self.places.len() as u64).to_le_bytes());
        block[36..40].copy_from_slice(&blocks.to_le_bytes());
        block[48..64].copy_from_slice(&Sha256::digest(b"sublet erofs 1")[..16]);
        out.pad_to(1024)?;
        out.write_all(&block)
    }

    fn inode(&self, place: &Place, out: &mut Out<impl Write>) -> io::Result<()> {
        let node = self.tree.node(place.id);
        let layout = if place.inline { FLAT_INLINE } else { FLAT_PLAIN };
        let block = if place.blocks() == 0 { NO_BLOCK } else { (self.first_block + place.block) as u32 };
        let xattr_count = if place.xattrs.is_empty() { 0 } else { (place.xattrs.len() - 12) / 4 + 1 } as u16;
        let mut inode = [0_u8; INODE as usize];
        inode[0..2].copy_from_slice(&(1 | layout << 1).to_le_bytes());
        inode[2..4].copy_from_slice(&xattr_count.to_le_bytes());
        inode[4..6].copy_from_slice(&(file_type(node).0 | node.meta.mode).to_le_bytes());
        inode[8..16].copy_from_slice(&place.size.to_le_bytes());
        inode[16..20].copy_from_slice(&block.to_le_bytes());
        inode[20..24].copy_from_slice(&(self.index[place.id.0] as u32 + 1).to_le_bytes());
        inode[24..28].copy_from_slice(&node.meta.uid.to_le_bytes());
        inode[28..32].copy_from_slice(&node.meta.gid.to_le_bytes());
        inode[32..40].copy_from_slice(&node.meta.mtime.to_le_bytes());
        inode[44..48].copy_from_slice(&self.links[place.id.0].to_le_bytes());
        out.write_all(&inode)?;
        out.write_all(&place.xattrs)?;
        if place.inline { self.content(place, place.size - place.tail(), place.tail(), out) } else { Ok(()) }
    }

    fn content(&self, place: &Place, from: u64, length: u64, out: &mut Out<impl Write>) -> io::Result<()> {
        let in_memory = match &self.tree.node(place.id).kind {
            Kind::Folder(_) => self.folder(place),
            Kind::Symlink(target) => target.clone(),
            Kind::Fifo => Vec::new(),
            Kind::File { offset, .. } => {
                let reader = SpoolReader { tree: self.tree, at: offset + from, left: length };
                return io::copy(&mut reader.take(length), out).map(drop);
            }
        };
        out.write_all(&in_memory[from as usize..(from + length) as usize])
    }

    /// A folder's entries: blocks of fixed records, each block with the names they point at behind them.
    fn folder(&self, place: &Place) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for block in folder_blocks(self.tree, place.id, place.parent) {
            bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
            let mut name_at = block.len() * DIRENT;
            for (name, id) in &block {
                bytes.extend_from_slice(&self.nid(*id).to_le_bytes());
                bytes.extend_from_slice(&(name_at as u16).to_le_bytes());
                bytes.extend_from_slice(&[file_type(self.tree.node(*id)).1, 0]);
                name_at += name.len();
            }
            block.iter().for_each(|(name, _)| bytes.extend_from_slice(name));
        }
        bytes
    }
}

/// A folder's entries in byte order with `.` and `..`, split where a block is full.
fn folder_blocks(tree: &Tree, id: NodeId, parent: NodeId) -> Vec<Vec<(&[u8], NodeId)>> {
    let mut entries: Vec<(&[u8], NodeId)> = vec![(b".", id), (b"..", parent)];
    entries.extend(tree.children(id).map(|(name, id)| (name.as_slice(), id)));
    entries.sort_unstable();
    let mut blocks = vec![Vec::new()];
    let mut used = 0;
    for entry in entries {
        let length = DIRENT + entry.0.len();
        if used + length > BLOCK as usize {
            blocks.push(Vec::new());
            used = 0;
        }
        used += length;
        if let Some(block) = blocks.last_mut() {
            block.push(entry);
        }
    }
    blocks
}

fn folder_size(tree: &Tree, id: NodeId) -> u64 {
    let blocks = folder_blocks(tree, id, id);
    let last = blocks.last().map_or(0, |b| b.iter().map(|(name, _)| DIRENT + name.len()).sum());
    (blocks.len() as u64 - 1) * BLOCK + last as u64
}

/// The mode's type bits and the folder entry's type.
fn file_type(node: &Node) -> (u16, u8) {
    match node.kind {
        Kind::File { .. } => (0o100_000, 1),
        Kind::Folder(_) => (0o040_000, 2),
        Kind::Fifo => (0o010_000, 5),
        Kind::Symlink(_) => (0o120_000, 7),
    }
}

/// Attributes as erofs keeps them behind an inode: a header, then entries padded to four bytes.
fn encode_xattrs(node: &Node) -> Vec<u8> {
    if node.meta.xattrs.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![0; 12];
    for (name, value) in &node.meta.xattrs {
        let (index, rest) = match name.strip_prefix(b"user.") {
            Some(rest) => (1, rest),
            None => (6, name.strip_prefix(b"security.").unwrap_or(name)),
        };
        bytes.extend_from_slice(&[rest.len() as u8, index]);
        bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
        bytes.extend_from_slice(rest);
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// A writer that knows where it is.
struct Out<W> {
    inner: W,
    at: u64,
}

impl<W: Write> Out<W> {
    fn pad_to(&mut self, at: u64) -> io::Result<()> {
        let missing = at - self.at;
        io::copy(&mut io::repeat(0).take(missing), self).map(drop)
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
