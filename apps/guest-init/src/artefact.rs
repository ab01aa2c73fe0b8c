//! The task's outputs as an uncompressed tar, written by a thread and read in chunks, so that it never is in memory whole.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tar::{Builder, EntryType, Header};

/// An archive being written.
pub(crate) struct Artefact {
    pipe: UnixStream,
    writer: JoinHandle<io::Result<()>>,
}

impl Artefact {
    /// Begins an archive of what is in `folder`; nothing if that is empty or missing.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of(folder: PathBuf) -> io::Result<Option<Self>> {
        match fs::read_dir(&folder) {
            Ok(mut entries) => {
                if entries.next().is_none() {
                    return Ok(None);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        }
        let (pipe, end) = UnixStream::pair()?;
        let write = move || {
            let mut archive = Builder::new(io::BufWriter::with_capacity(64 << 10, end));
            add_folder(&mut archive, &folder, Path::new(""))?;
            archive.into_inner()?.into_inner().map(drop).map_err(io::IntoInnerError::into_error)
        };
        let writer = std::thread::Builder::new().name("outputs".into()).spawn(write)?;
        Ok(Some(Self { pipe, writer }))
    }

    /// The next bytes, as many as `chunk` holds; fewer only at the end.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < chunk.len() {
            match self.pipe.read(&mut chunk[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// Whether the archive that was read to its end is whole.
    ///
    /// # Errors
    /// What the writer met.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.pipe);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the archive's writer died")))
    }
}

fn add_folder(archive: &mut Builder<impl io::Write>, folder: &Path, name: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let about = fs::symlink_metadata(&path)?;
        if about.is_dir() {
            archive.append_data(&mut header(EntryType::Directory, &about, 0), &name, io::empty())?;
            add_folder(archive, &path, &name)?;
        } else if about.is_file() {
            let content = File::open(&path)?;
            archive.append_data(
                &mut header(EntryType::Regular, &about, about.len()),
                &name,
                content.take(about.len()),
            )?;
        } else if about.is_symlink() {
            archive.append_link(&mut header(EntryType::Symlink, &about, 0), &name, fs::read_link(&path)?)?;
        }
        // Sockets, pipes and devices are no results.
    }
    Ok(())
}

/// The same for the same content, whenever and by whomever it was written.
fn header(kind: EntryType, about: &Metadata, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(if kind == EntryType::Directory || about.mode() & 0o111 != 0 { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_files_in_order_and_never_the_target_of_a_link() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("b"))?;
        fs::write(folder.path().join("b/deep"), "deep")?;
        fs::write(folder.path().join("a"), vec![9; 200_000])?;
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("c"))?;
        let mut artefact = Artefact::of(folder.path().to_owned())?.expect("the folder is not empty");
        let (mut bytes, mut chunk) = (Vec::new(), [0; 1000]);
        loop {
            let count = artefact.read(&mut chunk)?;
            bytes.extend_from_slice(&chunk[..count]);
            if count < chunk.len() {
                break;
            }
        }
        artefact.finish()?;
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries()? {
            let entry = entry?;
            seen.push((entry.path()?.display().to_string(), entry.header().entry_type(), entry.size()));
        }
        let expected = [
            ("a", EntryType::Regular, 200_000),
            ("b", EntryType::Directory, 0),
            ("b/deep", EntryType::Regular, 4),
            ("c", EntryType::Symlink, 0),
        ];
        assert_eq!(seen, expected.map(|(name, kind, size)| (name.to_owned(), kind, size)));
        Ok(())
    }

    #[test]
    fn an_empty_or_missing_folder_gives_nothing() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(Artefact::of(folder.path().to_owned())?.is_none());
        assert!(Artefact::of(folder.path().join("none"))?.is_none());
        Ok(())
    }
}
