//! Pulling images from registries: every byte checked against its digest before it gets its name, sizes bounded by what
//! the manifest says and by [`Bounds`](crate::Bounds), blobs already here not fetched again.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use sha2::{Digest as _, Sha256};
use sublet_base::Digest;
use sublet_machine::ImageRef;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;

use crate::layout::{self, Layout, LayoutError, Lock, Partial, context};
use crate::store::{ImageStore, StoreError, digest_of};

/// Silence after which a registry counts as gone.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to reach it at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Most layers an image may have; overlay file systems stop at about as many.
const MAX_LAYERS: usize = 127;

/// How a pull fails. Nothing it fetched has a name then; whole blobs stay for the next try.
#[derive(Debug, Error)]
pub enum PullError {
    /// Not `registry/repository:tag` or `…@sha256:…`.
    #[error("{0:?} is not an image reference")]
    Reference(String),
    /// The registry could not be reached, refused, or sent something else than it promised.
    #[error("cannot fetch {what} of {reference}")]
    Registry {
        /// The image.
        reference: String,
        /// Manifest or blob.
        what: String,
        /// What the registry or the network said.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// The download broke off, or its content is not what its digest says.
    #[error("the download of {what} of {reference} is not usable: {why}")]
    Content {
        /// The image.
        reference: String,
        /// Which blob.
        what: String,
        /// How it differs.
        why: String,
    },
    /// The image is larger than this host allows.
    #[error("{reference} is too large: {why}")]
    TooLarge {
        /// The image.
        reference: String,
        /// Which bound.
        why: String,
    },
    /// The image has no version for this kind of computer.
    #[error("{0} has no version for linux/amd64")]
    Platform(String),
    /// The store failed.
    #[error("the image store failed")]
    Store(#[from] StoreError),
}

impl From<LayoutError> for PullError {
    fn from(error: LayoutError) -> Self {
        Self::Store(error.into())
    }
}

impl ImageStore {
    /// Fetches `reference` (`registry/repository:tag` or `…@sha256:…`) without credentials and names it so.
    /// A reference by digest that is here already asks nobody. Registries on loopback are spoken to without TLS.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(&self, reference: &str) -> Result<ImageRef, PullError> {
        let parsed: Reference = reference.parse().map_err(|_| PullError::Reference(reference.to_owned()))?;
        if parsed.digest().is_some()
            && let Ok(found) = self.resolve(reference)
        {
            return Ok(found);
        }
        let pull = Pull { client: client(&parsed), reference: parsed, name: reference, layout: &self.layout };
        let (digest, bytes) = pull.manifest().await?;
        let manifest: ImageManifest = layout::parse("the manifest", &bytes)?;
        let total: u64 = manifest.layers().iter().fold(0, |sum, l| sum.saturating_add(l.size()));
        if manifest.layers().len() > MAX_LAYERS || total > self.bounds().bytes {
            let why = format!("{} layers of {total} bytes together", manifest.layers().len());
            return Err(PullError::TooLarge { reference: reference.to_owned(), why });
        }
        if manifest.config().size() > layout::MAX_JSON {
            return Err(PullError::TooLarge { reference: reference.to_owned(), why: "its configuration".into() });
        }
        for blob in manifest.layers().iter().chain([manifest.config()]) {
            pull.blob(blob).await?;
        }
        let lock = lock(self.layout.lock_path()).await?;
        self.layout.write(&lock, &bytes)?;
        self.name(&lock, reference, &digest, bytes.len() as u64, "registry")?;
        Ok(ImageRef { name: reference.to_owned(), digest })
    }
}

/// One pull under way.
struct Pull<'a> {
    client: Client,
    reference: Reference,
    /// The reference as it was given.
    name: &'a str,
    layout: &'a Layout,
}

impl Pull<'_> {
    /// The manifest for this kind of computer, through at most one index.
    async fn manifest(&self) -> Result<(Digest, Vec<u8>), PullError> {
        let (digest, bytes) = self.document(&self.reference).await?;
        let Ok(index) = serde_json::from_slice::<ImageIndex>(&bytes) else { return Ok((digest, bytes)) };
        let fits = |d: &&Descriptor| {
            let platform = d.platform().as_ref();
            platform.is_some_and(|p| p.os().to_string() == "linux" && p.architecture().to_string() == "amd64")
        };
        let chosen = index.manifests().iter().find(fits).ok_or_else(|| PullError::Platform(self.name.to_owned()))?;
        let chosen = digest_of(chosen)?;
        let pinned = self.reference.clone_with_digest(chosen.to_string());
        let (digest, bytes) = self.document(&pinned).await?;
        if digest != chosen {
            return Err(self.content("the manifest", format!("expected {chosen}, found {digest}")));
        }
        Ok((digest, bytes))
    }

    async fn document(&self, reference: &Reference) -> Result<(Digest, Vec<u8>), PullError> {
        let accepted = [
            OCI_IMAGE_MEDIA_TYPE,
            OCI_IMAGE_INDEX_MEDIA_TYPE,
            IMAGE_MANIFEST_MEDIA_TYPE,
            IMAGE_MANIFEST_LIST_MEDIA_TYPE,
        ];
        let pulled = self.client.pull_manifest_raw(reference, &RegistryAuth::Anonymous, &accepted).await;
        let (bytes, _) = pulled.map_err(|e| self.registry("the manifest", e))?;
        let digest = Digest(Sha256::digest(&bytes).into());
        if reference.digest().is_some_and(|d| d != digest.to_string()) {
            return Err(self.content("the manifest", format!("its digest is {digest}")));
        }
        Ok((digest, bytes.to_vec()))
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<(), PullError> {
        let digest = digest_of(descriptor)?;
        let whole = self.layout.blob_path(&digest);
        if whole.exists() {
            return Ok(());
        }
        // Somebody else may be fetching the same layer: then it is there when the lock is ours.
        let path = self.layout.partial_path(&digest.hex());
        let _lock = lock(path.with_extension("lock")).await?;
        if whole.exists() {
            return Ok(());
        }
        let (partial, file) = Partial::create(path)?;
        self.fetch(&digest, descriptor.size(), partial.path(), file.into()).await?;
        Ok(self.layout.adopt(partial, &digest)?)
    }

    async fn fetch(
        &self,
        digest: &Digest,
        size: u64,
        partial: &Path,
        mut file: tokio::fs::File,
    ) -> Result<(), PullError> {
        let what = digest.to_string();
        let stream = self.client.pull_blob_stream(&self.reference, what.as_str()).await;
        let mut stream = stream.map_err(|e| self.registry(&what, e))?.stream;
        let (mut hash, mut received) = (Sha256::new(), 0_u64);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| self.content(&what, e.to_string()))?;
            received += chunk.len() as u64;
            if received > size {
                return Err(self.content(&what, format!("it is longer than the {size} bytes of its manifest")));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(context("write", partial))?;
        }
        file.flush().await.map_err(context("write", partial))?;
        let found = Digest(hash.finalize().into());
        if found != *digest {
            return Err(self.content(&what, format!("{received} of {size} bytes came, their digest is {found}")));
        }
        Ok(())
    }

    fn registry(&self, what: &str, source: OciDistributionError) -> PullError {
        PullError::Registry { reference: self.name.to_owned(), what: what.to_owned(), source: Box::new(source) }
    }

    fn content(&self, what: &str, why: String) -> PullError {
        PullError::Content { reference: self.name.to_owned(), what: what.to_owned(), why }
    }
}

fn client(reference: &Reference) -> Client {
    let registry = reference.resolve_registry();
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host).trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let plain = if is_loopback { vec![registry.to_owned()] } else { Vec::new() };
    Client::new(ClientConfig {
        protocol: ClientProtocol::HttpsExcept(plain),
        read_timeout: Some(READ_TIMEOUT),
        connect_timeout: Some(CONNECT_TIMEOUT),
        ..ClientConfig::default()
    })
}

async fn lock(path: std::path::PathBuf) -> Result<Lock, PullError> {
    let waiting = tokio::task::spawn_blocking(move || Lock::take(&path)).await;
    let lock = waiting.map_err(|e| LayoutError::Document { what: "the lock".into(), why: e.to_string() })?;
    Ok(lock?)
}
