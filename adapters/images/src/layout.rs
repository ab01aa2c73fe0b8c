//! An OCI image layout on disk: blobs by digest, and `index.json` with the names.
//!
//! A blob appears under its digest only when it is whole and on disk; the index is replaced, never edited. One file lock
//! orders writers of several processes. Temporary files have fixed names under the lock, so a killed writer leaves at
//! most one behind, and the next one overwrites it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType, OciLayoutBuilder, SCHEMA_VERSION};
use sha2::{Digest as _, Sha256};
use sublet_base::Digest;
use thiserror::Error;

/// Annotation that names a manifest in the index.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Largest manifest, configuration or index, bytes.
pub(crate) const MAX_JSON: u64 = 4 << 20;

/// How the layout fails.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The operating system refused.
    #[error("could not {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A blob's content is not what its name says.
    #[error("{path} is damaged: expected {expected}, found {found}; delete it and fetch the image again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its name's digest.
        expected: Digest,
        /// Its content's digest.
        found: Digest,
    },
    /// A blob is not there.
    #[error("{0} is not in the image store")]
    NoBlob(Digest),
    /// A JSON document is not what OCI says, or too long.
    #[error("{what} is not valid: {why}")]
    Document {
        /// Which.
        what: String,
        /// How.
        why: String,
    },
}

/// Attaches operation and path to an IO error.
pub(crate) fn context(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Io { operation, path, source }
}

/// The layout's folder.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// Held while something is written; the system releases it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing it releases the lock")] File);

impl Lock {
    /// Waits for the lock at `path`.
    pub(crate) fn take(path: &Path) -> Result<Self, LayoutError> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(context("open", path))?;
        file.lock().map_err(context("lock", path))?;
        Ok(Self(file))
    }
}

impl Layout {
    /// Opens the layout, making it where it is missing.
    pub(crate) fn open(root: PathBuf) -> Result<Self, LayoutError> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(context("make", &blobs))?;
        let layout = Self { root };
        let marker = layout.root.join("oci-layout");
        if !marker.exists() {
            let _lock = layout.lock()?;
            let content = OciLayoutBuilder::default()
                .image_layout_version("1.0.0")
                .build()
                .map_err(|e| document("oci-layout", &e))?;
            replace(&marker, &serde_json::to_vec(&content).map_err(|e| document("oci-layout", &e))?)?;
        }
        Ok(layout)
    }

    pub(crate) fn lock(&self) -> Result<Lock, LayoutError> {
        Lock::take(&self.lock_path())
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.root.join(".lock")
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Where a blob of known digest is written before it is whole. Only under a lock.
    pub(crate) fn partial_path(&self, name: &str) -> PathBuf {
        self.root.join(format!(".partial-{name}"))
    }

    /// The names and what they stand for.
    pub(crate) fn index(&self) -> Result<ImageIndex, LayoutError> {
        let path = self.root.join("index.json");
        match File::open(&path) {
            Ok(file) => parse("index.json", &read_bounded(file, &path)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => empty_index(),
            Err(e) => Err(context("open", &path)(e)),
        }
    }

    /// Lets `name` stand for `descriptor`, and no longer for what it stood for.
    pub(crate) fn set_name(&self, _lock: &Lock, name: &str, descriptor: Descriptor) -> Result<(), LayoutError> {
        let mut index = self.index()?;
        let mut manifests: Vec<_> = index.manifests().iter().filter(|d| name_of(d) != Some(name)).cloned().collect();
        manifests.push(descriptor);
        manifests.sort_by(|a, b| name_of(a).cmp(&name_of(b)));
        index.set_manifests(manifests);
        replace(&self.root.join("index.json"), &encode("index.json", &index)?)
    }

    /// A small blob, checked.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(digest);
        let bytes = read_bounded(self.open_blob(digest)?, &path)?;
        let found = Digest(Sha256::digest(&bytes).into());
        if found == *digest { Ok(bytes) } else { Err(LayoutError::Damaged { path, expected: *digest, found }) }
    }

    /// Opens a blob without checking it; see [`Verified`].
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, LayoutError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => LayoutError::NoBlob(*digest),
            _ => context("open", &path)(e),
        })
    }

    /// Writes a small blob.
    pub(crate) fn write(&self, _lock: &Lock, bytes: &[u8]) -> Result<Digest, LayoutError> {
        let digest = Digest(Sha256::digest(bytes).into());
        replace(&self.blob_path(&digest), bytes)?;
        Ok(digest)
    }

    /// Moves a file that was written whole into place as a blob.
    pub(crate) fn adopt(&self, partial: Partial, digest: &Digest) -> Result<(), LayoutError> {
        partial.finish(&self.blob_path(digest))
    }
}

/// The name a descriptor has in the index.
pub(crate) fn name_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(REF_NAME).map(String::as_str)
}

fn empty_index() -> Result<ImageIndex, LayoutError> {
    let index = ImageIndexBuilder::default().schema_version(SCHEMA_VERSION).media_type(MediaType::ImageIndex);
    index.manifests(Vec::new()).build().map_err(|e| document("index.json", &e))
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, LayoutError> {
    serde_json::from_slice(bytes).map_err(|e| document(what, &e))
}

/// Fields in the order oci-spec declares them, so that equal content has an equal digest. What is hashed has no maps.
pub(crate) fn encode<T: serde::Serialize>(what: &str, value: &T) -> Result<Vec<u8>, LayoutError> {
    serde_json::to_vec(value).map_err(|e| document(what, &e))
}

pub(crate) fn document(what: &str, why: &impl ToString) -> LayoutError {
    LayoutError::Document { what: what.to_owned(), why: why.to_string() }
}

fn read_bounded(file: File, path: &Path) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(context("read", path))?;
    if bytes.len() as u64 > MAX_JSON {
        return Err(document(&path.display().to_string(), &format!("longer than {MAX_JSON} bytes")));
    }
    Ok(bytes)
}

/// Replaces `path` as a whole: another process sees the old file or the new one. Only under a lock.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    let (partial, mut file) = Partial::create(path.with_extension("partial"))?;
    file.write_all(bytes).map_err(context("write", partial.path()))?;
    partial.finish(path)
}

/// A file that is being written under a name of its own. One that is not finished goes away, so that a write that found
/// the disk full does not leave it full.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    is_finished: bool,
}

impl Partial {
    /// Creates the file. Only under a lock.
    pub(crate) fn create(path: PathBuf) -> Result<(Self, File), LayoutError> {
        let file = File::create(&path).map_err(context("create", &path))?;
        Ok((Self { path, is_finished: false }, file))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the written file to disk and gives it its name.
    pub(crate) fn finish(mut self, path: &Path) -> Result<(), LayoutError> {
        let sync = |p: &Path| File::open(p).and_then(|f| f.sync_all());
        sync(&self.path).map_err(context("sync", &self.path))?;
        fs::rename(&self.path, path).map_err(context("rename", &self.path))?;
        self.is_finished = true;
        path.parent().map_or(Ok(()), |folder| sync(folder).map_err(context("sync", folder)))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished {
            // Whoever writes it next overwrites what could not be removed.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Hashes what passes through it, one way or the other.
pub(crate) struct Hashing<T> {
    pub(crate) inner: T,
    hash: Sha256,
    pub(crate) bytes: u64,
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.count(&buffer[..length]);
        Ok(length)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.count(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finished_takes_no_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let (written, whole) = (folder.path().join("x.partial"), folder.path().join("x"));
        let (partial, mut file) = Partial::create(written.clone()).expect("created");
        file.write_all(b"half").expect("written");
        drop(partial);
        assert!(!written.exists());
        let (partial, _file) = Partial::create(written.clone()).expect("created");
        partial.finish(&whole).expect("finished");
        assert!(whole.exists() && !written.exists());
    }
}
