//! Files the init writes into its machine: whole or not at all, and on the disk before anybody is told.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Replaces a file, making its folders.
///
/// # Errors
/// The system's.
pub(crate) fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".sublet-new");
    let fresh = folder.join(name);
    let _ = fs::remove_file(&fresh);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

/// Installs login keys for root, readable by nobody else (sshd refuses anything laxer).
///
/// # Errors
/// The system's.
pub(crate) fn install_keys(home: &Path, keys: &[String]) -> io::Result<()> {
    let folder = home.join(".ssh");
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let mut text = keys.join("\n");
    text.push('\n');
    replace(&folder.join("authorized_keys"), 0o600, text.as_bytes())
}
