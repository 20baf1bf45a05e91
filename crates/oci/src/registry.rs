//! Client of the distribution API: pull, push, mount, copy, and asking beforehand whether a push would be allowed.
//!
//! A [`Client`] knows who we are; a [`Repository`] is one name on one registry with the rights asked for it. Waits are
//! bounded: a request that makes no progress for [`ClientOptions::stall`] fails, and what may be tried again is tried
//! [`ClientOptions::attempts`] times. Credentials go to the registry and to the token server it names, never to a host
//! that a redirect or an upload location names.

mod challenge;
mod client;
mod copy;
mod error;
mod pull;
mod push;
mod repository;
mod token;

pub use client::{Client, ClientOptions};
pub use copy::Original;
pub use error::RegistryError;
pub use pull::PulledImage;
pub use push::{BlobEvent, Content, Outcome, Progress};
pub use repository::{Access, Repository};
