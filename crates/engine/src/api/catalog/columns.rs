//! Printer columns: what `kubectl get` shows per kind, as the real servers and CRDs define them.

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Heading.
    pub(crate) name: &'static str,
    /// `string`, `integer` or `date`.
    pub(crate) kind: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub(crate) priority: u8,
    /// Where the value comes from.
    pub(crate) cell: Cell,
}

/// How a cell is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell {
    /// The value at a JSON pointer.
    At(&'static str),
    /// How long ago the time at a JSON pointer was.
    Since(&'static str),
    /// A field (`status`, `reason`, `message`) of a condition of that type.
    Condition(&'static str, &'static str),
    /// A label's value.
    Label(&'static str),
    /// Number of entries under a JSON pointer.
    Count(&'static str),
    /// Something only code can say.
    Computed(Computed),
}

/// Cells that no path describes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Computed {
    /// Ready containers of all containers.
    PodReady,
    /// The pod's phase, or the reason that matters more.
    PodStatus,
    /// Restarts of all containers.
    PodRestarts,
    /// Ready or not.
    NodeStatus,
    /// `kind/name` an event is about.
    EventObject,
    /// Ports of a core Service.
    ServicePorts,
}

const fn column(name: &'static str, kind: &'static str, cell: Cell) -> Column {
    Column { name, kind, priority: 0, cell }
}

const fn text(name: &'static str, pointer: &'static str) -> Column {
    column(name, "string", Cell::At(pointer))
}

const fn condition(name: &'static str, of: &'static str, field: &'static str) -> Column {
    column(name, "string", Cell::Condition(of, field))
}

const fn since(name: &'static str, pointer: &'static str) -> Column {
    column(name, "date", Cell::Since(pointer))
}

const fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

const AGE_COLUMN: Column = since("Age", "/metadata/creationTimestamp");
const READY: Column = condition("Ready", "Ready", "status");
const REASON: Column = condition("Reason", "Ready", "reason");

pub(super) const AGE: &[Column] = &[AGE_COLUMN];
pub(super) const CONFIG_MAP: &[Column] = &[column("Data", "string", Cell::Count("/data")), AGE_COLUMN];
pub(super) const SECRET: &[Column] =
    &[text("Type", "/type"), column("Data", "string", Cell::Count("/data")), AGE_COLUMN];
pub(super) const SERVICE_ACCOUNT: &[Column] =
    &[column("Secrets", "string", Cell::Count("/secrets")), AGE_COLUMN];
pub(super) const NAMESPACE: &[Column] = &[text("Status", "/status/phase"), AGE_COLUMN];
pub(super) const NODE: &[Column] = &[
    column("Status", "string", Cell::Computed(Computed::NodeStatus)),
    AGE_COLUMN,
    text("Version", "/status/nodeInfo/kubeletVersion"),
];
pub(super) const POD: &[Column] = &[
    column("Ready", "string", Cell::Computed(Computed::PodReady)),
    column("Status", "string", Cell::Computed(Computed::PodStatus)),
    column("Restarts", "string", Cell::Computed(Computed::PodRestarts)),
    column("Age", "string", Cell::Since("/metadata/creationTimestamp")),
    wide(text("IP", "/status/podIP")),
    wide(text("Node", "/spec/nodeName")),
];
pub(super) const EVENT: &[Column] = &[
    column("Last Seen", "string", Cell::Since("/lastTimestamp")),
    text("Type", "/type"),
    text("Reason", "/reason"),
    column("Object", "string", Cell::Computed(Computed::EventObject)),
    text("Message", "/message"),
];
pub(super) const SERVICE: &[Column] = &[
    text("Type", "/spec/type"),
    text("Cluster-IP", "/spec/clusterIP"),
    text("External-IP", "/spec/externalName"),
    column("Port(s)", "string", Cell::Computed(Computed::ServicePorts)),
    AGE_COLUMN,
];
pub(super) const TASK_RUN: &[Column] = &[
    condition("Succeeded", "Succeeded", "status"),
    condition("Reason", "Succeeded", "reason"),
    since("StartTime", "/status/startTime"),
    since("CompletionTime", "/status/completionTime"),
];
pub(super) const KNATIVE_SERVICE: &[Column] = &[
    text("URL", "/status/url"),
    text("LatestCreated", "/status/latestCreatedRevisionName"),
    text("LatestReady", "/status/latestReadyRevisionName"),
    READY,
    REASON,
];
pub(super) const CONFIGURATION: &[Column] = &[
    text("LatestCreated", "/status/latestCreatedRevisionName"),
    text("LatestReady", "/status/latestReadyRevisionName"),
    READY,
    REASON,
];
pub(super) const REVISION: &[Column] = &[
    column("Config Name", "string", Cell::Label("serving.knative.dev/configuration")),
    column("Generation", "string", Cell::Label("serving.knative.dev/configurationGeneration")),
    READY,
    REASON,
    column("Actual Replicas", "integer", Cell::At("/status/actualReplicas")),
    column("Desired Replicas", "integer", Cell::At("/status/desiredReplicas")),
];
pub(super) const ROUTE: &[Column] = &[text("URL", "/status/url"), READY, REASON];
pub(super) const PING_SOURCE: &[Column] =
    &[text("Sink", "/status/sinkUri"), text("Schedule", "/spec/schedule"), AGE_COLUMN, READY, REASON];
