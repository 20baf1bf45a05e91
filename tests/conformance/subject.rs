//! What is tested: an API, a namespace of our own in it, and shorthands.

use std::{future::Future, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Client,
    api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams},
    core::Status,
};
use serde_json::{Value, json};
use tm_testkit::api_server::ApiServer;

/// Names the context of a cluster that is to be tested too.
const CONTEXT: &str = "TM_TEST_CONTEXT";
/// Set to 1, it is a failure when there is none.
const REQUIRED: &str = "TM_TEST_CLUSTER_REQUIRED";
/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An API under test.
pub(crate) struct Subject {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Whether it is a cluster, which may know more of its past than the engine.
    pub(crate) is_cluster: bool,
}

/// Runs `test` on the engine, and on the cluster when there is one.
pub(crate) async fn on_each<F: Future<Output = ()>>(test: impl Fn(Subject) -> F) {
    let server = ApiServer::start().await.expect("the engine's API starts");
    run(server.api.client("default"), false, &test).await;
    let Some(context) = std::env::var_os(CONTEXT) else {
        assert!(std::env::var_os(REQUIRED).is_none_or(|v| v != "1"), "no {CONTEXT}, and {REQUIRED}=1");
        return;
    };
    let options = kube::config::KubeConfigOptions {
        context: Some(context.to_string_lossy().into_owned()),
        ..kube::config::KubeConfigOptions::default()
    };
    let config = kube::Config::from_kubeconfig(&options).await.expect("the context is usable");
    run(Client::try_from(config).expect("the configuration is usable"), true, &test).await;
}

async fn run<F: Future<Output = ()>>(client: Client, is_cluster: bool, test: &impl Fn(Subject) -> F) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let new: Namespace = typed(json!({"metadata": {"generateName": "tm-conformance-"}}));
    let made = namespaces.create(&PostParams::default(), &new).await.expect("a namespace is made");
    let namespace = made.metadata.name.expect("it has a name");
    test(Subject { client, namespace: namespace.clone(), is_cluster }).await;
    namespaces.delete(&namespace, &DeleteParams::default()).await.expect("the namespace can go");
}

/// The engine alone, with what only it has.
pub(crate) async fn engine() -> ApiServer {
    ApiServer::start().await.expect("the engine's API starts")
}

/// Reads a typed object out of JSON.
pub(crate) fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the JSON is an object of that kind")
}

/// The refusal in an error.
pub(crate) fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

/// Waits for a future, not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

/// The API of a Knative or Tekton kind.
pub(crate) fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: "v1".into(),
        api_version: format!("{group}/v1"),
        kind: kind.into(),
        plural: plural.into(),
    }
}

// === impl Subject ===

impl Subject {
    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn services(&self) -> Api<DynamicObject> {
        self.dynamic("serving.knative.dev", "Service", "services")
    }

    pub(crate) fn dynamic(&self, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(group, kind, plural))
    }

    /// Sends a request and reads the answer, whatever it is.
    pub(crate) async fn raw(&self, request: http::Request<Vec<u8>>) -> (u16, Value) {
        raw(&self.client, request).await
    }
}

/// Sends a request and reads the answer, whatever it is.
pub(crate) async fn raw(client: &Client, request: http::Request<Vec<u8>>) -> (u16, Value) {
    use http_body_util::BodyExt;
    let response = client.send(request.map(kube::client::Body::from)).await.expect("the API answers");
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.expect("the body arrives").to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    (code, serde_json::from_slice(&body).unwrap_or(Value::String(text)))
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str) -> ConfigMap {
    typed(json!({"metadata": {"name": name}, "data": {"a": "1"}}))
}

/// A Knative Service with these variables.
pub(crate) fn service(name: &str, env: &[&str]) -> Value {
    let env: Vec<Value> = env.iter().map(|name| json!({"name": name, "value": "v"})).collect();
    json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [{"image": "example.com/image@sha256:0000000000000000000000000000000000000000000000000000000000000000", "env": env}]}}}})
}
