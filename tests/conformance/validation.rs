//! Field validation and what the webhooks refuse.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::subject::{Subject, on_each, refusal, service, typed};

/// Creates with `fieldValidation=Strict`, which kube's own `create` does not offer.
async fn create_strictly(subject: &Subject, value: &Value) -> kube::Result<Value> {
    let path = format!(
        "/apis/serving.knative.dev/v1/namespaces/{}/services?fieldValidation=Strict",
        subject.namespace
    );
    let body = value.to_string().into_bytes();
    let request = http::Request::post(path).header("Content-Type", "application/json").body(body);
    subject.client.request(request.expect("the request is sound")).await
}

#[tokio::test]
async fn unknown_fields_are_refused_when_strict_and_dropped_otherwise() {
    on_each(|subject| async move {
        let services = subject.services();
        let mut value = service("s", &["A"]);
        value["spec"]["runLatest"] = json!({});
        let error = refusal(services.patch("s", &PatchParams::apply("me"), &Patch::Apply(&value)).await);
        assert_eq!(error.code, 500, "a server has no better code for it");
        assert!(
            error.message.ends_with("Kind=Service): .spec.runLatest: field not declared in schema"),
            "{}",
            error.message
        );
        let error = refusal(create_strictly(&subject, &value).await);
        assert_eq!((error.code, error.reason.as_str()), (400, "BadRequest"));
        assert!(
            error.message.contains("strict decoding error: unknown field \"spec.runLatest\""),
            "{}",
            error.message
        );
        let new: DynamicObject = typed(value);
        let made = services.create(&PostParams::default(), &new).await.unwrap();
        assert!(made.data["spec"].get("runLatest").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_wrong_type_is_refused() {
    on_each(|subject| async move {
        let mut value = service("s", &[]);
        value["spec"]["template"]["spec"]["timeoutSeconds"] = "soon".into();
        let new: DynamicObject = typed(value);
        let error = refusal(subject.services().create(&PostParams::default(), &new).await);
        assert!(matches!(error.code, 400 | 422), "{error:?}");
        assert!(
            error.message.contains("timeoutSeconds") || error.message.contains("cannot unmarshal"),
            "{error:?}"
        );
    })
    .await;
}

async fn denied(subject: &Subject, group: &str, kind: &str, plural: &str, value: Value) -> String {
    let new: DynamicObject = typed(value);
    let api = subject.dynamic(group, kind, plural);
    let error = refusal(api.create(&PostParams::default(), &new).await);
    assert_eq!((error.code, error.reason.as_str()), (400, "BadRequest"));
    error.message
}

#[tokio::test]
async fn a_service_that_the_webhook_denies() {
    on_each(|subject| async move {
        let mut value = service("s", &["A"]);
        value["metadata"]["annotations"] = json!({"autoscaling.knative.dev/min-scale": "1"});
        let message = denied(&subject, "serving.knative.dev", "Service", "services", value).await;
        assert_eq!(
            message,
            "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: validation failed: \
             invalid key name \"autoscaling.knative.dev/min-scale\": metadata.annotations\nautoscaling annotations \
             must be put under \"spec.template.metadata.annotations\" to work"
        );
        let message =
            denied(&subject, "serving.knative.dev", "Service", "services", service("s", &["K_SERVICE"])).await;
        assert!(
            message.ends_with(
                "\"K_SERVICE\" is a reserved environment variable: spec.template.spec.containers[0].env[0].name"
            ),
            "{message}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_task_that_the_webhook_denies() {
    on_each(|subject| async move {
        let task = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"}, "spec": {"steps": []}});
        let message = denied(&subject, "tekton.dev", "Task", "tasks", task).await;
        assert_eq!(
            message,
            "admission webhook \"validation.webhook.pipeline.tekton.dev\" denied the request: validation failed: \
             missing field(s): spec.steps"
        );
        let task = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"},
            "spec": {"steps": [{"image": "i", "command": ["$(params.NO)"]}]}});
        let message = denied(&subject, "tekton.dev", "Task", "tasks", task).await;
        assert!(
            message.ends_with("non-existent variable in \"$(params.NO)\": spec.steps[0].command[0]"),
            "{message}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_task_run_gets_its_defaults() {
    on_each(|subject| async move {
        let run: DynamicObject = typed(json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun",
            "metadata": {"name": "r"}, "spec": {"status": "TaskRunPending", "taskRef": {"name": "nobody"}}}));
        let runs = subject.dynamic("tekton.dev", "TaskRun", "taskruns");
        let made = runs.create(&PostParams::default(), &run).await.unwrap();
        assert_eq!(made.data["spec"]["timeout"], "1h0m0s");
        assert_eq!(made.data["spec"]["serviceAccountName"], "default");
        assert_eq!(made.data["spec"]["taskRef"]["kind"], "Task");
        let patch = Patch::Merge(json!({"spec": {"timeout": "5m0s"}}));
        let fixed = refusal(runs.patch("r", &PatchParams::default(), &patch).await);
        assert!(
            fixed
                .message
                .contains("Once the TaskRun has started, only status and statusMessage updates are allowed"),
            "{}",
            fixed.message
        );
        let cancel = Patch::Merge(json!({"spec": {"status": "TaskRunCancelled"}}));
        runs.patch("r", &PatchParams::default(), &cancel).await.unwrap();
    })
    .await;
}
