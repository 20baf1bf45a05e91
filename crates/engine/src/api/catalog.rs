//! The one table of what this server serves: every group, version, kind, and what is special about it.
//!
//! Routing, discovery, tables, validation and the store's keys all read from here.

mod columns;

pub(crate) use columns::{Cell, Column, Computed};

/// A served kind.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for core.
    pub group: &'static str,
    /// Version inside the group.
    pub version: &'static str,
    /// Kind, as objects spell it.
    pub kind: &'static str,
    /// Plural name, as paths spell it.
    pub plural: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Short names kubectl accepts.
    pub short_names: &'static [&'static str],
    /// Groups of kinds kubectl knows, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Subresources besides the object itself.
    pub subresources: &'static [&'static str],
    /// Whether `metadata.generation` counts changes of the specification.
    pub generation: bool,
    /// How names are checked.
    pub names: NameRule,
    /// Columns of `kubectl get`, after the name.
    pub(crate) columns: &'static [Column],
    /// `pods` or `services.serving.knative.dev`: the store's key and the name in messages.
    qualified: &'static str,
    /// `v1` or `serving.knative.dev/v1`.
    api_version: &'static str,
}

/// What a valid name of a kind looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain: what most kinds want.
    Subdomain,
    /// RFC 1123 label: namespaces.
    Label,
    /// RFC 1035 label: core Services.
    Label1035,
}

// === impl Resource ===

impl Resource {
    /// `pods` or `services.serving.knative.dev`.
    #[must_use]
    pub const fn qualified(&self) -> &'static str {
        self.qualified
    }

    /// `v1` or `serving.knative.dev/v1`.
    #[must_use]
    pub const fn api_version(&self) -> &'static str {
        self.api_version
    }

    /// `Pod` or `Service.serving.knative.dev`, as messages about invalid objects spell it.
    #[must_use]
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// Whether a real cluster serves it from a CustomResourceDefinition, which is stricter in places.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        !self.group.is_empty()
    }

    /// Whether the object's status is written apart from the rest.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }
}

/// Finds the kind served under a group, version and plural name.
#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// Finds the kind of an object.
#[must_use]
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.kind == kind && r.api_version() == api_version)
}

/// Finds the kind by the store's name for it.
#[must_use]
pub fn find_qualified(qualified: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.qualified() == qualified)
}

macro_rules! resource {
    (@qualified "" $plural:tt) => { $plural };
    (@qualified $group:tt $plural:tt) => { concat!($plural, ".", $group) };
    (@version "" $version:tt) => { $version };
    (@version $group:tt $version:tt) => { concat!($group, "/", $version) };
    ($group:tt $version:tt $kind:tt $plural:tt $singular:tt { $($field:ident: $value:expr),* $(,)? }) => {
        Resource {
            group: $group, version: $version, kind: $kind, plural: $plural, singular: $singular,
            qualified: resource!(@qualified $group $plural), api_version: resource!(@version $group $version),
            $($field: $value,)*
            ..DEFAULTS
        }
    };
}

const DEFAULTS: Resource = Resource {
    group: "",
    version: "",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    generation: false,
    names: NameRule::Subdomain,
    columns: columns::AGE,
    qualified: "",
    api_version: "",
};

/// Every served kind, in the order of discovery.
pub static RESOURCES: &[Resource] = &[
    resource!("" "v1" "ConfigMap" "configmaps" "configmap" {
        short_names: &["cm"], columns: columns::CONFIG_MAP,
    }),
    resource!("" "v1" "Event" "events" "event" { short_names: &["ev"], columns: columns::EVENT }),
    resource!("" "v1" "Namespace" "namespaces" "namespace" {
        short_names: &["ns"], namespaced: false, subresources: &["status", "finalize"], names: NameRule::Label,
        columns: columns::NAMESPACE,
    }),
    resource!("" "v1" "Node" "nodes" "node" {
        short_names: &["no"], namespaced: false, subresources: &["status"], columns: columns::NODE,
    }),
    resource!("" "v1" "Pod" "pods" "pod" {
        short_names: &["po"], categories: &["all"], subresources: &["status", "log", "exec"], generation: true,
        columns: columns::POD,
    }),
    resource!("" "v1" "Secret" "secrets" "secret" { columns: columns::SECRET }),
    resource!("" "v1" "ServiceAccount" "serviceaccounts" "serviceaccount" {
        short_names: &["sa"], columns: columns::SERVICE_ACCOUNT,
    }),
    resource!("" "v1" "Service" "services" "service" {
        short_names: &["svc"], categories: &["all"], subresources: &["status"], names: NameRule::Label1035,
        columns: columns::SERVICE,
    }),
    resource!("tekton.dev" "v1" "Task" "tasks" "task" {
        categories: &["tekton", "tekton-pipelines"], generation: true,
    }),
    resource!("tekton.dev" "v1" "TaskRun" "taskruns" "taskrun" {
        short_names: &["tr", "trs"], categories: &["tekton", "tekton-pipelines"], subresources: &["status"],
        generation: true, columns: columns::TASK_RUN,
    }),
    resource!("serving.knative.dev" "v1" "Configuration" "configurations" "configuration" {
        short_names: &["config", "cfg"], categories: &["all", "knative", "serving"], subresources: &["status"],
        generation: true, columns: columns::CONFIGURATION,
    }),
    resource!("serving.knative.dev" "v1" "Revision" "revisions" "revision" {
        short_names: &["rev"], categories: &["all", "knative", "serving"], subresources: &["status"],
        generation: true, columns: columns::REVISION,
    }),
    resource!("serving.knative.dev" "v1" "Route" "routes" "route" {
        short_names: &["rt"], categories: &["all", "knative", "serving"], subresources: &["status"],
        generation: true, columns: columns::ROUTE,
    }),
    resource!("serving.knative.dev" "v1" "Service" "services" "service" {
        short_names: &["kservice", "ksvc"], categories: &["all", "knative", "serving"], subresources: &["status"],
        generation: true, columns: columns::KNATIVE_SERVICE,
    }),
    resource!("sources.knative.dev" "v1" "PingSource" "pingsources" "pingsource" {
        categories: &["all", "knative", "sources"], subresources: &["status"], generation: true,
        columns: columns::PING_SOURCE,
    }),
];
