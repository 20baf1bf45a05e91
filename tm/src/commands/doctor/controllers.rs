//! Whether the programs behind the kinds are alive: objects are offered to their webhooks without being made, and who may look
//! at the controllers' Deployments sees those that have no pod.

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Container};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use tm_resources::{
    serving::{RevisionSpec, RevisionTemplate, Service, ServiceSpec},
    tekton::{TaskRef, TaskRun, TaskRunSpec},
};

use super::{features::TEKTON, ingress::KNATIVE, report::Report};
use crate::{
    error::{chain, next_step},
    target::Target,
};

/// Looks at the webhooks, then at the Deployments.
pub(super) async fn check(report: &mut Report, target: &Target) -> Result<()> {
    let lacks = ["Knative", "Tekton", "namespace", "rights"].iter().any(|check| report.has_failed(check));
    // Their refusals would say it again.
    if !lacks {
        offer(report, target, "Knative", &service()).await;
        offer(report, target, "Tekton", &task_run()).await;
        if !report.has_failed("webhooks") {
            report.ok("webhooks", "a service and a TaskRun would be taken");
        }
    }
    deployments(report, target).await
}

/// Asks for an object to be made, but for the making.
async fn offer<K>(report: &mut Report, target: &Target, whose: &str, object: &K)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(target.client.clone(), &target.namespace);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let offered = api.create(&params, object).await;
    if let Err(error) = offered.with_context(|| format!("{whose} would not take a {}", K::kind(&()))) {
        report.failed("webhooks", &chain(&error), next_step(&error));
    }
}

fn metadata() -> ObjectMeta {
    ObjectMeta { generate_name: Some("tm-doctor-".into()), ..ObjectMeta::default() }
}

fn service() -> Service {
    let container = Container { image: Some("tm.local/doctor:check".into()), ..Container::default() };
    let spec = RevisionSpec { containers: vec![container], ..RevisionSpec::default() };
    let template = RevisionTemplate { spec, ..RevisionTemplate::default() };
    Service { metadata: metadata(), spec: ServiceSpec { template, ..ServiceSpec::default() }, status: None }
}

/// By reference: that is taken everywhere, and the Task is looked for later.
fn task_run() -> TaskRun {
    let task = TaskRef { name: Some("tm-doctor".into()), ..TaskRef::default() };
    let spec = TaskRunSpec { task_ref: Some(task), ..TaskRunSpec::default() };
    TaskRun { metadata: metadata(), spec, status: None }
}

/// Names the Deployments that have no pods, whether they fail or somebody wants none.
async fn deployments(report: &mut Report, target: &Target) -> Result<()> {
    let mut count = 0;
    for namespace in [KNATIVE, TEKTON] {
        let api: Api<Deployment> = Api::namespaced(target.client.clone(), namespace);
        let list = match api.list(&ListParams::default()).await {
            Ok(list) => list,
            // Not for this user to see, or a target without such things.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => continue,
            Err(error) => {
                return Err(anyhow::Error::new(error).context("failed to look at the controllers"));
            }
        };
        for deployment in &list.items {
            count += 1;
            if is_dead(deployment) {
                let text =
                    format!("Deployment {namespace}/{} has no pod that is ready", deployment.name_any());
                let hint = format!("`kubectl -n {namespace} get pods` and their logs say why");
                report.failed("controllers", &text, Some(hint));
            }
        }
    }
    if count > 0 && !report.has_failed("controllers") {
        report.ok("controllers", &format!("all {count} Deployments of Knative and Tekton have pods"));
    }
    Ok(())
}

fn is_dead(deployment: &Deployment) -> bool {
    deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dead_or_put_to_sleep() {
        let deployment = |replicas: i32, available: i32| {
            let text = json!({"spec": {"replicas": replicas, "selector": {}, "template": {}},
                "status": {"availableReplicas": available}});
            serde_json::from_value::<Deployment>(text).expect("it is one")
        };
        assert!(is_dead(&deployment(1, 0)));
        assert!(!is_dead(&deployment(2, 1)));
        assert!(is_dead(&deployment(0, 0)));
    }
}
