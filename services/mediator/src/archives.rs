//! Results kept for renters: one file a job, whole or not there.

use std::io;
use std::path::{Path, PathBuf};

use alloy_primitives::Keccak256;
use sublet_base::{B256, JobId};
use sublet_wire::link::ByteSource;
use thiserror::Error;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BUFFER: usize = 64 << 10;

/// A folder only its owner can read.
#[derive(Clone, Debug)]
pub(crate) struct Archives(PathBuf);

/// Why an archive was not kept.
#[derive(Debug, Error)]
pub(crate) enum KeepError {
    #[error("the archive could not be stored")]
    Io(#[from] io::Error),
    #[error("the host's archive has the hash {got}, it reported {expected}")]
    Other { expected: B256, got: B256 },
}

impl Archives {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn path(&self, job: JobId) -> PathBuf {
        self.0.join(format!("{job}.tar"))
    }

    /// Stores what `source` gives, if it is the archive with this length and hash.
    pub(crate) async fn keep(
        &self,
        job: JobId,
        source: ByteSource,
        length: u64,
        expected: B256,
    ) -> Result<(), KeepError> {
        let next = self.path(job).with_extension("next");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&next).await?;
        let got = copy(source.take(length), &mut file).await?;
        if got != expected {
            drop(file);
            remove(&next).await?;
            return Err(KeepError::Other { expected, got });
        }
        file.sync_all().await?;
        fs::rename(&next, self.path(job)).await?;
        File::open(&self.0).await?.sync_all().await?;
        Ok(())
    }

    /// Opens a kept archive.
    pub(crate) async fn open(&self, job: JobId) -> io::Result<ByteSource> {
        Ok(Box::new(File::open(self.path(job)).await?))
    }

    /// Removes what is kept of a job; nothing is fine.
    pub(crate) async fn drop(&self, job: JobId) -> io::Result<()> {
        remove(&self.path(job).with_extension("next")).await?;
        remove(&self.path(job)).await
    }
}

async fn copy(mut source: impl AsyncReadExt + Unpin, file: &mut File) -> io::Result<B256> {
    let mut hasher = Keccak256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = source.read(&mut buffer).await?;
        if count == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count]).await?;
    }
}

async fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sublet_base::keccak256;

    use super::*;

    #[tokio::test]
    async fn only_the_reported_archive_is_kept_and_only_for_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let archives = Archives::new(folder.path().to_owned());
        let content = vec![7; 200_000];
        let source = || -> ByteSource { Box::new(io::Cursor::new(vec![7; 200_000])) };
        let hash = keccak256(&content);
        let cut = archives.keep(JobId(1), source(), 199_999, hash).await;
        assert!(matches!(cut, Err(KeepError::Other { .. })), "{cut:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        archives.keep(JobId(1), source(), 200_000, hash).await.expect("kept");
        let mode = std::fs::metadata(folder.path().join("job-1.tar")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut read = vec![];
        archives.open(JobId(1)).await.expect("there").read_to_end(&mut read).await.expect("read");
        assert_eq!(read, content);
        archives.drop(JobId(1)).await.expect("gone");
        archives.drop(JobId(1)).await.expect("gone twice is gone");
        assert!(archives.open(JobId(1)).await.is_err());
    }
}
