//! The kernel of every virtual machine: `vmlinuz` and its modules, taken out of the packages' files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::layer::SpoolReader;
use crate::layout::{LayoutError, context, replace};
use crate::tree::{Components, Kind, NodeId, Tree};

/// Why a kernel cannot be taken out.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The packages hold none, or several.
    #[error("expected one kernel in the packages, found {0}")]
    Count(usize),
    /// The disk failed.
    #[error("cannot write the kernel")]
    Write(#[from] LayoutError),
}

/// Writes `vmlinuz`, `modules/` (the content of `lib/modules/RELEASE`) and, last, `release` into `folder`.
///
/// Modules are replaced as a whole; nothing may be using the folder.
///
/// # Errors
/// [`KernelError`].
pub fn extract(tree: &Tree, folder: &Path) -> Result<(), KernelError> {
    let kernels: Vec<_> = below(tree, "boot")
        .into_iter()
        .filter_map(|(name, id)| name.strip_prefix("vmlinuz-").map(|release| (release.to_owned(), id)))
        .collect();
    let [(release, vmlinuz)] = kernels.as_slice() else { return Err(KernelError::Count(kernels.len())) };
    let modules = Components::parse(format!("usr/lib/modules/{release}").as_bytes()).ok().and_then(|p| tree.find(&p));
    let modules = modules.ok_or(KernelError::Count(0))?;
    let marker = folder.join("release");
    match fs::remove_file(&marker) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(context("remove", &marker)(e).into()),
        _ => {}
    }
    let target = folder.join("modules");
    if target.exists() {
        fs::remove_dir_all(&target).map_err(context("remove", &target))?;
    }
    copy(tree, modules, &target)?;
    copy(tree, *vmlinuz, &folder.join("vmlinuz"))?;
    replace(&marker, release.as_bytes())?;
    Ok(())
}

fn below(tree: &Tree, folder: &str) -> Vec<(String, NodeId)> {
    let folder = Components::parse(folder.as_bytes()).ok().and_then(|p| tree.find(&p));
    let children = folder.into_iter().flat_map(|f| tree.children(f));
    children.map(|(name, id)| (String::from_utf8_lossy(name).into_owned(), id)).collect()
}

/// Copies folders and files; links (`build`, `source`) point outside and are left out.
fn copy(tree: &Tree, id: NodeId, to: &Path) -> Result<(), LayoutError> {
    match &tree.node(id).kind {
        Kind::Folder(children) => {
            fs::create_dir_all(to).map_err(context("make", to))?;
            children.iter().try_for_each(|(name, id)| {
                let path: PathBuf = to.join(String::from_utf8_lossy(name).as_ref());
                copy(tree, *id, &path)
            })
        }
        Kind::File { offset, size } => {
            let mut file = File::create(to).map_err(context("create", to))?;
            io::copy(&mut SpoolReader { tree, at: *offset, left: *size }, &mut file).map_err(context("write", to))?;
            Ok(())
        }
        Kind::Symlink(_) | Kind::Fifo => Ok(()),
    }
}
