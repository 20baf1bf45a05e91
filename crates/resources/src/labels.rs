//! Labels and annotations, each with the project that defines it.

/// Knative: labels and annotations of Serving's objects.
pub mod serving {
    /// Name of the Service an object belongs to.
    pub const SERVICE: &str = "serving.knative.dev/service";
    /// UID of that Service.
    pub const SERVICE_UID: &str = "serving.knative.dev/serviceUID";
    /// Name of the Configuration.
    pub const CONFIGURATION: &str = "serving.knative.dev/configuration";
    /// UID of the Configuration.
    pub const CONFIGURATION_UID: &str = "serving.knative.dev/configurationUID";
    /// Generation of the Configuration that made a Revision.
    pub const CONFIGURATION_GENERATION: &str = "serving.knative.dev/configurationGeneration";
    /// Name of the Revision a pod runs.
    pub const REVISION: &str = "serving.knative.dev/revision";
    /// UID of the Revision.
    pub const REVISION_UID: &str = "serving.knative.dev/revisionUID";
    /// Name of the Route that sends to a Revision.
    pub const ROUTE: &str = "serving.knative.dev/route";
    /// `active` while a Route points at the Revision, `reserve` otherwise.
    pub const ROUTING_STATE: &str = "serving.knative.dev/routingState";
    /// How long a Revision may take to become ready, a Go duration.
    pub const PROGRESS_DEADLINE: &str = "serving.knative.dev/progress-deadline";
    /// Names of the Routes that send to a Configuration or Revision, with commas.
    pub const ROUTES: &str = "serving.knative.dev/routes";
    /// When the routing state changed last.
    pub const ROUTING_STATE_MODIFIED: &str = "serving.knative.dev/routingStateModified";
    /// `true` keeps an old Revision from being collected.
    pub const NO_GC: &str = "serving.knative.dev/no-gc";
    /// User that made the object; immutable.
    pub const CREATOR: &str = "serving.knative.dev/creator";
    /// User that changed the spec last.
    pub const LAST_MODIFIER: &str = "serving.knative.dev/lastModifier";
}

/// Knative: labels of Networking.
pub mod networking {
    /// [`CLUSTER_LOCAL`] keeps a Service or Route from being reached from outside.
    pub const VISIBILITY: &str = "networking.knative.dev/visibility";
    /// The one value of [`VISIBILITY`].
    pub const CLUSTER_LOCAL: &str = "cluster-local";
}

/// Knative: autoscaling annotations of a revision template (`autoscaling.knative.dev/…`).
pub mod autoscaling {
    /// Never fewer pods than this.
    pub const MIN_SCALE: &str = "autoscaling.knative.dev/min-scale";
    /// Never more pods than this; 0 is no limit.
    pub const MAX_SCALE: &str = "autoscaling.knative.dev/max-scale";
    /// Pods a new Revision starts with.
    pub const INITIAL_SCALE: &str = "autoscaling.knative.dev/initial-scale";
    /// Concurrency (or requests per second) one pod should have.
    pub const TARGET: &str = "autoscaling.knative.dev/target";
    /// Percent of the target that is aimed at.
    pub const TARGET_UTILIZATION: &str = "autoscaling.knative.dev/target-utilization-percentage";
    /// Length of the window the average is taken over, a Go duration.
    pub const WINDOW: &str = "autoscaling.knative.dev/window";
    /// How long the last pod stays after traffic ended, a Go duration.
    pub const RETENTION: &str = "autoscaling.knative.dev/scale-to-zero-pod-retention-period";
    /// `concurrency` or `rps`.
    pub const METRIC: &str = "autoscaling.knative.dev/metric";
    /// [`HPA`] or Knative's own autoscaler.
    pub const CLASS: &str = "autoscaling.knative.dev/class";
    /// Kubernetes' autoscaler: by processor or memory, and never to zero.
    pub const HPA: &str = "hpa.autoscaling.knative.dev";
    /// Never fewer pods than this, unless there are none.
    pub const ACTIVATION_SCALE: &str = "autoscaling.knative.dev/activation-scale";
    /// How long fewer pods must have been enough before there are fewer, a Go duration.
    pub const SCALE_DOWN_DELAY: &str = "autoscaling.knative.dev/scale-down-delay";
}

/// Tekton: labels of runs and their pods.
pub mod tekton {
    /// Name of the TaskRun a pod belongs to.
    pub const TASK_RUN: &str = "tekton.dev/taskRun";
    /// UID of that TaskRun.
    pub const TASK_RUN_UID: &str = "tekton.dev/taskRunUID";
    /// Name of the Task a TaskRun refers to.
    pub const TASK: &str = "tekton.dev/task";
    /// Version of what runs a TaskRun, an annotation.
    pub const RELEASE: &str = "pipeline.tekton.dev/release";
    /// Who made the pod (Kubernetes' recommended label).
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
}

/// tm's own.
pub mod tm {
    /// Service a TaskRun builds for, or a PingSource belongs to (kept from the first tm).
    pub const SERVICE: &str = "cli.triggermesh.io/service";
    /// Project that replaces the user name in image names, on a registry Secret.
    pub const REGISTRY_PROJECT: &str = "tm.dev/registry-project";
    /// Digest of the source that made an image, on a revision template.
    pub const SOURCE_DIGEST: &str = "tm.dev/source-digest";
    /// Name of the runtime that built an image, on a revision template.
    pub const RUNTIME: &str = "tm.dev/runtime";
    /// How containers are kept apart (`namespaces`, `plain`, `docker`), on pods and nodes of the embedded engine.
    pub const ISOLATION: &str = "tm.local/isolation";
    /// Field manager of tm's server-side apply.
    pub const FIELD_MANAGER: &str = "tm";
}

/// Client convention shared with kn: the image as the user typed it, on a revision template.
pub const USER_IMAGE: &str = "client.knative.dev/user-image";
