//! What the host stands on, as narrow as it needs it.

use std::sync::Arc;

use async_trait::async_trait;
use sublet_base::MachineId;
use sublet_images::ImageStore;
use sublet_machine::{DiskImage, Driver, ImageRef};
use sublet_store::{Documents, Expect, Store};

use crate::Record;

/// Why something outside failed; for the log and the machine's failure.
pub type PortError = Box<dyn std::error::Error + Send + Sync>;

/// Everything the host stands on.
#[derive(Clone)]
pub struct Ports {
    /// What can run machines here, whether or not its probe passes.
    pub drivers: Vec<Arc<dyn Driver>>,
    /// Where images come from.
    pub images: Arc<dyn Images>,
    /// What survives a crash.
    pub records: Arc<dyn Records>,
}

/// Makes images ready.
pub trait Images: Send + Sync {
    /// The image's disk, made if it is not there. Blocks.
    ///
    /// # Errors
    /// If it is not here and cannot be had, in words for whoever asked.
    fn prepare(&self, image: &ImageRef) -> Result<DiskImage, PortError>;
}

impl Images for ImageStore {
    fn prepare(&self, image: &ImageRef) -> Result<DiskImage, PortError> {
        Ok(Self::prepare(self, &image.digest)?)
    }
}

/// Remembers machines. What was saved is there after a crash.
#[async_trait]
pub trait Records: Send + Sync {
    /// All of them.
    ///
    /// # Errors
    /// If they cannot be read.
    async fn load(&self) -> Result<Vec<Record>, PortError>;

    /// Stores one, in the place of what was stored of that machine.
    ///
    /// # Errors
    /// If it is not safely stored.
    async fn save(&self, record: &Record) -> Result<(), PortError>;

    /// Forgets one. Harmless if unknown.
    ///
    /// # Errors
    /// If it may still be there.
    async fn remove(&self, id: &MachineId) -> Result<(), PortError>;
}

/// Records in the store every service uses.
#[derive(Clone, Debug)]
pub struct StoredRecords(Documents);

impl StoredRecords {
    /// In `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self(store.documents("machine"))
    }
}

#[async_trait]
impl Records for StoredRecords {
    async fn load(&self) -> Result<Vec<Record>, PortError> {
        Ok(self.0.list().await?.into_iter().map(|document| document.value).collect())
    }

    async fn save(&self, record: &Record) -> Result<(), PortError> {
        self.0.put(record.id().as_str(), record, Expect::Anything).await?;
        Ok(())
    }

    async fn remove(&self, id: &MachineId) -> Result<(), PortError> {
        Ok(self.0.delete(id.as_str(), Expect::Anything).await?)
    }
}
