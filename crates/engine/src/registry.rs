//! The registry: the distribution API over a folder of blobs.
//!
//! `build-tasks` pushes here, the process runner reads from here through [`Storage`], and any OCI client may pull. It
//! listens on loopback and asks nobody who they are.
//!
//! | request | effect |
//! |---|---|
//! | `GET /v2/` | says that the API is here |
//! | `GET /v2/_catalog` | names of all repositories |
//! | `HEAD\|GET\|DELETE /v2/NAME/blobs/DIGEST` | a blob, whole or a range; deleting needs that no manifest uses it |
//! | `POST /v2/NAME/blobs/uploads/` | begins an upload; `?mount=DIGEST` takes a blob that is here; `?digest=` sends all at once |
//! | `PATCH\|PUT\|GET\|DELETE /v2/NAME/blobs/uploads/ID` | adds to it, ends it, asks how far it is, gives it up |
//! | `HEAD\|GET\|PUT\|DELETE /v2/NAME/manifests/TAG_OR_DIGEST` | a manifest or an index |
//! | `GET /v2/NAME/tags/list` | tags |
//!
//! Blobs are shared by all repositories: whatever one function pushed, no other has to push again.

mod handlers;
mod mirror;
mod path;
mod problem;
mod storage;
mod uploads;

pub use handlers::router;
pub use mirror::{MirrorError, mirror, mirrored_as};
pub use storage::{Collected, Storage, StorageError};
