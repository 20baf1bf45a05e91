//! The processes of external extensions. What they may call, and what they are told, is the session's business.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll};

use tm_lambda::RuntimeExit;

use super::Shared;
use crate::logs::{Speaker, Voice};
use crate::process::children::Child;
use crate::process::{LaunchError, Started};
use crate::runtime_api::{Entry, Link};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct External(Vec<Process>);

#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
    exited: bool,
    /// Its place in the shared Runtime API, where there is one.
    _entry: Option<Entry>,
}

// === impl External ===

impl External {
    /// Starts one for worker `index`; gives its output.
    pub(super) fn start(
        &mut self,
        shared: &Shared,
        path: &Path,
        index: usize,
        api: SocketAddr,
        link: &Link,
    ) -> Result<Voice, LaunchError> {
        let Started { child, pipes } = shared.launcher.start_extension(path, index, api)?;
        let entry = shared.api.as_ref().map(|api| api.enter(child.pid(), index, link.clone()));
        self.0.push(Process { name: name_of(path), child, exited: false, _entry: entry });
        Ok(Voice { speaker: Speaker::Extension, pipes })
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the end of any; for ever where none runs.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn exited(&mut self) -> (String, RuntimeExit) {
        poll_fn(|context| self.poll_exited(context)).await
    }

    fn poll_exited(&mut self, context: &mut Context<'_>) -> Poll<(String, RuntimeExit)> {
        for process in self.0.iter_mut().filter(|process| !process.exited) {
            if let Poll::Ready(exit) = pin!(process.child.exited()).poll(context) {
                process.exited = true;
                return Poll::Ready((process.name.clone(), exit));
            }
        }
        Poll::Pending
    }

    /// Whether all of them have ended.
    pub(super) fn all_exited(&self) -> bool {
        self.0.iter().all(|process| process.exited)
    }

    /// The numbers of those that run.
    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        self.0.iter().filter(|process| !process.exited).map(|process| process.child.pid())
    }

    /// Ends those for which `doomed` says so, with their groups.
    pub(super) fn kill(&self, doomed: impl Fn(&str) -> bool) {
        for process in self.0.iter().filter(|process| !process.exited && doomed(&process.name)) {
            process.child.kill();
        }
    }
}

/// EX-01: an extension's name is that of its file.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
