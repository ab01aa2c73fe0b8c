//! Entries of a hostile tar: long names and extended headers are bounded before they are read into memory.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{Archive, EntryType, PaxExtensions};

use crate::tree::{self, Components, LayerError, Meta};

/// Prefix of extended attributes in a tar's extended headers.
pub(crate) const XATTR: &str = "SCHILY.xattr.";
/// Longest long name or extended header, bytes.
const MAX_HEADER: u64 = 1 << 20;

/// One entry with its extended headers applied.
pub(crate) struct Item<'a, R: Read> {
    pub(crate) path: Components,
    pub(crate) link: Vec<u8>,
    pub(crate) meta: Meta,
    pub(crate) entry: tar::Entry<'a, R>,
}

/// Calls `take` for every entry, in order.
pub(crate) fn each<R: Read>(
    archive: &mut Archive<R>,
    mut take: impl FnMut(Option<Item<'_, R>>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut extra = Extra::default();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => extra.path = Some(text(&mut entry)?),
            EntryType::GNULongLink => extra.link = Some(text(&mut entry)?),
            EntryType::XHeader => extra.parse(&bounded(&mut entry)?)?,
            EntryType::XGlobalHeader => {}
            _ => {
                take(Some(std::mem::take(&mut extra).apply(entry)?))?;
                continue;
            }
        }
        take(None)?;
    }
    Ok(())
}

/// What extended headers say about the entry after them.
#[derive(Default)]
struct Extra {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<u64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Extra {
    fn parse(&mut self, header: &[u8]) -> Result<(), LayerError> {
        for extension in PaxExtensions::new(header) {
            let extension = extension?;
            let value = extension.value_bytes();
            let number = || std::str::from_utf8(value).ok().and_then(|v| v.split('.').next()?.parse::<u64>().ok());
            match extension.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = number(),
                b"uid" => self.uid = number(),
                b"gid" => self.gid = number(),
                b"mtime" => self.mtime = number(),
                key if key.starts_with(b"GNU.sparse.") => return Err(invalid("sparse files are not supported")),
                key => {
                    if let Some(name) = key.strip_prefix(XATTR.as_bytes()).filter(|n| tree::wanted_xattr(n)) {
                        self.xattrs.insert(name.to_vec(), value.to_vec());
                    }
                }
            }
        }
        // Here too: any number of headers may come before the entry they are about.
        tree::check_xattrs(&Components::default(), &self.xattrs)
    }

    fn apply<R: Read>(self, entry: tar::Entry<'_, R>) -> Result<Item<'_, R>, LayerError> {
        let header = entry.header();
        // The framing follows the plain header; a different size in the extended one would let two readers disagree.
        if self.size.is_some_and(|size| size != entry.size()) {
            return Err(invalid("an entry has two sizes; a single file over 8 GiB is not supported"));
        }
        let path = self.path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let link = self.link.or_else(|| entry.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
        let path = Components::parse(&path)?;
        tree::check_xattrs(&path, &self.xattrs)?;
        let id = |n: u64| u32::try_from(n).map_err(|_| invalid("an owner's id is too large"));
        let meta = Meta {
            mode: (header.mode()? & 0o7777) as u16,
            uid: id(self.uid.map_or_else(|| header.uid(), Ok)?)?,
            gid: id(self.gid.map_or_else(|| header.gid(), Ok)?)?,
            mtime: self.mtime.or_else(|| header.mtime().ok()).unwrap_or(0),
            xattrs: self.xattrs,
        };
        Ok(Item { path, link, meta, entry })
    }
}

fn bounded(entry: &mut impl Read) -> Result<Vec<u8>, LayerError> {
    let mut bytes = Vec::new();
    entry.take(MAX_HEADER + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_HEADER {
        return Err(LayerError::TooLarge(format!("{MAX_HEADER} bytes of one header")));
    }
    Ok(bytes)
}

fn text(entry: &mut impl Read) -> Result<Vec<u8>, LayerError> {
    let mut bytes = bounded(entry)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn invalid(why: &'static str) -> LayerError {
    io::Error::new(io::ErrorKind::InvalidData, why).into()
}
