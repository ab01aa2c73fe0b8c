//! Layers in, disks out: what a file system checker reads back, and what is refused on the way.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::path::{Path, PathBuf};

use common::{Layer, Seen, through_erofs, tree, tree_within};
use proptest::prelude::*;
use sublet_images::{Bounds, LayerError};
use tar::EntryType;

fn paths(layers: &[Vec<u8>]) -> Vec<String> {
    let mut tree = tree();
    layers.iter().for_each(|l| tree.apply(l.as_slice()).unwrap());
    through_erofs(&tree).keys().map(|p| p.display().to_string()).collect()
}

#[test]
fn every_kind_and_every_awkward_size_survives() {
    let mut layer = Layer::new().folder("dir/").symlink("dir/link", "../elsewhere");
    let sizes = [0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 12_345];
    for size in sizes {
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        layer = layer.file(&format!("dir/{size}"), &content);
    }
    // More names than one block of a folder holds.
    for number in 0..700 {
        layer = layer.file(&format!("many/a-rather-long-name-{number:04}"), b"x");
    }
    layer = layer.raw(EntryType::Regular, "su", "", 0o4755, b"root").hard_link("su2", "su").raw(
        EntryType::Fifo,
        "pipe",
        "",
        0o600,
        b"",
    );
    let mut tree = tree();
    tree.apply(layer.bytes().as_slice()).unwrap();
    let seen = through_erofs(&tree);
    for size in sizes {
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        assert_eq!(seen[Path::new(&format!("/dir/{size}"))], Seen::File(0o644, content), "size {size}");
    }
    assert_eq!(seen[Path::new("/dir/link")], Seen::Symlink("../elsewhere".into()));
    assert_eq!(seen.keys().filter(|p| p.starts_with("/many/")).count(), 701);
    assert_eq!(seen[Path::new("/su2")], Seen::File(0o4755, b"root".to_vec()));
    assert!(matches!(seen[Path::new("/pipe")], Seen::Other(_)));
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let lower = Layer::new().file("a/keep", b"").file("a/gone", b"").file("b/old", b"").file("c/deep/old", b"").bytes();
    let upper = Layer::new()
        .file("a/.wh.gone", b"")
        .file("b/new", b"")
        .file("b/.wh..wh..opq", b"")
        .file("c/deep/new", b"")
        .file("c/.wh.deep", b"")
        .bytes();
    assert_eq!(paths(&[lower, upper]), ["/", "/a", "/a/keep", "/b", "/b/new", "/c", "/c/deep", "/c/deep/new"]);
}

#[test]
fn links_do_not_lead_down_without_end() {
    // Each link leads 40 folders below the one before it.
    let down = "d/".repeat(40);
    let deep = (0..7).fold(Layer::new().symlink("0", "."), |l, i| {
        l.folder(&format!("{i}/{down}")).symlink(&(i + 1).to_string(), &format!("{i}/{down}"))
    });
    let error = tree().apply(deep.bytes().as_slice()).unwrap_err();
    assert!(error.to_string().contains("inside one another"), "{error}");
}

#[test]
fn hiding_a_folder_again_and_again_costs_nothing() {
    let full = (0..10_000).fold(Layer::new(), |l, i| l.file(&format!("a/{i}"), b""));
    let layer = (0..10_000).fold(full, |l, _| l.file("a/.wh..wh..opq", b"")).bytes();
    tree().apply(layer.as_slice()).unwrap();
}

#[test]
fn a_layer_may_write_through_a_link_of_the_one_below_but_never_out() {
    let lower = Layer::new().folder("usr/lib/").symlink("lib", "usr/lib").symlink("up", "../../../tmp").bytes();
    let upper = Layer::new().file("lib/x", b"").file("up/y", b"").bytes();
    assert_eq!(paths(&[lower, upper]), ["/", "/lib", "/tmp", "/tmp/y", "/up", "/usr", "/usr/lib", "/usr/lib/x"]);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let layer = Layer::new().file("x", b"1").folder("x/").file("x/y", b"").file("x", b"2").bytes();
    assert_eq!(paths(&[layer]), ["/", "/x"]);
}

#[test]
fn device_nodes_never_reach_a_disk() {
    let layer =
        Layer::new().raw(EntryType::Char, "dev/null", "", 0o666, b"").raw(EntryType::Block, "sda", "", 0o660, b"");
    assert_eq!(paths(&[layer.file("ok", b"").bytes()]), ["/", "/ok"]);
}

#[test]
fn hostile_archives_are_refused() {
    type Check = fn(&LayerError) -> bool;
    let is_path: Check = |e| matches!(e, LayerError::Path(_));
    let is_link: Check = |e| matches!(e, LayerError::Link { .. });
    let blocked: Check = |e| matches!(e, LayerError::NotAFolder(_));
    let too_large: Check = |e| matches!(e, LayerError::TooLarge(_));
    let io: Check = |e| matches!(e, LayerError::Io(_));
    let kind: Check = |e| matches!(e, LayerError::Kind(_));
    let truncated = Layer::new().file("x", &[7; 5000]).bytes()[..3000].to_vec();
    let attributes = (0..9).fold(Layer::new(), |l, i| l.xattr(&format!("user.{i}"), &[0; 300])).bytes();
    let long = "x".repeat(90);
    let cases: Vec<(&str, Vec<u8>, Check)> = vec![
        ("climbing", Layer::new().file("../x", b"").bytes(), is_path),
        ("climbing later", Layer::new().file("a/../../x", b"").bytes(), is_path),
        ("whiteout of the parent", Layer::new().file("a/.wh...", b"").bytes(), is_path),
        ("root as a file", Layer::new().file("/", b"x").bytes(), is_path),
        ("link outside", Layer::new().hard_link("x", "../../etc/shadow").bytes(), is_path),
        ("link to nothing", Layer::new().hard_link("x", "y").bytes(), is_link),
        ("link to a folder", Layer::new().folder("y/").hard_link("x", "y").bytes(), is_link),
        ("below a file", Layer::new().file("x", b"").file("x/y", b"").bytes(), blocked),
        ("looping links", Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", b"").bytes(), blocked),
        ("too many entries", (0..101).fold(Layer::new(), |l, i| l.file(&i.to_string(), b"")).bytes(), too_large),
        ("too many bytes", Layer::new().file("x", &[0; 60_000]).file("y", &[0; 60_000]).bytes(), too_large),
        (
            "a huge header",
            Layer::new().raw(EntryType::GNULongName, "x", "", 0, &vec![b'a'; 2 << 20]).bytes(),
            too_large,
        ),
        ("too many attributes", Layer::new().xattr("user.x", &[0; 4000]).file("x", b"").bytes(), too_large),
        ("attributes in many headers", attributes, too_large),
        ("long names", (0..40).fold(Layer::new(), |l, i| l.file(&format!("{i:090}"), b"")).bytes(), too_large),
        ("long links", (0..40).fold(Layer::new(), |l, i| l.symlink(&i.to_string(), &long)).bytes(), too_large),
        ("an unknown kind", Layer::new().raw(EntryType::new(b'Q'), "x", "", 0, b"").bytes(), kind),
        ("a sparse file", Layer::new().raw(EntryType::GNUSparse, "x", "", 0, b"").bytes(), kind),
        ("cut short", truncated, io),
        ("no archive", vec![42; 2048], io),
    ];
    for (what, bytes, expected) in cases {
        let bounds = Bounds { bytes: 100_000, entries: 100, words: 3000 };
        match tree_within(bounds).apply(bytes.as_slice()) {
            Err(error) => assert!(expected(&error), "{what} gave {error:?}"),
            Ok(()) => panic!("{what} was taken"),
        }
    }
}

#[test]
fn keep_and_drop_select_paths() {
    let layer = ["a/b/c", "a/bb", "a/d", "e/f/g", "e/h"].iter().fold(Layer::new(), |l, p| l.file(p, b"")).bytes();
    let filtered = |keep: &[&str], drop: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let mut tree = tree();
        tree.apply(layer.as_slice()).unwrap();
        tree.filter(&owned(keep), &owned(drop)).unwrap();
        through_erofs(&tree).keys().filter(|p| p.components().count() > 2).cloned().collect::<Vec<PathBuf>>()
    };
    assert_eq!(filtered(&["/a/b", "e/h"], &[]), ["/a/b", "/a/b/c", "/e/h"].map(PathBuf::from));
    assert_eq!(filtered(&[], &["/a", "/e/f/"]), ["/e/f", "/e/h"].map(PathBuf::from));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever tree goes in, its checker reads the same tree out, and packing it and unpacking that changes nothing.
    #[test]
    fn trees_come_back(
        files in proptest::collection::btree_map("[a-e]{1,2}(/[a-z]{1,40}){0,2}", (0_usize..9000, 0_u32..0o1000), 0..40),
    ) {
        let mut layer = Layer::new();
        for (path, (size, mode)) in &files {
            // A name below another file would be refused; this test is about what is not.
            let path = path.replace('/', "_/");
            layer = layer.raw(EntryType::Regular, &path, "", mode | 0o400, &vec![b'x'; *size]);
        }
        let mut first = tree();
        first.apply(layer.bytes().as_slice()).unwrap();
        let seen = through_erofs(&first);
        for (path, (size, mode)) in &files {
            let path = Path::new("/").join(path.replace('/', "_/"));
            prop_assert_eq!(&seen[&path], &Seen::File(mode | 0o400, vec![b'x'; *size]));
        }
        let (mut packed, mut again, mut second) = (Vec::new(), Vec::new(), tree());
        first.pack(&mut packed, u64::MAX).unwrap();
        second.apply(packed.as_slice()).unwrap();
        second.pack(&mut again, u64::MAX).unwrap();
        prop_assert!(packed == again);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        first.write_erofs(&mut one).unwrap();
        second.write_erofs(&mut two).unwrap();
        prop_assert!(one == two);
    }
}
