//! The initrd every virtual machine boots: our static init and the kernel modules it needs, as a `newc` cpio archive.
//!
//! The same inputs give the same bytes: entries in a fixed order, no times, no owners, no inode numbers of any disk.
//! Modules are packed as they are (the kernel loads them uncompressed), without their signatures, which the kernel does
//! not insist on and takes long to check when it is emulated.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What a machine's disks, network, channel and power button need, on every bus a driver of ours uses.
const MODULES: [&str; 9] =
    ["virtio_mmio", "virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "erofs", "overlay", "evdev", "button"];

/// What marks the end of a signed module.
const SIGNATURE_MAGIC: &[u8] = b"~Module signature appended~\n";
/// Bytes of the header before that mark; its last four are the signature's length.
const SIGNATURE_HEADER: usize = 12;

/// Why an initrd could not be put together.
#[derive(Debug, Error)]
pub enum InitrdError {
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel's folder lacks a module and does not have it built in either.
    #[error("there is no kernel module {name} under {folder}")]
    NoModule {
        /// Which.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A module is not an uncompressed object file.
    #[error("{0} is not an uncompressed kernel module")]
    NotAModule(PathBuf),
}

/// Builds the initrd from the static init and the kernel's `lib/modules/VERSION` folder.
///
/// # Errors
/// [`InitrdError`].
pub fn assemble(init: &Path, modules: &Path) -> Result<Vec<u8>, InitrdError> {
    let mut archive = Cpio::default();
    archive.folder("dev");
    archive.folder("lib");
    archive.file("init", 0o755, &read(init)?);
    let mut list = String::new();
    for (name, bytes) in resolve(modules)? {
        archive.file(&format!("lib/{name}.ko"), 0o644, unsigned(&bytes));
        list.push_str(&format!("/lib/{name}.ko\n"));
    }
    archive.file("modules.list", 0o644, list.as_bytes());
    Ok(archive.finish())
}

/// [`assemble`], written to a file that appears whole or not at all.
///
/// # Errors
/// [`InitrdError`].
pub fn write(init: &Path, modules: &Path, to: &Path) -> Result<(), InitrdError> {
    let bytes = assemble(init, modules)?;
    let failed = |source| InitrdError::File { path: to.to_owned(), source };
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut fresh = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    io::Write::write_all(&mut fresh, &bytes).map_err(failed)?;
    let readable = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    fresh.as_file().set_permissions(readable).and_then(|()| fresh.as_file().sync_all()).map_err(failed)?;
    fresh.persist(to).map(drop).map_err(|e| failed(e.error))
}

/// The wanted modules and what they depend on, each after its dependencies.
fn resolve(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, InitrdError> {
    let mut files = BTreeMap::new();
    find_modules(&folder.join("kernel"), &mut files)?;
    let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let builtin: BTreeSet<String> = builtin.lines().filter_map(|line| module_name(Path::new(line))).collect();
    let mut order = Order { folder, files, builtin, done: BTreeSet::new(), loaded: Vec::new() };
    MODULES.iter().try_for_each(|name| order.add(name))?;
    Ok(order.loaded)
}

struct Order<'a> {
    folder: &'a Path,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    done: BTreeSet<String>,
    loaded: Vec<(String, Vec<u8>)>,
}

impl Order<'_> {
    fn add(&mut self, name: &str) -> Result<(), InitrdError> {
        // Marked before its dependencies are followed, so that a circle ends.
        if self.builtin.contains(name) || !self.done.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(path) = self.files.get(name) else {
            return Err(InitrdError::NoModule { name: name.to_owned(), folder: self.folder.to_owned() });
        };
        let bytes = read(path)?;
        let depends = dependencies(&bytes).ok_or_else(|| InitrdError::NotAModule(path.clone()))?;
        depends.iter().try_for_each(|dependency| self.add(dependency))?;
        self.loaded.push((name.to_owned(), bytes));
        Ok(())
    }
}

fn find_modules(folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<(), InitrdError> {
    let failed = |source| InitrdError::File { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            find_modules(&path, found)?;
        } else if let Some(name) = module_name(&path) {
            found.insert(name, path);
        }
    }
    Ok(())
}

/// `kernel/drivers/block/virtio-blk.ko.xz` names `virtio_blk`.
fn module_name(path: &Path) -> Option<String> {
    let (name, rest) = path.file_name()?.to_str()?.split_once('.')?;
    rest.starts_with("ko").then(|| name.replace('-', "_"))
}

/// The `depends=` of a module's `.modinfo` section: `name=value` texts, each ended by a zero byte.
fn dependencies(module: &[u8]) -> Option<Vec<String>> {
    let info = section(module, b".modinfo")?;
    let line = info.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"depends="))?;
    let line = std::str::from_utf8(line).ok()?;
    Some(line.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

/// The content of a section of a 64-bit little-endian ELF file.
fn section<'a>(elf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte))).ok()
    };
    let (table, entry_size, count, names) = (number(40, 8)?, number(58, 2)?, number(60, 2)?, number(62, 2)?);
    let header = |index: usize| table.checked_add(index.checked_mul(entry_size)?);
    let content = |at: usize| {
        let from = number(at.checked_add(24)?, 8)?;
        elf.get(from..from.checked_add(number(at + 32, 8)?)?)
    };
    let names = content(header(names)?)?;
    (0..count).filter_map(header).find_map(|at| {
        let label = names.get(number(at, 4)?..)?.split(|&byte| byte == 0).next()?;
        if label == name { content(at) } else { None }
    })
}

fn unsigned(module: &[u8]) -> &[u8] {
    let Some(body) = module.strip_suffix(SIGNATURE_MAGIC) else { return module };
    let Some((_, length)) = body.split_last_chunk::<4>() else { return module };
    let signature = u32::from_be_bytes(*length) as usize + SIGNATURE_HEADER;
    body.len().checked_sub(signature).map_or(module, |end| &body[..end])
}

fn read(path: &Path) -> Result<Vec<u8>, InitrdError> {
    fs::read(path).map_err(|source| InitrdError::File { path: path.to_owned(), source })
}

/// A `newc` archive: <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, content);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (size, name_size) = (content.len(), name.len() + 1);
        let inode = self.entries;
        // inode, mode, uid, gid, links, time, size, device (2), special device (2), name's size, checksum
        let header = format!(
            "070701{inode:08x}{mode:08x}{z:08x}{z:08x}{one:08x}{z:08x}{size:08x}{z:08x}{z:08x}{z:08x}{z:08x}{name_size:08x}{z:08x}",
            z = 0,
            one = 1
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with nothing but a `.modinfo` section.
    fn module(depends: &str) -> Vec<u8> {
        let info = format!("license=GPL\0depends={depends}\0name=x\0");
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let info_at = elf.len();
        elf.extend_from_slice(info.as_bytes());
        let names_at = elf.len();
        elf.extend_from_slice(names);
        let table = elf.len();
        for (name, at, size) in [(0_u32, 0, 0), (1, info_at, info.len()), (10, names_at, names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf[40..48].copy_from_slice(&(table as u64).to_le_bytes());
        for (at, value) in [(58, 64_u16), (60, 3), (62, 2)] {
            elf[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        elf
    }

    fn kernel() -> Result<tempfile::TempDir, io::Error> {
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join("kernel/deep"))?;
        for name in MODULES {
            let depends = match name {
                "virtio_mmio" => "virtio-ring,virtio",
                "erofs" => "libcrc32c",
                _ => "",
            };
            fs::write(folder.path().join(format!("kernel/{}.ko", name.replace('_', "-"))), module(depends))?;
        }
        fs::write(folder.path().join("kernel/deep/virtio_ring.ko"), module("virtio"))?;
        fs::write(folder.path().join("kernel/deep/virtio.ko"), module(""))?;
        fs::write(folder.path().join("modules.builtin"), "kernel/lib/libcrc32c.ko\n")?;
        Ok(folder)
    }

    #[test]
    fn the_kernels_own_unpacker_would_find_every_entry_and_the_bytes_never_change()
    -> Result<(), Box<dyn std::error::Error>> {
        let kernel = kernel()?;
        let init = kernel.path().join("init");
        fs::write(&init, "program")?;
        let archive = assemble(&init, kernel.path())?;
        assert_eq!(archive, assemble(&init, kernel.path())?);
        let mut child = std::process::Command::new("cpio")
            .args(["-it", "--quiet"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        io::Write::write_all(&mut child.stdin.take().expect("piped"), &archive)?;
        let listed = String::from_utf8(child.wait_with_output()?.stdout)?;
        let ends = ["dev", "lib", "init", "lib/virtio.ko", "lib/virtio_ring.ko", "lib/virtio_mmio.ko"];
        assert_eq!(listed.lines().take(6).collect::<Vec<_>>(), ends);
        assert_eq!(listed.lines().last(), Some("modules.list"));
        assert!(!listed.contains("libcrc32c"), "what is built in is not packed");
        Ok(())
    }

    #[test]
    fn a_missing_or_compressed_module_is_named() -> Result<(), io::Error> {
        let kernel = kernel()?;
        fs::write(kernel.path().join("kernel/overlay.ko"), b"\xfd7zXZ")?;
        assert!(matches!(resolve(kernel.path()), Err(InitrdError::NotAModule(path)) if path.ends_with("overlay.ko")));
        fs::remove_file(kernel.path().join("kernel/overlay.ko"))?;
        assert!(matches!(resolve(kernel.path()), Err(InitrdError::NoModule { name, .. }) if name == "overlay"));
        Ok(())
    }

    #[test]
    fn hostile_object_files_are_refused_not_followed() {
        let good = module("a,b");
        assert_eq!(dependencies(&good), Some(vec!["a".to_owned(), "b".to_owned()]));
        for at in 40..64 {
            let mut bad = good.clone();
            bad[at] = 0xff;
            let _ = dependencies(&bad);
        }
        for end in 0..good.len() {
            let _ = dependencies(&good[..end]);
        }
    }

    #[test]
    fn only_a_whole_signature_is_cut_off() {
        let mut signed = b"module".to_vec();
        signed.extend_from_slice(b"SIGNATURE");
        signed.extend_from_slice(&[0; 8]);
        signed.extend_from_slice(&9_u32.to_be_bytes());
        signed.extend_from_slice(SIGNATURE_MAGIC);
        assert_eq!(unsigned(&signed), b"module");
        assert_eq!(unsigned(b"module"), b"module");
        assert_eq!(unsigned(SIGNATURE_MAGIC), SIGNATURE_MAGIC);
    }
}
