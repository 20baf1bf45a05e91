//! EN-24: what a process of the function may have open.

/// LM-12: descriptors, and never more than the shim itself may have. Processes and threads are left alone: the kernel counts them for
/// the user as a whole, with all workers and whatever else runs as that user.
///
/// Set from outside as soon as the process is there, which is before its program gets to do anything.
#[cfg(target_os = "linux")]
pub(super) fn of_function(pid: i32) {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    use tm_lambda::limits::MAX_DESCRIPTORS;

    let ours = getrlimit(Resource::Nofile);
    let lowered =
        |limit: Option<u64>| Some(limit.map_or(MAX_DESCRIPTORS, |limit| limit.min(MAX_DESCRIPTORS)));
    let limit = Rlimit { current: lowered(ours.current), maximum: lowered(ours.maximum) };
    if let Err(error) = prlimit(Pid::from_raw(pid), Resource::Nofile, limit) {
        tracing::debug!(%error, pid, "the limit of descriptors could not be set");
    }
}

/// Elsewhere than on Linux nobody sets another process's limits.
#[cfg(not(target_os = "linux"))]
pub(super) fn of_function(_: i32) {}
