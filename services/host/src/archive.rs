//! The result archive of a task: the same bytes for the same exit code, output and files, wherever it ran.
//!
//! An uncompressed tar with, in this order, `exit_code` (decimal and a newline), `stdout`, `stderr`, then `outputs/…`
//! sorted by path. Owners and times are zero; modes are 0755 for folders and what may be executed, else 0644. What the
//! guest sends is hostile: only files and folders with plain relative paths are taken, anything else fails the task.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use alloy_primitives::Keccak256;
use sublet_base::B256;
use tar::{Archive, Builder, EntryType, Header};
use thiserror::Error;

/// Most files and folders in one result.
const MAX_ENTRIES: usize = 65_536;
/// Longest path of an output, bytes.
const MAX_PATH: usize = 1024;

/// Why there is no archive.
#[derive(Debug, Error)]
pub(crate) enum ArchiveError {
    /// The outputs are not acceptable.
    #[error("the task's outputs cannot be taken: {0}")]
    Unacceptable(String),
    /// The host's disk.
    #[error("could not store the task's result")]
    Io(#[from] io::Error),
}

/// Length and hash of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) bytes: u64,
    pub(crate) hash: B256,
}

/// Where a task's parts are collected, and its archive in the end.
#[derive(Clone, Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn stdout(&self) -> PathBuf {
        self.0.join("stdout")
    }

    pub(crate) fn stderr(&self) -> PathBuf {
        self.0.join("stderr")
    }

    pub(crate) fn outputs(&self) -> PathBuf {
        self.0.join("outputs.tar")
    }

    pub(crate) fn result(&self) -> PathBuf {
        self.0.join("result.tar")
    }
}

struct Output {
    path: PathBuf,
    folder: bool,
    executable: bool,
    at: u64,
    size: u64,
}

/// Packs what was collected in `folder` into its result. Blocks; whole or not there after a crash.
pub(crate) fn pack(folder: &Folder, exit_code: i32) -> Result<Packed, ArchiveError> {
    let mut source = File::open(folder.outputs())?;
    let outputs = list(&source)?;
    let next = folder.result().with_extension("next");
    let mut builder = Builder::new(Hashing::new(BufWriter::new(File::create(&next)?)));
    let code = format!("{exit_code}\n");
    append(&mut builder, Path::new("exit_code"), 0o644, code.len() as u64, code.as_bytes())?;
    for (name, path) in [("stdout", folder.stdout()), ("stderr", folder.stderr())] {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        append(&mut builder, Path::new(name), 0o644, size, file.take(size))?;
    }
    for output in outputs {
        let path = Path::new("outputs").join(&output.path);
        if output.folder {
            let mut header = header(0o755, 0);
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, path, io::empty())?;
        } else {
            source.seek(SeekFrom::Start(output.at))?;
            let mode = if output.executable { 0o755 } else { 0o644 };
            append(&mut builder, &path, mode, output.size, (&source).take(output.size))?;
        }
    }
    let (file, packed) = builder.into_inner()?.finish();
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&next, folder.result())?;
    File::open(&folder.0)?.sync_all()?;
    Ok(packed)
}

fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    mode: u32,
    size: u64,
    content: impl Read,
) -> Result<(), ArchiveError> {
    let mut header = header(mode, size);
    Ok(builder.append_data(&mut header, path, content)?)
}

/// What the guest's tar holds, checked and sorted. An empty file is an empty list.
fn list(source: &File) -> Result<Vec<Output>, ArchiveError> {
    let bad = |reason: String| ArchiveError::Unacceptable(reason);
    let mut outputs = Vec::new();
    for entry in Archive::new(source).entries()? {
        let entry = entry.map_err(|e| bad(format!("not a tar: {e}")))?;
        if outputs.len() == MAX_ENTRIES {
            return Err(bad(format!("more than {MAX_ENTRIES} files")));
        }
        let kind = entry.header().entry_type();
        let shown = entry.path().map_err(|e| bad(e.to_string()))?.into_owned();
        let path = plain(&shown).ok_or_else(|| bad(format!("the path {} is not plain", shown.display())))?;
        let folder = kind == EntryType::Directory;
        if !folder && kind != EntryType::Regular && kind != EntryType::Continuous {
            return Err(bad(format!("{} is neither a file nor a folder", path.display())));
        }
        if path.as_os_str().is_empty() {
            continue;
        }
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let (at, size) = (entry.raw_file_position(), entry.size());
        outputs.push(Output { path, folder, executable, at, size });
    }
    outputs.sort_by(|a, b| a.path.as_os_str().as_encoded_bytes().cmp(b.path.as_os_str().as_encoded_bytes()));
    match outputs.windows(2).find(|pair| pair[0].path == pair[1].path) {
        Some(pair) => Err(bad(format!("{} is there twice", pair[0].path.display()))),
        None => Ok(outputs),
    }
}

/// The path with only names in it, or nothing if it leads elsewhere.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) if name.to_str().is_some_and(|text| !text.chars().any(char::is_control)) => {
                clean.push(name)
            }
            Component::CurDir => {}
            _ => return None,
        }
    }
    (clean.as_os_str().len() <= MAX_PATH).then_some(clean)
}

/// Hashes and counts what passes.
struct Hashing<W> {
    inner: W,
    hasher: Keccak256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Keccak256::new(), bytes: 0 }
    }

    fn finish(self) -> (W, Packed) {
        (self.inner, Packed { bytes: self.bytes, hash: self.hasher.finalize() })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(outputs: &[u8]) -> (tempfile::TempDir, Folder) {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder(temporary.path().to_owned());
        fs::write(folder.stdout(), "out").expect("written");
        fs::write(folder.stderr(), "").expect("written");
        fs::write(folder.outputs(), outputs).expect("written");
        (temporary, folder)
    }

    fn tar_of(entries: &[(&str, EntryType, u32, u64)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, mode, time) in entries {
            let mut header = Header::new_gnu();
            // Straight into the header, because the library would refuse hostile paths.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_mtime(*time);
            header.set_uid(1000);
            header.set_size(if *kind == EntryType::Regular { 4 } else { 0 });
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").expect("short");
            }
            header.set_cksum();
            let content: &[u8] = if *kind == EntryType::Regular { b"data" } else { b"" };
            builder.append(&header, content).expect("in memory");
        }
        builder.into_inner().expect("in memory")
    }

    #[test]
    fn order_times_and_owners_of_the_guest_do_not_matter() {
        let file = EntryType::Regular;
        let one = tar_of(&[("./b", file, 0o600, 5), ("a", file, 0o777, 6), ("d/", EntryType::Directory, 0o700, 7)]);
        let two = tar_of(&[("d", EntryType::Directory, 0o755, 0), ("a", file, 0o755, 0), ("b", file, 0o644, 0)]);
        let packed = [one, two].map(|outputs| {
            let (_temporary, folder) = folder(&outputs);
            let packed = pack(&folder, 0).expect("packs");
            let bytes = fs::read(folder.result()).expect("read");
            assert_eq!((packed.bytes, packed.hash), (bytes.len() as u64, sublet_base::keccak256(&bytes)));
            let mut archive = Archive::new(&bytes[..]);
            let names = archive
                .entries()
                .expect("reads")
                .map(|e| e.expect("entry").path().expect("path").display().to_string());
            assert_eq!(
                names.collect::<Vec<_>>(),
                ["exit_code", "stdout", "stderr", "outputs/a", "outputs/b", "outputs/d"]
            );
            packed
        });
        assert_eq!(packed[0], packed[1]);
        let (_temporary, folder) = folder(&[]);
        assert_ne!(pack(&folder, 0).expect("packs").hash, pack(&folder, 1).expect("packs").hash);
    }

    #[test]
    fn hostile_outputs_fail_the_task() {
        let file = EntryType::Regular;
        for entries in [
            vec![("../up", file, 0o644, 0)],
            vec![("/etc/passwd", file, 0o644, 0)],
            vec![("link", EntryType::Symlink, 0o777, 0)],
            vec![("node", EntryType::Char, 0o644, 0)],
            vec![("a", file, 0o644, 0), ("./a", file, 0o644, 0)],
        ] {
            let (_temporary, folder) = folder(&tar_of(&entries));
            let refused = pack(&folder, 0);
            assert!(matches!(refused, Err(ArchiveError::Unacceptable(_))), "{entries:?}: {refused:?}");
            assert!(!folder.result().exists());
        }
        let (_temporary, folder) = folder(&[b'x'; 2048]);
        assert!(matches!(pack(&folder, 0), Err(ArchiveError::Unacceptable(_))), "garbage");
    }

    #[test]
    fn a_truncated_tar_is_not_taken_for_a_whole_one() {
        let whole = tar_of(&[("a", EntryType::Regular, 0o644, 0)]);
        let (_temporary, folder) = folder(&whole[..514]);
        assert!(pack(&folder, 0).is_err());
    }
}
