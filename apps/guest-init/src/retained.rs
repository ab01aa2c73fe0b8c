//! What a task wrote, in order, kept so that a host that reconnects gets all of it again: the beginning in memory, so
//! that a task may fill its disk and still be heard, the rest in a nameless file.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use sublet_wire::guest::{CHUNK, Stream};

/// Most bytes kept, of both streams together. A task that writes more is ended and said to have failed:
/// output with a hole in it must not look whole.
pub(crate) const MAX_RETAINED: u64 = 64 << 20;

/// Most bytes kept in memory.
const IN_MEMORY: usize = 1 << 20;

const HEADER: usize = 5;

/// Records of bytes, appended by whoever reads the task's pipes and read from any offset.
pub(crate) struct Retained {
    /// The first records.
    memory: Vec<u8>,
    /// Those after them.
    file: File,
    /// Bytes of complete records in the file.
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
        Ok(Self { memory: Vec::new(), file: result?, length: 0 })
    }

    /// Adds at most [`CHUNK`] bytes.
    ///
    /// # Errors
    /// The disk's; `StorageFull` over [`MAX_RETAINED`].
    pub(crate) fn append(&mut self, stream: Stream, data: &[u8]) -> io::Result<()> {
        let grown = self.length + (HEADER + data.len()) as u64;
        if self.memory.len() as u64 + grown > MAX_RETAINED || data.len() > CHUNK {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "more output than is kept"));
        }
        let mut record = Vec::with_capacity(HEADER + data.len());
        record.push(match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        });
        record.extend_from_slice(&(data.len() as u32).to_be_bytes());
        record.extend_from_slice(data);
        if self.length == 0 && self.memory.len() + record.len() <= IN_MEMORY {
            self.memory.extend_from_slice(&record);
        } else {
            self.file.write_all_at(&record, self.length)?;
            self.length = grown;
        }
        Ok(())
    }

    /// The record at `offset`; nothing at the end.
    ///
    /// # Errors
    /// The disk's; `InvalidData` if somebody inside wrote to the file.
    pub(crate) fn read(&self, offset: u64) -> io::Result<Option<Record>> {
        if offset >= self.memory.len() as u64 + self.length {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        self.bytes_at(offset, &mut header)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let stream = match header[0] {
            1 if length <= CHUNK => Stream::Stdout,
            2 if length <= CHUNK => Stream::Stderr,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the kept output was changed")),
        };
        let mut data = vec![0; length];
        self.bytes_at(offset + HEADER as u64, &mut data)?;
        Ok(Some(Record { stream, data, next: offset + (HEADER + length) as u64 }))
    }

    /// Part of a record, which is in one place whole.
    fn bytes_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        match offset.checked_sub(self.memory.len() as u64) {
            Some(offset) => self.file.read_exact_at(bytes, offset),
            None => {
                let from = offset as usize;
                let held = self.memory.get(from..from + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                bytes.copy_from_slice(held);
                Ok(())
            }
        }
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
        let mut written = Vec::new();
        for round in 0..100 {
            for (stream, length) in [(Stream::Stdout, 3 + round), (Stream::Stderr, 0), (Stream::Stdout, CHUNK - round)]
            {
                kept.append(stream, &vec![round as u8; length])?;
                written.push((stream, length, round as u8));
            }
        }
        assert!(kept.memory.len() > CHUNK && kept.length > CHUNK as u64, "some of it is in each place");
        let mut offset = 0;
        let mut seen = Vec::new();
        while let Some(record) = kept.read(offset)? {
            offset = record.next;
            seen.push((record.stream, record.data.len(), written[seen.len()].2));
            assert!(record.data.iter().all(|&byte| byte == seen[seen.len() - 1].2));
        }
        assert_eq!(seen, written);
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "the file must have no name");
        Ok(())
    }

    #[test]
    fn more_than_the_limit_is_refused_whole() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut kept = Retained::new(&[folder.path()])?;
        let chunk = [0; CHUNK];
        while kept.memory.len() as u64 + kept.length + (HEADER + CHUNK) as u64 <= MAX_RETAINED {
            kept.append(Stream::Stdout, &chunk)?;
        }
        let before = kept.length;
        assert_eq!(kept.append(Stream::Stdout, &chunk).map_err(|e| e.kind()), Err(io::ErrorKind::StorageFull));
        assert_eq!(kept.length, before);
        Ok(())
    }
}
