//! The distribution API as a client sees it, request by request.

use axum::body::to_bytes;
use serde_json::{Value, json};
use tm_oci::manifest::{self, Descriptor, Manifest};
use tower::ServiceExt;

use super::*;

struct Fixture {
    _dir: tempfile::TempDir,
    storage: Storage,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path().join("registry")).unwrap();
        Self { _dir: dir, storage }
    }

    async fn call(&self, method: &str, path: &str, body: &[u8]) -> (StatusCode, HeaderMap, Vec<u8>) {
        self.call_with(method, path, &[], body).await
    }

    async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_vec())).unwrap();
        let response = router(self.storage.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
    }

    async fn begin(&self) -> String {
        let (status, headers, _) = self.call("POST", "/v2/a/blobs/uploads/", b"").await;
        assert_eq!(status, 202);
        headers["location"].to_str().unwrap().to_owned()
    }

    async fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let (status, _, _) = self.call("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), bytes).await;
        assert_eq!(status, 201);
        digest
    }

    async fn image(&self, layer: &[u8]) -> Vec<u8> {
        let config = json!({"architecture": "amd64", "os": "linux"}).to_string();
        self.blob(config.as_bytes()).await;
        self.blob(layer).await;
        let manifest = Manifest::new(
            Descriptor::of(media_type::CONFIG, config.as_bytes()),
            vec![Descriptor::of(media_type::LAYER_GZIP, layer)],
        );
        manifest::to_bytes(&manifest).unwrap()
    }
}

fn code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_base_says_who_it_is() {
    let (status, headers, body) = Fixture::new().call("GET", "/v2/", b"").await;
    assert_eq!((status.as_u16(), body.as_slice()), (200, &b"{}"[..]));
    assert_eq!(headers["docker-distribution-api-version"], "registry/2.0");
}

#[tokio::test]
async fn web_pages_are_refused() {
    let fixture = Fixture::new();
    let (status, _, body) = fixture.call_with("GET", "/v2/", &[("origin", "http://evil.example")], b"").await;
    assert_eq!((status.as_u16(), code(&body).as_str()), (403, "DENIED"));
}

#[tokio::test]
async fn chunks_then_the_end() {
    let fixture = Fixture::new();
    let location = fixture.begin().await;
    let (status, headers, _) =
        fixture.call_with("PATCH", &location, &[("content-range", "0-4")], b"hello").await;
    assert_eq!((status.as_u16(), headers["range"].to_str().unwrap()), (202, "0-4"));
    let (status, headers, body) =
        fixture.call_with("PATCH", &location, &[("content-range", "9-9")], b"!").await;
    assert_eq!((status.as_u16(), headers["range"].to_str().unwrap()), (416, "0-4"));
    assert_eq!(code(&body), "BLOB_UPLOAD_INVALID");
    let (status, headers, _) = fixture.call("GET", &location, b"").await;
    assert_eq!((status.as_u16(), headers["range"].to_str().unwrap()), (204, "0-4"));
    let digest = Digest::of(b"hello world");
    let (status, headers, _) = fixture
        .call("PUT", &format!("{location}?digest={}", digest.as_str().replace(':', "%3A")), b" world")
        .await;
    assert_eq!((status.as_u16(), headers["docker-content-digest"].to_str().unwrap()), (201, digest.as_str()));
    let (status, headers, body) = fixture.call("GET", headers["location"].to_str().unwrap(), b"").await;
    assert_eq!((status.as_u16(), body.as_slice()), (200, &b"hello world"[..]));
    assert_eq!(headers["content-length"], "11");
    let (status, _, body) = fixture.call("GET", &location, b"").await;
    assert_eq!((status.as_u16(), code(&body).as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing() {
    let fixture = Fixture::new();
    let location = fixture.begin().await;
    let wrong = Digest::of(b"other");
    let (status, _, body) = fixture.call("PUT", &format!("{location}?digest={wrong}"), b"bytes").await;
    assert_eq!((status.as_u16(), code(&body).as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(fixture.call("HEAD", &format!("/v2/a/blobs/{wrong}"), b"").await.0, 404);
    let right = Digest::of(b"bytes");
    assert_eq!(fixture.call("HEAD", &format!("/v2/a/blobs/{right}"), b"").await.0, 404);
    assert_eq!(std::fs::read_dir(fixture._dir.path().join("registry/uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn mounting_takes_what_is_here() {
    let fixture = Fixture::new();
    let digest = fixture.blob(b"layer").await;
    let (status, headers, _) =
        fixture.call("POST", &format!("/v2/b/blobs/uploads/?mount={digest}&from=a"), b"").await;
    assert_eq!(
        (status.as_u16(), headers["location"].to_str().unwrap()),
        (201, &*format!("/v2/b/blobs/{digest}"))
    );
    let unknown = Digest::of(b"unknown");
    let path = format!("/v2/b/blobs/uploads/?mount={unknown}&from=a");
    assert_eq!(fixture.call("POST", &path, b"").await.0, 202);
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_gone() {
    let fixture = Fixture::new();
    let location = fixture.begin().await;
    assert_eq!(fixture.call("DELETE", &location, b"").await.0, 204);
    assert_eq!(fixture.call("PATCH", &location, b"x").await.0, 404);
}

#[tokio::test]
async fn ranges() {
    let fixture = Fixture::new();
    let digest = fixture.blob(b"0123456789").await;
    let path = format!("/v2/a/blobs/{digest}");
    for (range, want, text) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=7-", 206, "789"),
        ("bytes=-3", 206, "789"),
        ("bytes=5-99", 206, "56789"),
        ("lines=1", 200, "0123456789"),
    ] {
        let (status, _, body) = fixture.call_with("GET", &path, &[("range", range)], b"").await;
        assert_eq!((status.as_u16(), body.as_slice()), (want, text.as_bytes()), "{range}");
    }
    for range in ["bytes=10-", "bytes=4-2"] {
        assert_eq!(fixture.call_with("GET", &path, &[("range", range)], b"").await.0, 416, "{range}");
    }
}

#[tokio::test]
async fn manifests_by_tag_and_digest() {
    let fixture = Fixture::new();
    let bytes = fixture.image(b"layer").await;
    let digest = Digest::of(&bytes);
    let headers = [("content-type", media_type::MANIFEST)];
    let (status, _, _) = fixture.call_with("PUT", "/v2/team/app/manifests/v1", &headers, &bytes).await;
    assert_eq!(status, 201);
    for identifier in ["v1", digest.as_str()] {
        let (status, headers, body) =
            fixture.call("GET", &format!("/v2/team/app/manifests/{identifier}"), b"").await;
        assert_eq!((status.as_u16(), &body), (200, &bytes));
        assert_eq!(headers["content-type"], media_type::MANIFEST);
        assert_eq!(headers["docker-content-digest"], digest.as_str());
    }
    let (_, headers, body) = fixture.call("HEAD", "/v2/team/app/manifests/v1", b"").await;
    assert!(body.is_empty());
    assert_eq!(headers["content-length"], bytes.len().to_string());
    let (_, _, body) = fixture.call("GET", "/v2/team/app/tags/list", b"").await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"name": "team/app", "tags": ["v1"]}));
    let path = format!("/v2/team/app/manifests/{digest}");
    assert_eq!(fixture.call("DELETE", &path, b"").await.0, 202);
    assert_eq!(fixture.call("GET", "/v2/team/app/manifests/v1", b"").await.0, 404);
    assert_eq!(fixture.call("GET", "/v2/other/manifests/v1", b"").await.0, 404);
    assert_eq!(fixture.call("GET", "/v2/other/tags/list", b"").await.0, 404);
}

#[tokio::test]
async fn manifests_that_are_refused() {
    let fixture = Fixture::new();
    let bytes = fixture.image(b"layer").await;
    let missing = Manifest::new(Descriptor::of(media_type::CONFIG, b"not here"), Vec::new());
    let missing = manifest::to_bytes(&missing).unwrap();
    let wrong = format!("/v2/a/manifests/{}", Digest::of(b"wrong"));
    let large = vec![b' '; MAX_MANIFEST + 1];
    for (path, body, status, want) in [
        ("/v2/a/manifests/v1", &missing, 400, "MANIFEST_BLOB_UNKNOWN"),
        ("/v2/a/manifests/v1", &b"{}".to_vec(), 400, "MANIFEST_INVALID"),
        ("/v2/a/manifests/v1", &large, 413, "SIZE_INVALID"),
        (&wrong, &bytes, 400, "DIGEST_INVALID"),
        ("/v2/A/manifests/v1", &bytes, 400, "NAME_INVALID"),
    ] {
        let (got, _, answer) = fixture.call("PUT", path, body).await;
        assert_eq!((got.as_u16(), code(&answer).as_str()), (status, want));
    }
}

#[tokio::test]
async fn tags_come_in_pages() {
    let fixture = Fixture::new();
    let bytes = fixture.image(b"layer").await;
    for tag in ["a", "b", "c"] {
        fixture.call("PUT", &format!("/v2/x/manifests/{tag}"), &bytes).await;
    }
    let (_, headers, body) = fixture.call("GET", "/v2/x/tags/list?n=2", b"").await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["tags"], json!(["a", "b"]));
    assert_eq!(headers["link"], "</v2/x/tags/list?n=2&last=b>; rel=\"next\"");
    let (_, headers, body) = fixture.call("GET", "/v2/x/tags/list?n=2&last=b", b"").await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["tags"], json!(["c"]));
    assert!(!headers.contains_key("link"));
}

#[tokio::test]
async fn used_blobs_stay() {
    let fixture = Fixture::new();
    let bytes = fixture.image(b"layer").await;
    fixture.call("PUT", "/v2/x/manifests/v1", &bytes).await;
    let path = format!("/v2/a/blobs/{}", Digest::of(b"layer"));
    assert_eq!(fixture.call("DELETE", &path, b"").await.0, 409);
    let free = fixture.blob(b"free").await;
    assert_eq!(fixture.call("DELETE", &format!("/v2/a/blobs/{free}"), b"").await.0, 202);
    assert_eq!(fixture.call("HEAD", &format!("/v2/a/blobs/{free}"), b"").await.0, 404);
}

#[tokio::test]
async fn this_machine_is_an_image_without_layers() {
    let fixture = Fixture::new();
    let (digest, image, config) = fixture.storage.image(&"tm.local/host".parse().unwrap()).unwrap();
    assert!(image.layers.is_empty());
    assert_eq!(config.os, "linux");
    let (status, headers, _) = fixture.call("GET", "/v2/host/manifests/latest", b"").await;
    assert_eq!((status.as_u16(), headers["docker-content-digest"].to_str().unwrap()), (200, digest.as_str()));
}

#[tokio::test]
async fn a_restart_keeps_what_was_acknowledged_and_drops_the_rest() {
    let fixture = Fixture::new();
    let bytes = fixture.image(b"layer").await;
    fixture.call("PUT", "/v2/x/manifests/v1", &bytes).await;
    let half = fixture.begin().await;
    fixture.call("PATCH", &half, b"half").await;
    let root = fixture._dir.path().join("registry");
    assert_eq!(std::fs::read_dir(root.join("uploads")).unwrap().count(), 1);
    let again = Storage::open(&root).unwrap();
    assert_eq!(std::fs::read_dir(root.join("uploads")).unwrap().count(), 0);
    assert_eq!(again.tag("x", "v1").unwrap(), Some(Digest::of(&bytes)));
}

#[tokio::test]
async fn collecting_spares_what_is_used_kept_or_young() {
    use std::{collections::HashSet, time::Duration};
    let fixture = Fixture::new();
    let (old, new) = (fixture.image(b"old").await, fixture.image(b"new").await);
    fixture.call("PUT", "/v2/x/manifests/v1", &old).await;
    fixture.call("PUT", "/v2/x/manifests/v1", &new).await;
    fixture.blob(b"stray").await;
    let has = |bytes: &[u8]| fixture.storage.touch_blob(&Digest::of(bytes)).unwrap().is_some();
    fixture.storage.collect(&HashSet::new(), Duration::from_secs(3600)).unwrap();
    assert!(has(b"stray") && has(b"old") && has(&old));
    fixture.storage.collect(&HashSet::from([Digest::of(&old)]), Duration::ZERO).unwrap();
    assert!(!has(b"stray") && has(b"old") && has(&old));
    fixture.storage.collect(&HashSet::new(), Duration::ZERO).unwrap();
    assert!(!has(b"old") && !has(&old) && has(b"new") && has(&new));
    assert!(fixture.storage.image(&"tm.local/host".parse().unwrap()).is_ok());
}
