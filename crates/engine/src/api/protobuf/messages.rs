//! The messages that are understood: field numbers as in Kubernetes' published definitions.

/// A message.
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) fields: &'static [(u64, &'static str, Kind)],
}

/// What a field holds.
pub(super) enum Kind {
    Text,
    Bytes,
    Number,
    Flag,
    Time,
    Message(&'static str),
    Repeated(&'static Kind),
    Map(&'static Kind),
}

use Kind::{Bytes, Flag, Map, Number, Repeated, Text, Time};

const META: Kind = Kind::Message("ObjectMeta");
const TEXTS: Kind = Repeated(&Text);

pub(super) static MESSAGES: &[Message] = &[
    Message {
        name: "ObjectMeta",
        fields: &[
            (1, "name", Text),
            (2, "generateName", Text),
            (3, "namespace", Text),
            (5, "uid", Text),
            (6, "resourceVersion", Text),
            (8, "creationTimestamp", Time),
            (11, "labels", Map(&Text)),
            (12, "annotations", Map(&Text)),
            (13, "ownerReferences", Repeated(&Kind::Message("OwnerReference"))),
            (14, "finalizers", TEXTS),
        ],
    },
    Message {
        name: "OwnerReference",
        fields: &[
            (1, "kind", Text),
            (3, "name", Text),
            (4, "uid", Text),
            (5, "apiVersion", Text),
            (6, "controller", Flag),
            (7, "blockOwnerDeletion", Flag),
        ],
    },
    Message {
        name: "ConfigMap",
        fields: &[
            (1, "metadata", META),
            (2, "data", Map(&Text)),
            (3, "binaryData", Map(&Bytes)),
            (4, "immutable", Flag),
        ],
    },
    Message {
        name: "Secret",
        fields: &[
            (1, "metadata", META),
            (2, "data", Map(&Bytes)),
            (3, "type", Text),
            (4, "stringData", Map(&Text)),
            (5, "immutable", Flag),
        ],
    },
    Message { name: "Namespace", fields: &[(1, "metadata", META)] },
    Message {
        name: "ServiceAccount",
        fields: &[
            (1, "metadata", META),
            (2, "secrets", Repeated(&Kind::Message("ObjectReference"))),
            (3, "imagePullSecrets", Repeated(&Kind::Message("LocalObjectReference"))),
            (4, "automountServiceAccountToken", Flag),
        ],
    },
    Message { name: "LocalObjectReference", fields: &[(1, "name", Text)] },
    Message {
        name: "ObjectReference",
        fields: &[(1, "kind", Text), (2, "namespace", Text), (3, "name", Text)],
    },
    Message {
        name: "DeleteOptions",
        fields: &[
            (1, "gracePeriodSeconds", Number),
            (2, "preconditions", Kind::Message("Preconditions")),
            (3, "orphanDependents", Flag),
            (4, "propagationPolicy", Text),
            (5, "dryRun", TEXTS),
        ],
    },
    Message { name: "Preconditions", fields: &[(1, "uid", Text), (2, "resourceVersion", Text)] },
    Message {
        name: "SelfSubjectAccessReview",
        fields: &[(1, "metadata", META), (2, "spec", Kind::Message("AccessReviewSpec"))],
    },
    Message {
        name: "AccessReviewSpec",
        fields: &[
            (1, "resourceAttributes", Kind::Message("ResourceAttributes")),
            (2, "nonResourceAttributes", Kind::Message("NonResourceAttributes")),
        ],
    },
    Message {
        name: "ResourceAttributes",
        fields: &[
            (1, "namespace", Text),
            (2, "verb", Text),
            (3, "group", Text),
            (4, "version", Text),
            (5, "resource", Text),
            (6, "subresource", Text),
            (7, "name", Text),
        ],
    },
    Message { name: "NonResourceAttributes", fields: &[(1, "path", Text), (2, "verb", Text)] },
    Message {
        name: "SelfSubjectRulesReview",
        fields: &[(1, "metadata", META), (2, "spec", Kind::Message("RulesReviewSpec"))],
    },
    Message { name: "RulesReviewSpec", fields: &[(1, "namespace", Text)] },
    Message { name: "SelfSubjectReview", fields: &[(1, "metadata", META)] },
];
