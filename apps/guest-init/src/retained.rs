//! What a task wrote, in order, kept in a nameless file so that a host that reconnects gets all of it again.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use sublet_wire::guest::{CHUNK, Stream};

/// Most bytes kept, of both streams together. A task that writes more is ended and said to have failed:
/// output with a hole in it must not look whole.
pub(crate) const MAX_RETAINED: u64 = 64 << 20;

const HEADER: usize = 5;

/// Records of bytes, appended by whoever reads the task's pipes and read from any offset.
pub(crate) struct Retained {
    file: File,
    /// Bytes of complete records.
    length: u64,
}

/// Bytes of one stream and the offset after them.
pub(crate) struct Record {
    pub(crate) stream: Stream,
    pub(crate) data: Vec<u8>,
    pub(crate) next: u64,
}

impl Retained {
    /// An empty one, on the disk of the machine: the first of `folders` that takes a file.
    ///
    /// # Errors
    /// The last folder's.
    pub(crate) fn new(folders: &[impl AsRef<Path>]) -> io::Result<Self> {
        let mut result = Err(io::Error::from(io::ErrorKind::NotFound));
        for folder in folders {
            result = nameless(folder.as_ref());
            if result.is_ok() {
                break;
            }
        }
        Ok(Self { file: result?, length: 0 })
    }

    /// Adds at most [`CHUNK`] bytes.
    ///
    /// # Errors
    /// The disk's; `StorageFull` over [`MAX_RETAINED`].
    pub(crate) fn append(&mut self, stream: Stream, data: &[u8]) -> io::Result<()> {
        let grown = self.length + (HEADER + data.len()) as u64;
        if grown > MAX_RETAINED || data.len() > CHUNK {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "more output than is kept"));
        }
        let mut record = Vec::with_capacity(HEADER + data.len());
        record.push(match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        });
        record.extend_from_slice(&(data.len() as u32).to_be_bytes());
        record.extend_from_slice(data);
        self.file.write_all_at(&record, self.length)?;
        self.length = grown;
        Ok(())
    }

    /// The record at `offset`; nothing at the end.
    ///
    /// # Errors
    /// The disk's; `InvalidData` if somebody inside wrote to the file.
    pub(crate) fn read(&self, offset: u64) -> io::Result<Option<Record>> {
        if offset >= self.length {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, offset)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let stream = match header[0] {
            1 if length <= CHUNK => Stream::Stdout,
            2 if length <= CHUNK => Stream::Stderr,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the kept output was changed")),
        };
        let mut data = vec![0; length];
        self.file.read_exact_at(&mut data, offset + HEADER as u64)?;
        Ok(Some(Record { stream, data, next: offset + (HEADER + length) as u64 }))
    }
}

fn nameless(folder: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(folder) {
        // Not every file system can; then a name that is gone at once.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let path = folder.join(".sublet-output");
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_back_in_order_from_any_record() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut kept = Retained::new(&[Path::new("/nonexistent"), folder.path()])?;
        kept.append(Stream::Stdout, b"one")?;
        kept.append(Stream::Stderr, b"")?;
        kept.append(Stream::Stdout, &[7; CHUNK])?;
        let mut offset = 0;
        let mut seen = Vec::new();
        while let Some(record) = kept.read(offset)? {
            offset = record.next;
            seen.push((record.stream, record.data.len()));
        }
        assert_eq!(seen, [(Stream::Stdout, 3), (Stream::Stderr, 0), (Stream::Stdout, CHUNK)]);
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "the file must have no name");
        Ok(())
    }

    #[test]
    fn more_than_the_limit_is_refused_whole() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut kept = Retained::new(&[folder.path()])?;
        let chunk = [0; CHUNK];
        while kept.length + (HEADER + CHUNK) as u64 <= MAX_RETAINED {
            kept.append(Stream::Stdout, &chunk)?;
        }
        let before = kept.length;
        assert_eq!(kept.append(Stream::Stdout, &chunk).map_err(|e| e.kind()), Err(io::ErrorKind::StorageFull));
        assert_eq!(kept.length, before);
        Ok(())
    }
}
