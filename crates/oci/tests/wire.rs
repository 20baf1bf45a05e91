//! What the client does on the wire when a registry is difficult: token servers, redirects, throttling, lies.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{sync::Arc, time::Duration};

use fs_err as fs;
use serde_json::json;
use tm_oci::{
    Digest, Reference,
    auth::Keychain,
    manifest::{Descriptor, Platform},
    media_type,
    registry::{Access, Client, ClientOptions, Content, Outcome, Progress, RegistryError},
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{header, header_exists, method, path, query_param},
};

struct Setup {
    server: MockServer,
    dir: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        Self { server: MockServer::start().await, dir: tempfile::tempdir().unwrap() }
    }

    fn host(&self) -> String {
        self.server.address().to_string()
    }

    fn image(&self) -> Reference {
        format!("{}/team/app:v1", self.host()).parse().unwrap()
    }

    fn client(&self, entry: serde_json::Value) -> Client {
        let file = self.dir.path().join("config.json");
        fs::write(&file, json!({"auths": {self.host(): entry}}).to_string()).unwrap();
        let keychain = Keychain::of([file]);
        Client::new(ClientOptions {
            keychain,
            stall: Duration::from_millis(700),
            attempts: 3,
            ..Default::default()
        })
    }

    fn anonymous(&self) -> Client {
        self.client(json!({}))
    }

    async fn on(&self, mock: wiremock::MockBuilder, response: ResponseTemplate) {
        mock.respond_with(response).mount(&self.server).await;
    }

    async fn base(&self, status: u16) {
        self.on(Mock::given(method("GET")).and(path("/v2/")), ResponseTemplate::new(status)).await;
    }

    async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }
}

fn user() -> serde_json::Value {
    json!({"username": "me", "password": "hunter2"})
}

fn quiet() -> Progress {
    Arc::new(|_, _| {})
}

fn challenge(setup: &Setup, extra: &str) -> ResponseTemplate {
    let text = format!(r#"Bearer realm="http://{}/token",service="reg"{extra}"#, setup.host());
    ResponseTemplate::new(401).insert_header("www-authenticate", text.as_str())
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used() {
    let setup = Setup::new().await;
    setup.base(401).await;
    setup
        .on(
            Mock::given(path("/token"))
                .and(header("authorization", "Basic bWU6aHVudGVyMg=="))
                .and(query_param("service", "reg"))
                .and(query_param("scope", "repository:team/app:pull,push")),
            ResponseTemplate::new(200).set_body_json(json!({"access_token": "T"})),
        )
        .await;
    let digest = Digest::of(b"x");
    let blob = format!("/v2/team/app/blobs/{digest}");
    setup
        .on(Mock::given(path(&*blob)).and(header("authorization", "Bearer T")), ResponseTemplate::new(200))
        .await;
    setup.on(Mock::given(path(&*blob)), challenge(&setup, "")).await;
    let repository = setup.client(user()).repository(&setup.image(), Access::Push).unwrap();
    assert!(repository.has_blob(&digest).await.unwrap());
    assert!(repository.has_blob(&digest).await.unwrap());
    let tokens = setup.requests().await.iter().filter(|request| request.url.path() == "/token").count();
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn identity_tokens_are_posted() {
    let setup = Setup::new().await;
    setup.base(401).await;
    setup
        .on(
            Mock::given(method("POST"))
                .and(path("/token"))
                .and(wiremock::matchers::body_string_contains("refresh_token=R%2DT")),
            ResponseTemplate::new(200).set_body_json(json!({"token": "T"})),
        )
        .await;
    let uploads = || Mock::given(method("POST")).and(path("/v2/team/app/blobs/uploads/"));
    let accepted = ResponseTemplate::new(202).insert_header("location", "/up/1?state=x");
    setup.on(uploads().and(header("authorization", "Bearer T")), accepted).await;
    setup.on(uploads(), challenge(&setup, "")).await;
    let client = setup.client(json!({"identitytoken": "R-T"}));
    client.repository(&setup.image(), Access::Push).unwrap().check_push().await.unwrap();
    let cancelled =
        setup.requests().await.iter().any(|r| r.method.as_str() == "DELETE" && r.url.path() == "/up/1");
    assert!(cancelled);
}

#[tokio::test]
async fn a_token_without_the_right_is_a_denial() {
    let setup = Setup::new().await;
    setup.base(401).await;
    let token = ResponseTemplate::new(200).set_body_json(json!({"token": "T"}));
    setup.on(Mock::given(path("/token")), token).await;
    let denial = challenge(&setup, r#",scope="repository:team/app:pull,push",error="insufficient_scope""#);
    setup.on(Mock::given(path("/v2/team/app/blobs/uploads/")), denial).await;
    let repository = setup.client(user()).repository(&setup.image(), Access::Push).unwrap();
    let error = repository.check_push().await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
}

#[tokio::test]
async fn a_token_server_that_refuses_means_a_wrong_password() {
    let setup = Setup::new().await;
    setup.base(401).await;
    setup.on(Mock::given(path("/token")), ResponseTemplate::new(401)).await;
    setup.on(Mock::given(path("/v2/team/app/blobs/uploads/")), challenge(&setup, "")).await;
    let repository = setup.client(user()).repository(&setup.image(), Access::Push).unwrap();
    let error = repository.check_push().await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongCredentials { .. }), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn forbidden_carries_the_registrys_words() {
    let setup = Setup::new().await;
    setup.base(200).await;
    let body = json!({"errors": [{"code": "DENIED", "message": "quota exceeded"}]});
    setup
        .on(Mock::given(path("/v2/team/app/blobs/uploads/")), ResponseTemplate::new(403).set_body_json(body))
        .await;
    let repository = setup.anonymous().repository(&setup.image(), Access::Push).unwrap();
    let error = repository.check_push().await.unwrap_err();
    assert!(
        error.to_string().contains("does not let us push to team/app: quota exceeded (DENIED)"),
        "{error}"
    );
}

#[tokio::test]
async fn credentials_stay_with_the_registry() {
    let setup = Setup::new().await;
    setup.base(200).await;
    let storage = MockServer::start().await;
    let bytes = b"blob bytes";
    let digest = Digest::of(bytes);
    let blob = format!("/v2/team/app/blobs/{digest}");
    let to = |path: &str| format!("{}{path}", storage.uri());
    setup
        .on(
            Mock::given(method("GET")).and(path(&*blob)).and(header_exists("authorization")),
            ResponseTemplate::new(307).insert_header("location", to("/bucket?sig=1").as_str()),
        )
        .await;
    let basic = ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=x");
    setup.on(Mock::given(method("GET")).and(path(&*blob)), basic.clone()).await;
    let uploads = || Mock::given(method("POST")).and(path("/v2/team/app/blobs/uploads/"));
    let elsewhere = ResponseTemplate::new(202).insert_header("location", to("/upload?sig=2").as_str());
    setup.on(uploads().and(header_exists("authorization")), elsewhere).await;
    setup.on(uploads(), basic).await;
    setup.on(Mock::given(method("HEAD")), ResponseTemplate::new(404)).await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(bytes))
        .mount(&storage)
        .await;
    Mock::given(method("PUT"))
        .and(query_param("sig", "2"))
        .and(query_param("digest", digest.as_str()))
        .respond_with(ResponseTemplate::new(201))
        .mount(&storage)
        .await;

    let repository = setup.client(user()).repository(&setup.image(), Access::Push).unwrap();
    let descriptor = Descriptor::of(media_type::LAYER, bytes);
    assert_eq!(repository.small_blob(&descriptor).await.unwrap(), bytes);
    let content = Content::Bytes(bytes.to_vec().into());
    let outcome = repository.put_blob(&descriptor, &content, None, &quiet()).await.unwrap();
    assert_eq!(outcome, Outcome::Sent(bytes.len() as u64));
    let seen = storage.received_requests().await.unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|request| !request.headers.contains_key("authorization")));
    assert_eq!(seen[1].headers["content-length"], "10");
}

#[tokio::test]
async fn throttling_and_hiccups_are_tried_again() {
    let setup = Setup::new().await;
    setup.base(200).await;
    let digest = Digest::of(b"x");
    let blob = format!("/v2/team/app/blobs/{digest}");
    for response in [ResponseTemplate::new(429).insert_header("retry-after", "0"), ResponseTemplate::new(502)]
    {
        Mock::given(path(&*blob)).respond_with(response).up_to_n_times(1).mount(&setup.server).await;
    }
    setup.on(Mock::given(path(&*blob)), ResponseTemplate::new(200)).await;
    let repository = setup.anonymous().repository(&setup.image(), Access::Pull).unwrap();
    assert!(repository.has_blob(&digest).await.unwrap());
}

#[tokio::test]
async fn trying_again_ends() {
    let setup = Setup::new().await;
    setup.base(200).await;
    setup.on(Mock::given(method("HEAD")), ResponseTemplate::new(503)).await;
    let repository = setup.anonymous().repository(&setup.image(), Access::Pull).unwrap();
    let error = repository.has_blob(&Digest::of(b"x")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 503, .. }), "{error}");
    let asked = setup.requests().await.iter().filter(|request| request.method.as_str() == "HEAD").count();
    assert_eq!(asked, 3);
}

#[tokio::test]
async fn an_upload_that_fails_begins_anew() {
    let setup = Setup::new().await;
    setup.base(200).await;
    setup.on(Mock::given(method("HEAD")), ResponseTemplate::new(404)).await;
    let location = ResponseTemplate::new(202).insert_header("location", "/up/1");
    setup.on(Mock::given(method("POST")), location).await;
    Mock::given(method("PUT"))
        .respond_with(ResponseTemplate::new(500))
        .up_to_n_times(1)
        .mount(&setup.server)
        .await;
    setup.on(Mock::given(method("PUT")), ResponseTemplate::new(201)).await;
    let repository = setup.anonymous().repository(&setup.image(), Access::Push).unwrap();
    let content = Content::Bytes((&b"bytes"[..]).into());
    let descriptor = Descriptor::of(media_type::LAYER, b"bytes");
    assert_eq!(repository.put_blob(&descriptor, &content, None, &quiet()).await.unwrap(), Outcome::Sent(5));
    let begun = setup.requests().await.iter().filter(|request| request.method.as_str() == "POST").count();
    assert_eq!(begun, 2);
}

/// What the second of two pushes sends: nothing when the tag is this manifest, all of it in every other case.
#[tokio::test]
async fn a_manifest_is_sent_unless_the_tag_is_it() {
    let ours = Digest::of(b"{}").to_string();
    let other = Digest::of(b"another").to_string();
    let cases = [
        (200, Some(ours.as_str()), 0),
        (200, Some(&*other), 1),
        (200, None, 1),
        (404, None, 1),
        (405, None, 1),
    ];
    for (status, digest, puts) in cases {
        let setup = Setup::new().await;
        setup.base(200).await;
        let manifest = "/v2/team/app/manifests/v1";
        let mut head = ResponseTemplate::new(status);
        if let Some(digest) = digest {
            head = head.insert_header("docker-content-digest", digest);
        }
        setup.on(Mock::given(method("HEAD")).and(path(manifest)), head).await;
        setup.on(Mock::given(method("PUT")).and(path(manifest)), ResponseTemplate::new(201)).await;
        let repository = setup.anonymous().repository(&setup.image(), Access::Push).unwrap();
        let (digest, outcome) =
            repository.ensure_manifest("v1", media_type::MANIFEST, "{}".into()).await.unwrap();
        assert_eq!(digest.as_str(), ours);
        assert_eq!(outcome, if puts == 0 { Outcome::Exists } else { Outcome::Sent(2) }, "{status}");
        let sent = setup.requests().await.iter().filter(|request| request.method.as_str() == "PUT").count();
        assert_eq!(sent, puts, "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_stands_still_is_given_up() {
    let setup = Setup::new().await;
    setup.base(200).await;
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
    setup.on(Mock::given(method("HEAD")), late).await;
    let options =
        ClientOptions { stall: Duration::from_millis(200), attempts: 1, ..ClientOptions::default() };
    let repository = Client::new(options).repository(&setup.image(), Access::Pull).unwrap();
    let error = repository.has_blob(&Digest::of(b"x")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }), "{error}");
}

#[tokio::test]
async fn other_bytes_than_asked_for_are_refused() {
    let setup = Setup::new().await;
    setup.base(200).await;
    let response = ResponseTemplate::new(200).set_body_bytes(&b"other"[..]);
    setup.on(Mock::given(method("GET")), response).await;
    let repository = setup.anonymous().repository(&setup.image(), Access::Pull).unwrap();
    for blob in [Descriptor::of(media_type::LAYER, b"bytes"), Descriptor::of(media_type::LAYER, b"by")] {
        let error = repository.small_blob(&blob).await.unwrap_err();
        assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
    }
    let by_digest = setup.image().at_digest(Digest::of(b"manifest"));
    let error = setup.anonymous().pull_image(&by_digest, &Platform::host()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn endless_answers_are_cut() {
    let setup = Setup::new().await;
    setup.base(200).await;
    let response = ResponseTemplate::new(200).set_body_bytes(vec![b' '; 9 << 20]);
    setup.on(Mock::given(method("GET")).and(path("/v2/team/app/manifests/v1")), response).await;
    let error = setup.anonymous().pull_image(&setup.image(), &Platform::host()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Protocol { .. }), "{error}");
}
