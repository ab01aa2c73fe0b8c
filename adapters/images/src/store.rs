//! The image store: images by name and digest, made ready as disks.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, DescriptorBuilder, ImageConfiguration, ImageConfigurationBuilder, ImageManifest,
    ImageManifestBuilder, MediaType, Os, RootFsBuilder, SCHEMA_VERSION,
};
use sublet_base::Digest;
use sublet_machine::{DiskImage, ImageConfig, ImageRef};
use thiserror::Error;

use crate::layout::{self, Hashing, Layout, LayoutError, Lock, Partial, REF_NAME, context};
use crate::tree::{Bounds, LayerError, Tree};

/// Format of the disks; a change of [`Tree::write_erofs`] that changes bytes takes the next number.
const DISK_FORMAT: &str = "v1";
/// Annotation in the index with what an image was built from.
const SOURCE: &str = "org.sublet.source";

/// How the store fails.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Nothing by that name.
    #[error("there is no image {name:?} here; there is {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The layout on disk failed.
    #[error("the image store failed")]
    Layout(#[from] LayoutError),
    /// A layer cannot be unpacked.
    #[error("layer {layer} of image {digest} cannot be unpacked")]
    Layer {
        /// The image's manifest.
        digest: Digest,
        /// The layer.
        layer: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// An archive to import cannot be unpacked.
    #[error("the archive for image {name:?} cannot be imported")]
    Import {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// A manifest asks for something this store does not do.
    #[error("image {digest} is not supported: {why}")]
    Unsupported {
        /// The image's manifest.
        digest: Digest,
        /// What is not.
        why: String,
    },
}

/// Images under one folder. Cheap to clone; several processes may use the same folder.
#[derive(Clone, Debug)]
pub struct ImageStore {
    root: PathBuf,
    pub(crate) layout: Layout,
    bounds: Bounds,
}

impl ImageStore {
    /// Opens the store in `root`, making what is missing.
    ///
    /// # Errors
    /// [`StoreError::Layout`] if the folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let disks = root.join("disks").join(DISK_FORMAT);
        fs::create_dir_all(&disks).map_err(context("make", &disks))?;
        Ok(Self { root: root.to_owned(), layout: Layout::open(root.join("oci"))?, bounds: Bounds::default() })
    }

    /// The same store with other limits on what an image may weigh.
    #[must_use]
    pub fn with_bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// The image a name stands for. A manifest digest (`sha256:…`) names itself if its manifest is here.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] with the names there are.
    pub fn resolve(&self, name: &str) -> Result<ImageRef, StoreError> {
        if let Ok(digest) = name.parse::<Digest>()
            && self.layout.blob_path(&digest).exists()
        {
            return Ok(ImageRef { name: name.to_owned(), digest });
        }
        let images = self.list()?;
        images.iter().find(|i| i.name == name).cloned().ok_or_else(|| {
            let known: Vec<_> = images.iter().map(|i| i.name.as_str()).collect();
            let known = if known.is_empty() { "none; run `make images`".to_owned() } else { known.join(", ") };
            StoreError::Unknown { name: name.to_owned(), known }
        })
    }

    /// Every named image, by name.
    ///
    /// # Errors
    /// [`StoreError::Layout`] if the index cannot be read.
    pub fn list(&self) -> Result<Vec<ImageRef>, StoreError> {
        let index = self.layout.index()?;
        let named = |d: &Descriptor| Some((layout::name_of(d)?.to_owned(), digest_of(d).ok()?));
        Ok(index.manifests().iter().filter_map(named).map(|(name, digest)| ImageRef { name, digest }).collect())
    }

    /// What the image called `name` was built from, as [`Self::import`] was told.
    ///
    /// # Errors
    /// [`StoreError::Layout`] if the index cannot be read.
    pub fn source_of(&self, name: &str) -> Result<Option<String>, StoreError> {
        let index = self.layout.index()?;
        let found = index.manifests().iter().find(|d| layout::name_of(d) == Some(name));
        Ok(found.and_then(|d| d.annotations().as_ref()?.get(SOURCE).cloned()))
    }

    /// The image as a disk: every blob checked against its digest, layers unpacked within bounds, written as erofs.
    /// Done once; later and concurrent calls, in this process or another, get the same file.
    ///
    /// Blocks for seconds the first time.
    ///
    /// # Errors
    /// [`StoreError`]; nothing half-made is left under the final name.
    pub fn prepare(&self, digest: &Digest) -> Result<DiskImage, StoreError> {
        let manifest: ImageManifest = layout::parse("the manifest", &self.layout.read(digest)?)?;
        let config_digest = digest_of(manifest.config())?;
        let config: ImageConfiguration = layout::parse("the image configuration", &self.layout.read(&config_digest)?)?;
        let rootfs = self.root.join("disks").join(DISK_FORMAT).join(format!("{}.erofs", digest.hex()));
        if !rootfs.exists() {
            let _lock = Lock::take(&rootfs.with_extension("lock"))?;
            if !rootfs.exists() {
                self.make_disk(digest, &manifest, &rootfs)?;
            }
        }
        Ok(DiskImage { digest: *digest, rootfs, config: image_config(&config) })
    }

    fn make_disk(&self, digest: &Digest, manifest: &ImageManifest, rootfs: &Path) -> Result<(), StoreError> {
        let mut tree = self.empty_tree()?;
        for descriptor in manifest.layers() {
            self.apply_layer(&mut tree, digest, descriptor)?;
        }
        let (partial, file) = Partial::create(rootfs.with_extension("partial"))?;
        tree.write_erofs(BufWriter::with_capacity(1 << 18, &file)).map_err(context("write", partial.path()))?;
        let mut read_only = file.metadata().map_err(context("look at", partial.path()))?.permissions();
        read_only.set_readonly(true);
        file.set_permissions(read_only).map_err(context("protect", partial.path()))?;
        Ok(partial.finish(rootfs)?)
    }

    fn apply_layer(&self, tree: &mut Tree, image: &Digest, descriptor: &Descriptor) -> Result<(), StoreError> {
        let layer = digest_of(descriptor)?;
        let unsupported =
            || StoreError::Unsupported { digest: *image, why: format!("layer type {}", descriptor.media_type()) };
        let mut blob = Hashing::new(BufReader::with_capacity(1 << 18, self.layout.open_blob(&layer)?));
        let applied = match descriptor.media_type().to_string().as_str() {
            "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
                tree.apply(&mut blob)
            }
            "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
                tree.apply(MultiGzDecoder::new(&mut blob))
            }
            _ => return Err(unsupported()),
        };
        // The rest of the blob counts for the digest too. A blob that is not what it should be explains any other error.
        let path = self.layout.blob_path(&layer);
        io::copy(&mut blob, &mut io::sink()).map_err(context("read", &path))?;
        let found = blob.digest();
        if found != layer {
            return Err(LayoutError::Damaged { path, expected: layer, found }.into());
        }
        applied.map_err(|source| StoreError::Layer { digest: *image, layer, source })
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub(crate) fn empty_tree(&self) -> Result<Tree, StoreError> {
        let spool = tempfile::tempfile_in(&self.root).map_err(context("make a temporary file in", &self.root))?;
        Ok(Tree::new(spool, self.bounds))
    }

    /// Imports an uncompressed root file system archive as the image `name`: one layer, entries sorted, no time after
    /// `latest` (seconds). Equal files give an equal digest. `source` is kept for [`Self::source_of`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn import(
        &self,
        name: &str,
        archive: impl Read,
        config: &ImageConfig,
        source: &str,
        latest: u64,
    ) -> Result<ImageRef, StoreError> {
        let mut tree = self.empty_tree()?;
        tree.apply(archive).map_err(|source| StoreError::Import { name: name.to_owned(), source })?;
        self.import_tree(name, &tree, config, source, latest)
    }

    /// [`Self::import`] of a tree.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn import_tree(
        &self,
        name: &str,
        tree: &Tree,
        config: &ImageConfig,
        source: &str,
        latest: u64,
    ) -> Result<ImageRef, StoreError> {
        let lock = self.layout.lock()?;
        let (partial, file) = Partial::create(self.layout.partial_path("import"))?;
        let mut out = Hashing::new(BufWriter::with_capacity(1 << 18, file));
        tree.pack(&mut out, latest).and_then(|()| out.flush()).map_err(context("write", partial.path()))?;
        let (layer, size) = (out.digest(), out.bytes);
        self.layout.adopt(partial, &layer)?;

        let config = encode_config(config, &layer)?;
        let config_descriptor =
            descriptor(MediaType::ImageConfig, config.len() as u64, self.layout.write(&lock, &config)?)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config_descriptor)
            .layers(vec![descriptor(MediaType::ImageLayer, size, layer)?])
            .build()
            .map_err(|e| layout::document("the manifest", &e))?;
        let manifest = layout::encode("the manifest", &manifest)?;
        let digest = self.layout.write(&lock, &manifest)?;
        self.name(&lock, name, &digest, manifest.len() as u64, source)?;
        Ok(ImageRef { name: name.to_owned(), digest })
    }

    pub(crate) fn name(
        &self,
        lock: &Lock,
        name: &str,
        digest: &Digest,
        size: u64,
        source: &str,
    ) -> Result<(), StoreError> {
        let mut descriptor = descriptor(MediaType::ImageManifest, size, *digest)?;
        let annotations = HashMap::from([(REF_NAME.into(), name.into()), (SOURCE.into(), source.into())]);
        descriptor.set_annotations(Some(annotations));
        Ok(self.layout.set_name(lock, name, descriptor)?)
    }
}

fn encode_config(config: &ImageConfig, layer: &Digest) -> Result<Vec<u8>, LayoutError> {
    let invalid = |e: oci_spec::OciSpecError| layout::document("the image configuration", &e);
    let run = ConfigBuilder::default().cmd(config.argv.clone()).env(config.env.clone()).working_dir(config.cwd.clone());
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(vec![layer.to_string()]).build().map_err(invalid)?;
    let configuration = ImageConfigurationBuilder::default()
        .architecture(Arch::Amd64)
        .os(Os::Linux)
        .config(run.build().map_err(invalid)?)
        .rootfs(rootfs)
        .build()
        .map_err(invalid)?;
    layout::encode("the image configuration", &configuration)
}

fn image_config(configuration: &ImageConfiguration) -> ImageConfig {
    let Some(config) = configuration.config() else { return ImageConfig::default() };
    let mut argv = config.entrypoint().clone().unwrap_or_default();
    argv.extend(config.cmd().clone().unwrap_or_default());
    ImageConfig {
        argv,
        env: config.env().clone().unwrap_or_default(),
        cwd: config.working_dir().clone().unwrap_or_default(),
    }
}

/// A descriptor's digest, which must be a sha256.
pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, LayoutError> {
    descriptor.digest().to_string().parse().map_err(|e| layout::document("a descriptor's digest", &e))
}

fn descriptor(media_type: MediaType, size: u64, digest: Digest) -> Result<Descriptor, LayoutError> {
    let hash: oci_spec::image::Digest = digest.to_string().parse().map_err(|e| layout::document("a digest", &e))?;
    let builder = DescriptorBuilder::default().media_type(media_type).size(size).digest(hash);
    builder.build().map_err(|e| layout::document("a descriptor", &e))
}
