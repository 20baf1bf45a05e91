//! `tm doctor` before clusters that lack something: each gap is a line of its own, with a hint.

use serde_json::{Value, json};
use tm_testkit::machine::Machine;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path, query_param},
};

use crate::target::{SERVICES, status, target};

const TASK_RUNS: &str = "/apis/tekton.dev/v1/namespaces/blue/taskruns";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/knative-serving/deployments";
const NETWORK: &str = "/api/v1/namespaces/knative-serving/configmaps/config-network";
const KOURIER: &str = "/api/v1/namespaces/kourier-system/services/kourier";

/// Answers `verb` at `at`; what is asked of a test comes before what a whole cluster says.
async fn on(server: &MockServer, verb: &str, at: &str, answer: ResponseTemplate) {
    Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(server).await;
}

fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn resources(group: &str, names: &[&str]) -> ResponseTemplate {
    let of = |name: &&str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "K", "verbs": ["get"]});
    let names: Vec<Value> = names.iter().map(of).collect();
    ok(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": names}))
}

fn config_map(name: &str, data: &Value) -> ResponseTemplate {
    ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
}

/// Lets the server be a whole cluster in everything that a test has not answered yet.
async fn whole(server: &MockServer) {
    on(
        server,
        "GET",
        "/version",
        ok(json!({"major": "1", "minor": "35", "gitVersion": "v1.35.0", "gitCommit": "",
        "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})),
    )
    .await;
    let group = |name: &str| {
        let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    let groups = [group("serving.knative.dev"), group("tekton.dev"), group("sources.knative.dev")];
    on(server, "GET", "/apis", ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})))
        .await;
    let serving = ["services", "configurations", "revisions", "routes"];
    on(server, "GET", "/apis/serving.knative.dev/v1", resources("serving.knative.dev/v1", &serving)).await;
    on(server, "GET", "/apis/tekton.dev/v1", resources("tekton.dev/v1", &["tasks", "taskruns"])).await;
    on(server, "GET", "/apis/sources.knative.dev/v1", resources("sources.knative.dev/v1", &["pingsources"]))
        .await;
    on(server, "GET", "/api/v1/namespaces/blue", ok(json!({"metadata": {"name": "blue"}}))).await;
    let allowed = json!({"metadata": {}, "spec": {}, "status": {"allowed": true}});
    on(server, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", ok(allowed)).await;
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "tm-doctor-1"},
        "spec": {"template": {"spec": {"containers": []}}}});
    let dry = Mock::given(method("POST")).and(path(SERVICES)).and(query_param("dryRun", "All"));
    dry.respond_with(ok(service)).mount(server).await;
    let run = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "tm-doctor-1"}, "spec": {}});
    let dry = Mock::given(method("POST")).and(path(TASK_RUNS)).and(query_param("dryRun", "All"));
    dry.respond_with(ok(run)).mount(server).await;
    on(server, "GET", DEPLOYMENTS, deployments(1)).await;
    let kourier = json!({"ingress-class": "kourier.ingress.networking.knative.dev"});
    on(server, "GET", NETWORK, config_map("config-network", &kourier)).await;
    // A server that listens for certain.
    let address = server.address();
    let listens = json!({"INGRESS_HOST": address.to_string()});
    on(
        server,
        "GET",
        "/api/v1/namespaces/kube-public/configmaps/tm-config",
        config_map("tm-config", &listens),
    )
    .await;
}

/// Nobody wrote down where functions answer.
async fn without_settings(server: &MockServer) {
    on(server, "GET", "/api/v1/namespaces/kube-public/configmaps/tm-config", status(404, "NotFound")).await;
}

fn deployments(available: i32) -> ResponseTemplate {
    let one = json!({"metadata": {"name": "controller"}, "spec": {"replicas": 1, "selector": {}, "template": {}},
        "status": {"availableReplicas": available}});
    ok(json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {}, "items": [one]}))
}

/// What the doctor says without pods: its exit code and lines.
async fn doctor(machine: &Machine) -> (i32, String) {
    let ran = machine.tm(["doctor", "--no-pods"]).await;
    (ran.code, ran.stdout)
}

#[tokio::test]
async fn a_whole_cluster() {
    let (server, machine) = target().await;
    whole(&server).await;
    let (code, said) = doctor(&machine).await;
    assert_eq!(code, 0, "{said}");
    for line in ["ok     webhooks", "ok     controllers  all 1 Deployments", "ok     ingress"] {
        assert!(said.contains(line), "no `{line}` in:\n{said}");
    }
}

#[tokio::test]
async fn a_kind_that_is_not_installed() {
    let (server, machine) = target().await;
    let few = resources("serving.knative.dev/v1", &["services", "configurations"]);
    on(&server, "GET", "/apis/serving.knative.dev/v1", few).await;
    whole(&server).await;
    let (code, said) = doctor(&machine).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("FAILED Knative      serving.knative.dev/v1 has no revisions, routes"), "{said}");
}

#[tokio::test]
async fn programs_that_are_dead() {
    let (server, machine) = target().await;
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
        "reason": "InternalError", "message": "failed calling webhook \"webhook.serving.knative.dev\": no endpoints"});
    on(&server, "POST", SERVICES, ResponseTemplate::new(500).set_body_json(body)).await;
    on(&server, "GET", DEPLOYMENTS, deployments(0)).await;
    whole(&server).await;
    let (code, said) = doctor(&machine).await;
    assert_eq!(code, 1, "{said}");
    let words = [
        "FAILED webhooks     Knative would not take a Service: failed calling webhook \"webhook.serving.knative.dev\"",
        "hint: a webhook of the cluster does not answer",
        "FAILED controllers  Deployment knative-serving/controller has no pod that is ready",
        "hint: `kubectl -n knative-serving get pods`",
    ];
    for line in words {
        assert!(said.contains(line), "no `{line}` in:\n{said}");
    }
}

#[tokio::test]
async fn nobody_to_take_calls() {
    let kourier = json!({"ingress-class": "kourier.ingress.networking.knative.dev"});
    let service = json!({"metadata": {"name": "kourier"}, "spec": {}, "status": {"loadBalancer": {}}});
    let cases = [
        (
            status(403, "Forbidden"),
            status(404, "NotFound"),
            0,
            "note   ingress      you may not look how calls come in",
        ),
        (status(404, "NotFound"), status(404, "NotFound"), 1, "FAILED ingress      there is no ConfigMap"),
        (
            config_map("config-network", &json!({})),
            status(404, "NotFound"),
            1,
            "FAILED ingress      ingress-class is not set, so it is istio",
        ),
        (
            config_map("config-network", &json!({"ingress-class": "x.example.com"})),
            status(404, "NotFound"),
            0,
            "note   ingress      ingress-class is x.example.com, which has its address at a place of its own",
        ),
        (
            config_map("config-network", &kourier),
            status(404, "NotFound"),
            1,
            "and there is no Service kourier-system/kourier",
        ),
        (
            config_map("config-network", &kourier),
            status(403, "Forbidden"),
            0,
            "you may not look at Service kourier-system/kourier",
        ),
        (config_map("config-network", &kourier), ok(service), 0, "has no address outside the cluster"),
    ];
    for (network, front, wanted, words) in cases {
        let (server, machine) = target().await;
        without_settings(&server).await;
        on(&server, "GET", NETWORK, network).await;
        on(&server, "GET", KOURIER, front).await;
        whole(&server).await;
        let (code, said) = doctor(&machine).await;
        assert!(said.contains(words), "no `{words}` in:\n{said}");
        assert_eq!(code, wanted, "{said}");
        let line = said.find("ingress").expect("there is a line");
        assert!(said[line..].lines().nth(1).is_some_and(|next| next.contains("hint:")), "{said}");
    }
    let (server, machine) = target().await;
    let dead = config_map("tm-config", &json!({"INGRESS_HOST": "127.0.0.1:1"}));
    on(&server, "GET", "/api/v1/namespaces/kube-public/configmaps/tm-config", dead).await;
    whole(&server).await;
    let (code, said) = doctor(&machine).await;
    assert!(code == 1 && said.contains("FAILED ingress      127.0.0.1:1 does not answer"), "{said}");
}
