//! Pulling from a registry on loopback that tells the truth, and from ones that do not.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{Response, StatusCode, header};
use axum::routing::get;
use common::{Layer, Seen, read_disk, store};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use sublet_base::Digest;
use sublet_images::{Bounds, PullError};
use tokio::net::TcpListener;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest(bytes: &[u8]) -> String {
    Digest(Sha256::digest(bytes).into()).to_string()
}

/// Content type and body.
type Answer = (&'static str, Vec<u8>);

/// A registry with one repository, `it`: what it answers by last part of the path, and what it was asked.
#[derive(Clone, Default)]
struct Registry {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn put(&self, name: &str, kind: &'static str, bytes: &[u8]) {
        self.answers.lock().unwrap().insert(name.to_owned(), (kind, bytes.to_vec()));
    }

    fn asked_for_blobs(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|p| p.starts_with("blobs/")).count()
    }

    async fn serve(&self) -> String {
        let app = Router::new()
            .route("/v2/", get(|| async { StatusCode::OK }))
            .route("/v2/it/{kind}/{name}", get(answer))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("{address}/it")
    }
}

async fn answer(State(registry): State<Registry>, UrlPath((kind, name)): UrlPath<(String, String)>) -> Response<Body> {
    registry.asked.lock().unwrap().push(format!("{kind}/{name}"));
    let found = registry.answers.lock().unwrap().get(&name).cloned();
    let response = Response::builder();
    match found {
        Some((kind, bytes)) => response.header(header::CONTENT_TYPE, kind).body(Body::from(bytes)).unwrap(),
        None => response.status(StatusCode::NOT_FOUND).body(Body::empty()).unwrap(),
    }
}

/// An image of two layers, one compressed.
struct Image {
    layers: [Vec<u8>; 2],
    config: Vec<u8>,
    manifest: Vec<u8>,
}

fn image() -> Image {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&Layer::new().file("a", b"lower").file("b", b"lower").bytes()).unwrap();
    let layers = [gzip.finish().unwrap(), Layer::new().file("b", b"upper").bytes()];
    let config =
        br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["/a"]},"rootfs":{"type":"layers","diff_ids":[]}}"#
            .to_vec();
    let descriptor = |kind: &str, bytes: &[u8]| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{}","size":{}}}"#,
            digest(bytes),
            bytes.len()
        )
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{},{}]}}"#,
        descriptor("config.v1+json", &config),
        descriptor("layer.v1.tar+gzip", &layers[0]),
        descriptor("layer.v1.tar", &layers[1]),
    );
    Image { layers, config, manifest: manifest.into_bytes() }
}

fn publish(registry: &Registry, image: &Image) {
    for blob in image.layers.iter().chain([&image.config]) {
        registry.put(&digest(blob), "application/octet-stream", blob);
    }
    registry.put(&digest(&image.manifest), MANIFEST, &image.manifest);
    registry.put("latest", MANIFEST, &image.manifest);
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_and_becomes_a_disk() {
    let (registry, image) = (Registry::default(), image());
    publish(&registry, &image);
    let repository = registry.serve().await;
    let (_folder, store) = store();
    let tagged = format!("{repository}:latest");
    let pulled = store.pull(&tagged).await.unwrap();
    assert_eq!(pulled.digest.to_string(), digest(&image.manifest));
    assert_eq!(store.resolve(&tagged).unwrap(), pulled);
    let disk = store.prepare(&pulled.digest).unwrap();
    assert_eq!(disk.config.argv, ["/a"]);
    let seen = read_disk(&disk.rootfs);
    assert_eq!(seen[Path::new("/a")], Seen::File(0o644, b"lower".to_vec()));
    assert_eq!(seen[Path::new("/b")], Seen::File(0o644, b"upper".to_vec()));

    // The blobs are here: only the manifest is asked for again, and by digest not even that the second time.
    assert_eq!(registry.asked_for_blobs(), 3);
    let pinned = format!("{repository}@{}", pulled.digest);
    store.pull(&pinned).await.unwrap();
    assert_eq!(registry.asked_for_blobs(), 3);
    let asked = registry.asked.lock().unwrap().len();
    store.pull(&pinned).await.unwrap();
    assert_eq!(registry.asked.lock().unwrap().len(), asked);
}

#[tokio::test]
async fn an_index_leads_to_the_version_for_this_kind_of_computer() {
    let (registry, image) = (Registry::default(), image());
    publish(&registry, &image);
    let entry = |architecture: &str, digest: &str| {
        format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        )
    };
    let index = |entries: &[String]| {
        format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, entries.join(","))
    };
    let other = entry("arm64", &digest(b"other"));
    registry.put("both", INDEX, index(&[other.clone(), entry("amd64", &digest(&image.manifest))]).as_bytes());
    registry.put("foreign", INDEX, index(&[other]).as_bytes());
    let repository = registry.serve().await;
    let (_folder, store) = store();
    let pulled = store.pull(&format!("{repository}:both")).await.unwrap();
    assert_eq!(pulled.digest.to_string(), digest(&image.manifest));
    let error = store.pull(&format!("{repository}:foreign")).await.unwrap_err();
    assert!(matches!(error, PullError::Platform(_)), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_lies_gives_no_image() {
    let image = image();
    let layer = digest(&image.layers[0]);
    let changed: Vec<u8> = image.layers[0].iter().map(|b| b ^ 1).collect();
    let longer = [image.layers[0].as_slice(), &[0; 100]].concat();
    let cases: Vec<(&str, Vec<u8>)> =
        vec![("changed", changed), ("cut short", image.layers[0][..20].to_vec()), ("longer", longer)];
    for (what, content) in cases {
        let registry = Registry::default();
        publish(&registry, &image);
        registry.put(&layer, "application/octet-stream", &content);
        let repository = registry.serve().await;
        let (folder, store) = store();
        let tagged = format!("{repository}:latest");
        let error = store.pull(&tagged).await.unwrap_err();
        assert!(matches!(error, PullError::Content { .. }), "{what} gave {error:?}");
        assert!(store.resolve(&tagged).is_err(), "{what} got a name");
        let whole = folder.path().join("oci/blobs/sha256").join(layer.trim_start_matches("sha256:"));
        assert!(!fs::exists(whole).unwrap(), "{what} became a blob");
        let left = folder.path().join("oci").join(format!(".partial-{}", layer.trim_start_matches("sha256:")));
        assert!(!fs::exists(left).unwrap(), "{what} still takes room");
        // The same registry, honest again: the pull completes.
        publish(&registry, &image);
        store.pull(&tagged).await.unwrap();
    }
}

#[tokio::test]
async fn other_manifests_than_the_pinned_one_are_refused() {
    let (registry, image) = (Registry::default(), image());
    publish(&registry, &image);
    let pinned = digest(b"something else");
    registry.put(&pinned, MANIFEST, &image.manifest);
    let repository = registry.serve().await;
    let (_folder, store) = store();
    let error = store.pull(&format!("{repository}@{pinned}")).await.unwrap_err();
    assert!(matches!(error, PullError::Registry { .. } | PullError::Content { .. }), "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_pulled_says_why() {
    let (registry, image) = (Registry::default(), image());
    publish(&registry, &image);
    let repository = registry.serve().await;
    let (_folder, store) = store();
    assert!(matches!(store.pull("UPPER case").await.unwrap_err(), PullError::Reference(_)));
    assert!(matches!(store.pull(&format!("{repository}:missing")).await.unwrap_err(), PullError::Registry { .. }));
    let strict = store.clone().with_bounds(Bounds { bytes: 100, entries: 10, ..Bounds::default() });
    assert!(matches!(strict.pull(&format!("{repository}:latest")).await.unwrap_err(), PullError::TooLarge { .. }));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(store.pull(&format!("{nobody}/it:latest")).await.unwrap_err(), PullError::Registry { .. }));
}

#[tokio::test]
async fn two_pulls_at_once_fetch_each_blob_once() {
    let (registry, image) = (Registry::default(), image());
    publish(&registry, &image);
    let repository = registry.serve().await;
    let (_folder, store) = store();
    let tagged = format!("{repository}:latest");
    let (one, two) = tokio::join!(store.pull(&tagged), store.pull(&tagged));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(registry.asked_for_blobs(), 3);
}
