//! What a user of tm must be allowed to do in a namespace: the Role that `tm setup` prints, and what `tm doctor` asks for.

use k8s_openapi::api::{
    authorization::v1::ResourceAttributes,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::api::ObjectMeta;

/// Name of the Role.
pub(crate) const ROLE: &str = "tm-user";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

/// Resources with the verbs on them.
pub(crate) struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    /// What needs it.
    pub(crate) purpose: &'static str,
}

/// Everything tm does with the user's own rights. `pods/exec` needs both verbs: a WebSocket is opened by a GET, and since
/// Kubernetes 1.35 `create` is asked for as well.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        group: "serving.knative.dev",
        resources: &["services"],
        verbs: WRITE,
        purpose: "deploying services",
    },
    Rule {
        group: "serving.knative.dev",
        resources: &["configurations", "revisions", "routes"],
        verbs: &["get", "list", "watch", "delete"],
        purpose: "showing why a service is not ready",
    },
    Rule {
        group: "tekton.dev",
        resources: &["tasks", "taskruns"],
        verbs: WRITE,
        purpose: "building from source",
    },
    Rule { group: "", resources: &["pods"], verbs: READ, purpose: "following builds" },
    Rule { group: "", resources: &["pods/log"], verbs: &["get"], purpose: "logs" },
    Rule { group: "", resources: &["pods/exec"], verbs: &["get", "create"], purpose: "uploading the source" },
    Rule {
        group: "",
        resources: &["secrets"],
        verbs: &["get", "create", "update", "patch", "delete"],
        purpose: "registry credentials",
    },
    Rule {
        group: "",
        resources: &["serviceaccounts"],
        verbs: &["get", "patch"],
        purpose: "pulling with registry credentials",
    },
    Rule { group: "", resources: &["events"], verbs: &["list", "watch"], purpose: "showing why a pod waits" },
];

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permission {
    /// The verb.
    pub(crate) verb: &'static str,
    /// The API group; empty for the core's.
    pub(crate) group: &'static str,
    /// `resource` or `resource/subresource`.
    pub(crate) resource: &'static str,
}

// === impl Rule ===

impl Rule {
    /// Each verb on each resource.
    pub(crate) fn permissions(&self) -> impl Iterator<Item = Permission> + '_ {
        let of = move |resource: &'static str| {
            self.verbs.iter().map(move |verb| Permission { verb, group: self.group, resource })
        };
        self.resources.iter().flat_map(move |resource| of(resource))
    }
}

// === impl Permission ===

impl Permission {
    /// `resource.group`, as kubectl writes it.
    pub(crate) fn target(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.resource, self.group)
    }

    /// The question for a SelfSubjectAccessReview.
    pub(crate) fn attributes(&self, namespace: &str) -> ResourceAttributes {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource, None),
        };
        ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some(self.verb.to_owned()),
            group: Some(self.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            ..ResourceAttributes::default()
        }
    }
}

/// The Role of a user of tm.
pub(crate) fn role(namespace: &str) -> Role {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let rules = RULES.iter().map(|rule| PolicyRule {
        api_groups: Some(vec![rule.group.to_owned()]),
        resources: Some(owned(rule.resources)),
        verbs: owned(rule.verbs),
        ..PolicyRule::default()
    });
    Role { metadata: metadata(namespace), rules: Some(rules.collect()) }
}

/// Gives the Role to `subjects`.
pub(crate) fn binding(namespace: &str, subjects: Vec<Subject>) -> RoleBinding {
    RoleBinding {
        metadata: metadata(namespace),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: ROLE.into(),
        },
        subjects: Some(subjects),
    }
}

fn metadata(namespace: &str) -> ObjectMeta {
    ObjectMeta { name: Some(ROLE.into()), namespace: Some(namespace.into()), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_permission() {
        let all: Vec<_> =
            RULES.iter().flat_map(Rule::permissions).map(|one| (one.verb, one.target())).collect();
        assert!(all.contains(&("create", "pods/exec".to_owned())));
        assert!(all.contains(&("delete", "taskruns.tekton.dev".to_owned())));
        let exec = Permission { verb: "create", group: "", resource: "pods/exec" }.attributes("n");
        assert_eq!((exec.resource.as_deref(), exec.subresource.as_deref()), (Some("pods"), Some("exec")));
    }

    #[test]
    fn the_role_says_what_the_doctor_asks() {
        let rules = role("n").rules.expect("it has rules");
        assert_eq!(rules.len(), RULES.len());
        assert!(
            rules.iter().all(|rule| rule.api_groups.as_ref().is_some_and(|groups| groups.len() == 1)),
            "{rules:?}"
        );
    }
}
