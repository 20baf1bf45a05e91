//! Deterministic OCI layers, image config, digests, layout, registry push and pull.
