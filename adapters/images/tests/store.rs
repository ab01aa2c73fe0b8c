//! The store: names, digests, disks made once, and what is left when a process dies or a file is damaged.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use common::{Layer, Seen, read_disk, store};
use sublet_images::{Bounds, ImageRef, ImageStore, LayoutError, StoreError};
use sublet_machine::ImageConfig;

/// Set for the child process of [`a_killed_process_leaves_no_half_disk`]: the store's folder.
const CHILD: &str = "SUBLET_TEST_CHILD_STORE";

fn config() -> ImageConfig {
    ImageConfig { argv: vec!["/bin/x".into(), "--y".into()], env: vec!["A=b".into()], cwd: "/srv".into() }
}

fn archive(size: usize) -> Vec<u8> {
    Layer::new().file("etc/name", b"value").file("big", &vec![9; size]).bytes()
}

fn import(store: &ImageStore, name: &str, archive: &[u8]) -> ImageRef {
    store.import(name, archive, &config(), "test", 1_700_000_000).unwrap()
}

fn disks(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("disks/v1")).unwrap();
    entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "erofs")).collect()
}

fn bytes_of_disks(root: &Path) -> u64 {
    let entries = fs::read_dir(root.join("disks/v1")).unwrap();
    // A file may be renamed between being listed and being looked at.
    entries.filter_map(|e| e.unwrap().metadata().ok()).map(|m| m.len()).sum()
}

#[test]
fn an_image_goes_in_by_name_and_comes_out_as_a_disk() {
    let (folder, store) = store();
    let image = import(&store, "thing", &archive(10_000));
    assert_eq!(store.resolve("thing").unwrap(), image);
    assert_eq!(store.resolve(&image.digest.to_string()).unwrap().digest, image.digest);
    assert_eq!(store.source_of("thing").unwrap().as_deref(), Some("test"));

    let disk = store.prepare(&image.digest).unwrap();
    assert_eq!(disk.config, config());
    assert_eq!(read_disk(&disk.rootfs)[Path::new("/etc/name")], Seen::File(0o644, b"value".to_vec()));
    assert!(fs::metadata(&disk.rootfs).unwrap().permissions().readonly());
    assert_eq!(disks(folder.path()), [disk.rootfs]);
}

#[test]
fn equal_files_give_an_equal_digest_and_an_equal_disk() {
    let ((_a, first), (_b, second)) = (store(), store());
    let in_other_order = Layer::new().file("big", &[9; 500]).file("etc/name", b"value").bytes();
    let (one, two) = (import(&first, "x", &archive(500)), import(&second, "y", &in_other_order));
    assert_eq!(one.digest, two.digest);
    let read = |store: &ImageStore, image: &ImageRef| fs::read(store.prepare(&image.digest).unwrap().rootfs).unwrap();
    assert!(read(&first, &one) == read(&second, &two));
    assert_ne!(import(&first, "x", &archive(501)).digest, one.digest);
}

#[test]
fn a_name_moves_to_the_newer_image_and_unknown_ones_say_what_there_is() {
    let (_folder, store) = store();
    let old = import(&store, "thing", &archive(1));
    let new = import(&store, "thing", &archive(2));
    import(&store, "other", &archive(3));
    assert_eq!(store.resolve("thing").unwrap().digest, new.digest);
    assert!(store.prepare(&old.digest).is_ok(), "an image in use stays though its name moved on");
    let message = store.resolve("thimg").unwrap_err().to_string();
    assert!(message.contains("other, thing"), "{message}");
}

#[test]
fn many_at_once_make_one_disk() {
    let (folder, store) = store();
    let image = import(&store, "thing", &archive(300_000));
    let again = ImageStore::open(folder.path()).unwrap();
    thread::scope(|scope| {
        let run = |store: ImageStore| scope.spawn(move || store.prepare(&image.digest).unwrap().rootfs);
        let threads: Vec<_> = (0..8).map(|i| run(if i % 2 == 0 { store.clone() } else { again.clone() })).collect();
        let mut paths: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        paths.dedup();
        assert_eq!(paths, disks(folder.path()));
    });
    read_disk(&disks(folder.path())[0]);
}

#[test]
fn a_damaged_blob_is_named_and_makes_no_disk() {
    let (folder, store) = store();
    let image = import(&store, "thing", &archive(50_000));
    let blobs: Vec<_> =
        fs::read_dir(folder.path().join("oci/blobs/sha256")).unwrap().map(|e| e.unwrap().path()).collect();
    let layer = blobs.iter().max_by_key(|p| fs::metadata(p).unwrap().len()).unwrap();
    let mut content = fs::read(layer).unwrap();
    content[600] ^= 1;
    fs::write(layer, &content).unwrap();
    let error = store.prepare(&image.digest).unwrap_err();
    assert!(matches!(&error, StoreError::Layout(LayoutError::Damaged { path, .. }) if path == layer), "{error:?}");
    assert_eq!(disks(folder.path()), Vec::<PathBuf>::new());
    fs::remove_file(layer).unwrap();
    assert!(matches!(store.prepare(&image.digest).unwrap_err(), StoreError::Layout(LayoutError::NoBlob(_))));
}

#[test]
fn an_image_over_the_bounds_is_refused() {
    let (_folder, store) = store();
    let image = import(&store, "thing", &archive(50_000));
    let strict = store.clone().with_bounds(Bounds { bytes: 49_999, entries: 10, ..Bounds::default() });
    assert!(matches!(strict.prepare(&image.digest).unwrap_err(), StoreError::Layer { .. }));
    assert!(store.prepare(&image.digest).is_ok());
}

#[test]
fn a_killed_process_leaves_no_half_disk() {
    if let Some(root) = std::env::var_os(CHILD) {
        let store = ImageStore::open(Path::new(&root)).unwrap();
        let image = import(&store, "thing", &archive(20_000_000));
        store.prepare(&image.digest).unwrap();
        return;
    }
    let (_reference_folder, reference) = store();
    let image = import(&reference, "thing", &archive(20_000_000));
    let expected = fs::read(reference.prepare(&image.digest).unwrap().rootfs).unwrap();

    let (folder, store) = store();
    for written in [0, 1, 4_000_000, 10_000_000, 16_000_000, 19_999_999, 20_000_000] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_no_half_disk", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Catch it while it writes: as soon as that much of the disk is there, whatever the file is called meanwhile.
        while bytes_of_disks(folder.path()) < written && child.try_wait().unwrap().is_none() {
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for disk in disks(folder.path()) {
            assert!(fs::read(&disk).unwrap() == expected, "half a disk after {written} bytes");
            fs::remove_file(disk).unwrap();
        }
        // The next one completes it, over what the killed one left behind.
        if let Ok(found) = store.resolve("thing") {
            assert_eq!(found.digest, image.digest);
            assert!(fs::read(store.prepare(&found.digest).unwrap().rootfs).unwrap() == expected);
            fs::remove_file(&disks(folder.path())[0]).unwrap();
        }
    }
    import(&store, "thing", &archive(20_000_000));
    assert!(fs::read(store.prepare(&image.digest).unwrap().rootfs).unwrap() == expected);
}
