//! Typed Knative, Tekton and core objects, names, labels and annotations; no I/O.
