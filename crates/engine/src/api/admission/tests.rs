use serde_json::json;

use super::*;
use crate::api::catalog;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb")).unwrap();
    (dir, store)
}

/// Runs both phases; the refusal without its fixed beginning.
fn admit(kind: (&str, &str), old: Option<&Value>, new: &mut Value) -> std::result::Result<(), String> {
    let (_dir, store) = store();
    let resource = catalog::find_kind(kind.0, kind.1).unwrap();
    let review = Review { resource, store: &store, user: "me", old, status: false };
    fill_in(&review, new);
    judge(&review, new).map_err(|error| {
        assert_eq!(error.code(), 400);
        let text = error.to_string();
        text.split_once("denied the request: validation failed: ").map(|(_, why)| why.to_owned()).unwrap()
    })
}

const SERVICE: (&str, &str) = ("serving.knative.dev/v1", "Service");
const TASK: (&str, &str) = ("tekton.dev/v1", "Task");
const TASK_RUN: (&str, &str) = ("tekton.dev/v1", "TaskRun");

fn service() -> Value {
    json!({"metadata": {"name": "s"}, "spec": {"template": {"spec": {"containers": [{"image": "i"}]}}}})
}

/// What the webhook says after `change`.
fn refused(kind: (&str, &str), base: &Value, change: &Value) -> String {
    let mut new = base.clone();
    json_patch::merge(&mut new, change);
    admit(kind, None, &mut new).expect_err("the webhook refuses")
}

#[test]
fn a_service_gets_its_defaults() {
    let mut new = service();
    admit(SERVICE, None, &mut new).unwrap();
    assert_eq!(
        new,
        json!({
            "metadata": {"name": "s", "annotations": {
                "serving.knative.dev/creator": "me", "serving.knative.dev/lastModifier": "me"}},
            "spec": {
                "template": {"spec": {
                    "containers": [{"image": "i", "name": "user-container", "resources": {},
                        "readinessProbe": {"tcpSocket": {"port": 0}, "successThreshold": 1}}],
                    "timeoutSeconds": 300, "containerConcurrency": 0, "enableServiceLinks": false}},
                "traffic": [{"latestRevision": true, "percent": 100}],
            },
        })
    );
}

#[test]
fn what_services_may_not_have() {
    let one = |container: Value| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let cases = [
        (
            json!({"metadata": {"annotations": {"autoscaling.knative.dev/min-scale": "1"}}}),
            "invalid key name \"autoscaling.knative.dev/min-scale\": metadata.annotations\nautoscaling annotations must \
             be put under \"spec.template.metadata.annotations\" to work",
        ),
        (
            json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}),
            "must not set the field(s): spec.template.spec.nodeSelector",
        ),
        (
            json!({"spec": {"template": {"spec": {"timeoutSeconds": 601}}}}),
            "expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds",
        ),
        (
            json!({"spec": {"template": {"spec": {"containerConcurrency": 1001}}}}),
            "expected 0 <= 1001 <= 1000: spec.template.spec.containerConcurrency",
        ),
        (
            json!({"spec": {"traffic": [{"percent": 50}]}}),
            "Traffic targets sum to 50, want 100: spec.traffic",
        ),
        (
            json!({"spec": {"traffic": [{"percent": 100, "configurationName": "c"}]}}),
            "must not set the field(s): spec.traffic[0].configurationName",
        ),
        (
            json!({"spec": {"traffic": [{"percent": 100, "latestRevision": true, "revisionName": "r"}]}}),
            "may not set revisionName \"r\" when latestRevision is true: spec.traffic[0].latestRevision",
        ),
        (
            one(json!({"image": "i", "env": [{"name": "PORT", "value": "1"}]})),
            "\"PORT\" is a reserved environment variable: spec.template.spec.containers[0].env[0].name",
        ),
        (
            one(json!({"image": "i", "ports": [{"containerPort": 8012}]})),
            "invalid value: 8012 is a reserved port: spec.template.spec.containers[0].ports.containerPort\n8012 is a \
             reserved port, please use a different value",
        ),
        (one(json!({"name": "c"})), "missing field(s): spec.template.spec.containers[0].image"),
        (
            json!({"spec": {"template": {"metadata": {"name": "other"}}}}),
            "invalid value: \"other\" must have prefix \"s-\": spec.template.metadata.name",
        ),
        (
            json!({"spec": {"template": {"metadata": {"annotations": {"autoscaling.knative.dev/window": "1s"}}}}}),
            "expected 6s <= 1s <= 1h0m0s: spec.template.metadata.annotations.autoscaling.knative.dev/window",
        ),
        (
            json!({"spec": {"template": {"spec": {"volumes": [{"name": "v"}]}}}}),
            "expected exactly one, got neither: spec.template.spec.volumes[0].configMap, \
             spec.template.spec.volumes[0].emptyDir, spec.template.spec.volumes[0].projected, \
             spec.template.spec.volumes[0].secret\nvolume with name \"v\" not mounted: \
             spec.template.spec.volumes[0].name",
        ),
    ];
    for (change, message) in cases {
        assert_eq!(refused(SERVICE, &service(), &change), message, "{change}");
    }
}

#[test]
fn the_creator_stays_and_a_named_revision_is_renamed() {
    let mut old = service();
    old["spec"]["template"]["metadata"] = json!({"name": "s-1"});
    admit(SERVICE, None, &mut old).unwrap();
    let mut new = old.clone();
    new["metadata"]["annotations"]["serving.knative.dev/creator"] = "you".into();
    assert_eq!(
        admit(SERVICE, Some(&old), &mut new).unwrap_err(),
        "annotation value is immutable: metadata.annotations.serving.knative.dev/creator"
    );
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "j".into();
    let why = admit(SERVICE, Some(&old), &mut new).unwrap_err();
    assert!(why.starts_with(
        "Saw the following changes without a name change (-old +new): spec.template.metadata.name\n"
    ));
    new["spec"]["template"]["metadata"]["name"] = "s-2".into();
    admit(SERVICE, Some(&old), &mut new).unwrap();
}

#[test]
fn a_revision_is_immutable() {
    let kind = ("serving.knative.dev/v1", "Revision");
    let mut old = json!({"metadata": {"name": "s-1"}, "spec": {"containers": [{"image": "i"}]}});
    admit(kind, None, &mut old).unwrap();
    let mut new = old.clone();
    new["spec"]["timeoutSeconds"] = 1.into();
    let why = admit(kind, Some(&old), &mut new).unwrap_err();
    assert!(why.starts_with("Immutable fields changed (-old +new): spec\n"), "{why}");
}

fn task() -> Value {
    json!({"metadata": {"name": "t"}, "spec": {"params": [{"name": "P"}],
        "steps": [{"name": "a", "image": "i", "command": ["x"], "args": ["$(params.P)"]}]}})
}

#[test]
fn a_task_gets_the_types_of_its_params() {
    let mut new = task();
    new["spec"]["params"] =
        json!([{"name": "P"}, {"name": "L", "default": ["a"]}, {"name": "O", "properties": {"k": {}}}]);
    new["spec"]["results"] = json!([{"name": "R"}]);
    admit(TASK, None, &mut new).unwrap();
    let types: Vec<&Value> = new["spec"]["params"].as_array().unwrap().iter().map(|p| &p["type"]).collect();
    assert_eq!(types, ["string", "array", "object"]);
    assert_eq!(new["spec"]["results"][0]["type"], "string");
}

#[test]
fn what_tasks_may_not_have() {
    let cases = [
        (json!({"spec": {"steps": null}}), "missing field(s): spec.steps"),
        (
            json!({"spec": {"steps": [{"image": "i", "args": ["$(params.X)"]}]}}),
            "non-existent variable in \"$(params.X)\": spec.steps[0].args[0]",
        ),
        (
            json!({"spec": {"steps": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}}),
            "invalid value: a: spec.steps[1].name",
        ),
        (
            json!({"spec": {"steps": [{"image": "i", "script": "x", "command": ["x"]}]}}),
            "script cannot be used with command: spec.steps[0].script",
        ),
        (
            json!({"spec": {"steps": [{"image": "i", "stdoutConfig": {"path": "/x"}}]}}),
            "step stdout stream support requires \"enable-api-fields\" feature gate to be \"alpha\" but it is \"beta\": ",
        ),
        (
            json!({"spec": {"params": [{"name": "P"}, {"name": "p"}]}}),
            "expected exactly one, got both: spec.params[p].name",
        ),
    ];
    for (change, message) in cases {
        assert_eq!(refused(TASK, &task(), &change), message, "{change}");
    }
}

#[test]
fn a_task_run_is_filled_in_and_then_fixed() {
    let mut old = json!({"metadata": {"name": "r"}, "spec": {"params": [{"name": "P", "value": "v"}],
        "taskSpec": {"steps": [{"image": "i", "args": ["$(params.P)"]}]}}});
    admit(TASK_RUN, None, &mut old).unwrap();
    assert_eq!(
        (old["spec"]["timeout"].as_str(), old["spec"]["serviceAccountName"].as_str()),
        (Some("1h0m0s"), Some("default"))
    );
    assert_eq!(old["metadata"]["labels"]["app.kubernetes.io/managed-by"], "tekton-pipelines");
    let release = old["metadata"]["annotations"]["pipeline.tekton.dev/release"].as_str();
    assert!(release.is_some_and(|release| release.starts_with("tm-")), "{old}");
    let mut new = old.clone();
    new["spec"]["status"] = "TaskRunCancelled".into();
    admit(TASK_RUN, Some(&old), &mut new).unwrap();
    new["spec"]["timeout"] = "1s".into();
    assert_eq!(
        admit(TASK_RUN, Some(&old), &mut new).unwrap_err(),
        "invalid value: Once the TaskRun has started, only status and statusMessage updates are allowed: spec"
    );
}

#[test]
fn what_task_runs_may_not_have() {
    let base = json!({"metadata": {"name": "r"}, "spec": {"taskRef": {"name": "t"}}});
    let cases = [
        (
            json!({"spec": {"taskRef": null}}),
            "expected exactly one, got neither: spec.taskRef, spec.taskSpec",
        ),
        (
            json!({"spec": {"taskSpec": {"steps": [{"image": "i"}]}}}),
            "expected exactly one, got both: spec.taskRef, spec.taskSpec",
        ),
        (
            json!({"spec": {"status": "Nonsense"}}),
            "invalid value: Nonsense should be TaskRunCancelled or TaskRunPending: spec.status",
        ),
    ];
    for (change, message) in cases {
        assert_eq!(refused(TASK_RUN, &base, &change), message, "{change}");
    }
}

#[test]
fn what_ping_sources_may_not_have() {
    let kind = ("sources.knative.dev/v1", "PingSource");
    let base = json!({"metadata": {"name": "p"}, "spec": {"sink": {"uri": "http://a"}}});
    let mut new = base.clone();
    admit(kind, None, &mut new).unwrap();
    assert_eq!(new["spec"]["schedule"], "* * * * *");
    let reference = |reference: Value| json!({"spec": {"sink": {"uri": null, "ref": reference}}});
    let cases = [
        (
            json!({"spec": {"schedule": "* *"}}),
            "invalid value: expected 5 to 6 fields, found 2: [* *]: spec.schedule",
        ),
        (
            json!({"spec": {"schedule": "@every 5m"}}),
            "invalid value: unsupported descriptor @every: spec.schedule",
        ),
        (
            json!({"spec": {"timezone": "Mars"}}),
            "invalid value: provided bad location Mars: unknown time zone Mars: spec.timezone",
        ),
        (json!({"spec": {"sink": null}}), "expected at least one, got none: spec.sink.ref, spec.sink.uri"),
        (reference(json!({"kind": "Service", "name": "a"})), "missing field(s): spec.sink.ref.apiVersion"),
        (
            json!({"spec": {"sink": {"uri": "/path"}}}),
            "invalid value: Relative URI is not allowed when Ref and [apiVersion, kind, name] is absent: spec.sink.uri",
        ),
        (
            json!({"spec": {"data": "a", "dataBase64": "YQ=="}}),
            "expected exactly one, got both: spec.data, spec.dataBase64",
        ),
        (
            json!({"spec": {"contentType": "application/json", "data": "[1]"}}),
            "invalid value: json: cannot unmarshal array into Go value of type map[string]interface {}: spec.data",
        ),
        (
            json!({"spec": {"dataBase64": "Y!=="}}),
            "invalid value: illegal base64 data at input byte 1: spec.dataBase64",
        ),
        (
            json!({"spec": {"ceOverrides": {"extensions": {"Big": "1"}}}}),
            "invalid key name \"Big\": spec.ceOverrides.extensions\nkeys are expected to be alphanumeric",
        ),
    ];
    for (change, message) in cases {
        assert_eq!(refused(kind, &base, &change), message, "{change}");
    }
}
