//! Deterministic OCI layers, image config, digests, layout, registry push and pull.
//!
//! `build-tasks` assembles images with it, the engine's registry and process runner read them with it, and `tm`
//! parses references with it. Nothing here knows Kubernetes or Lambda.
//!
//! | module | what |
//! |---|---|
//! | [`digest`] | `sha256:…` as a type, and writers that hash what passes |
//! | [`mod@reference`] | `host/name:tag@digest` |
//! | [`manifest`], [`media_type`] | manifest, index and config, keeping fields they do not know |
//! | [`layer`] | a folder or a file as a layer whose bytes depend on the content only |
//! | [`image`] | an image made from nothing, for a registry or an archive |
//! | [`extract`], [`unpack`] | archives and layers onto disk, never outside their root |
//! | [`layout`] | an OCI layout directory |
//! | [`auth`] | `config.json` of Docker |
//! | [`registry`] | the client of the distribution API |

pub mod auth;
pub mod digest;
pub mod extract;
pub mod image;
pub mod layer;
pub mod layout;
pub mod manifest;
pub mod media_type;
pub mod reference;
pub mod registry;
pub mod unpack;

pub use digest::Digest;
pub use reference::Reference;
