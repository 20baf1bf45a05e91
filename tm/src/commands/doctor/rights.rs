//! What the user may do: one SelfSubjectAccessReview for each verb that tm uses.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use super::report::Report;
use crate::{
    permissions::{Permission, ROLE, RULES},
    target::Target,
};

/// Questions on their way at a time.
const AT_ONCE: usize = 8;

/// Asks for every permission; what is missing is named with what needs it.
pub(super) async fn check(report: &mut Report, target: &Target) -> Result<()> {
    let api: Api<SelfSubjectAccessReview> = Api::all(target.client.clone());
    let all = RULES.iter().flat_map(|rule| rule.permissions().map(|permission| (rule.purpose, permission)));
    let answers: Vec<(&str, Permission, bool)> = stream::iter(all)
        .map(|(purpose, permission)| {
            let api = api.clone();
            let review = review(&permission, &target.namespace);
            async move {
                let answer = api.create(&PostParams::default(), &review).await;
                let answer = answer.context("failed to ask what you may do")?;
                let allowed = answer.status.is_some_and(|status| status.allowed);
                Ok::<_, anyhow::Error>((purpose, permission, allowed))
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let missing: Vec<_> = answers.iter().filter(|(_, _, allowed)| !allowed).collect();
    if missing.is_empty() {
        report.ok("rights", &format!("all {} that tm uses in {}", answers.len(), target.namespace));
        return Ok(());
    }
    for rule in RULES {
        let mut verbs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (_, permission, _) in missing.iter().filter(|(purpose, ..)| *purpose == rule.purpose) {
            verbs.entry(permission.target()).or_default().push(permission.verb);
        }
        if !verbs.is_empty() {
            let all = verbs.iter().map(|(resource, verbs)| format!("{} {resource}", verbs.join("/")));
            let text = format!("{}: may not {}", rule.purpose, all.collect::<Vec<_>>().join(", "));
            let hint = format!("bind the Role {ROLE} that `tm setup --dry` prints to this user");
            report.failed("rights", &text, Some(hint));
        }
    }
    Ok(())
}

fn review(permission: &Permission, namespace: &str) -> SelfSubjectAccessReview {
    SelfSubjectAccessReview {
        metadata: ObjectMeta::default(),
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(permission.attributes(namespace)),
            ..SelfSubjectAccessReviewSpec::default()
        },
        status: None,
    }
}
