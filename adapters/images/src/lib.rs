//! Images: an OCI layout as the store, pulled from registries or built from recipes, unpacked in memory, and made into
//! read-only erofs disks that are byte for byte the same everywhere.
//!
//! [`ImageStore`] is what a host uses: [`ImageStore::resolve`] a name, [`ImageStore::pull`] what is missing,
//! [`ImageStore::prepare`] the disk. [`Artefacts`] says where it all is. [`Recipe`] is what `cargo xtask images` uses.

mod apt;
mod archive;
mod artefacts;
mod erofs;
mod kernel;
mod layer;
mod layout;
mod pull;
mod recipe;
mod store;
mod tree;

pub use artefacts::{ArtefactError, Artefacts};
pub use kernel::{KernelError, extract as extract_kernel};
pub use layout::LayoutError;
pub use pull::PullError;
pub use recipe::{EPOCH, Recipe, RecipeError};
pub use store::{ImageStore, StoreError};
pub use sublet_machine::ImageRef;
pub use tree::{Bounds, LayerError, Tree};
