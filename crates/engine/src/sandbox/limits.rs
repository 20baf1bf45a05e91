//! Resource limits of a container's process, as AWS sets them (contract EN-24).

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{SandboxError, Spec, system};

/// Open files (EN-24).
const OPEN_FILES: u64 = 1024;

/// Applies the limits. A hard limit that is lower already stays.
pub(super) fn apply(_spec: &Spec) -> Result<(), SandboxError> {
    let (_, hard) = system("read the limit of open files", getrlimit(Resource::RLIMIT_NOFILE))?;
    let soft = OPEN_FILES.min(hard);
    system("set the limit of open files", setrlimit(Resource::RLIMIT_NOFILE, soft, hard))
}
