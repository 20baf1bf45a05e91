//! Media types of the OCI image specification and of Docker's older family, and the map from the second to the first.
//!
//! A manifest must not mix families, so a base in Docker's types becomes an OCI one: the bytes of its blobs stay the
//! same, only the names change.

/// An OCI index: one manifest per platform.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer: plain tar.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer: gzipped tar.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer: tar compressed by zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker's manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's gzipped layer.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker's plain layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker's layer that lives elsewhere (Windows bases).
pub const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// The type of a body of bytes.
pub const OCTETS: &str = "application/octet-stream";

/// What a client that pulls says it understands.
pub const ACCEPT_MANIFESTS: &str = concat!(
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.docker.distribution.manifest.v2+json"
);

/// The OCI name of a Docker media type; any other type stays what it is.
pub fn to_oci(media_type: &str) -> &str {
    match media_type {
        DOCKER_MANIFEST => MANIFEST,
        DOCKER_LIST => INDEX,
        DOCKER_CONFIG => CONFIG,
        DOCKER_LAYER_GZIP => LAYER_GZIP,
        DOCKER_LAYER => LAYER,
        DOCKER_FOREIGN => "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        other => other,
    }
}

/// Whether this is an index or a manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_LIST)
}

/// Whether this is a manifest of one image.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_becomes_oci_and_oci_stays() {
        assert_eq!(to_oci(DOCKER_LAYER_GZIP), LAYER_GZIP);
        assert_eq!(to_oci(DOCKER_MANIFEST), MANIFEST);
        for same in [INDEX, MANIFEST, CONFIG, LAYER, LAYER_GZIP, LAYER_ZSTD, "text/plain"] {
            assert_eq!(to_oci(same), same);
        }
    }
}
