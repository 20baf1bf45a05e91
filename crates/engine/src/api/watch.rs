//! `watch`: what is there, then every change, without a gap.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    catalog::Resource,
    dispatch::{Call, json_response},
    error::{ApiError, Result},
    read,
    render::{self, Form},
    selector::Selector,
    table,
};
use crate::store::{Event, EventKind, Object, Watcher};

/// How long a watch lasts when the client does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Longest watch a client can ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Time between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// One watch in progress.
struct Watch {
    resource: &'static Resource,
    form: Form,
    include: table::Include,
    first_table: bool,
    selector: Selector,
    watcher: Watcher,
    initial: VecDeque<Arc<Object>>,
    initial_bookmark: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    stopping: CancellationToken,
    done: bool,
}

/// Answers with the stream of events.
pub(crate) fn watch(call: Call) -> Result<Response> {
    let watch = Watch::start(&call)?;
    let events = stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), watch))
    });
    Ok(json_response(200, Body::from_stream(events)))
}

// === impl Watch ===

impl Watch {
    fn start(call: &Call) -> Result<Self> {
        let store = call.api.store();
        let resource = call.resource.qualified();
        let namespace = call.namespace.as_deref();
        let selector = Selector::from_query(&call.query, call.resource)?;
        let page = store.list(resource, namespace);
        read::check_known(call, page.revision)?;
        let asked: u64 = call.query.number("resourceVersion")?.unwrap_or(0);
        let send_initial = call.query.flag("sendInitialEvents");
        let from_now = asked == 0 || send_initial;
        let revision = if from_now { page.revision } else { asked };
        let watcher = store.watch(Some(resource), namespace, revision).map_err(ApiError::expired)?;
        let wanted = |o: &Arc<Object>| from_now && selector.matches(o);
        let initial = page.objects.into_iter().filter(wanted).collect();
        let bookmarks = call.query.flag("allowWatchBookmarks");
        let timeout = call.query.number("timeoutSeconds")?.filter(|s| *s > 0).map(Duration::from_secs);
        let now = Instant::now();
        Ok(Self {
            resource: call.resource,
            form: call.form,
            include: call.include,
            first_table: true,
            selector,
            watcher,
            initial,
            initial_bookmark: send_initial && bookmarks,
            bookmarks,
            next_bookmark: now + BOOKMARK_EVERY,
            deadline: now + timeout.unwrap_or(DEFAULT_TIMEOUT).min(MAX_TIMEOUT),
            stopping: call.api.stopping().clone(),
            done: false,
        })
    }

    /// The next line of the stream; `None` ends it.
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        if let Some(object) = self.initial.pop_front() {
            return Some(self.object_line("ADDED", object.json()));
        }
        if std::mem::take(&mut self.initial_bookmark) {
            return Some(self.bookmark(true));
        }
        loop {
            let event = tokio::select! {
                event = self.watcher.next() => event,
                () = sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    return Some(self.bookmark(false));
                }
                () = sleep_until(self.deadline) => {
                    self.done = true;
                    return self.bookmarks.then(|| self.bookmark(false));
                }
                () = self.stopping.cancelled() => return None,
            };
            match event {
                Ok(event) => {
                    if let Some(line) = self.render(&event) {
                        return Some(line);
                    }
                }
                Err(expired) => {
                    self.done = true;
                    let status = ApiError::expired(expired).status().to_string();
                    return Some(self.line("ERROR", status.as_bytes()));
                }
            }
        }
    }

    /// An event as the selector sees it: an object can come into the selection and leave it by being changed.
    fn render(&mut self, event: &Event) -> Option<Bytes> {
        let is = event.kind != EventKind::Deleted && self.selector.matches(&event.object);
        let was = event.previous.as_ref().is_some_and(|previous| self.selector.matches(previous));
        match (was, is) {
            (false, false) => None,
            (false, true) => Some(self.object_line("ADDED", event.object.json())),
            (true, true) => Some(self.object_line("MODIFIED", event.object.json())),
            (true, false) if event.kind == EventKind::Deleted => {
                Some(self.object_line("DELETED", event.object.json()))
            }
            (true, false) => {
                let mut left = event.previous.as_ref()?.value();
                left["metadata"]["resourceVersion"] = event.object.revision().to_string().into();
                Some(self.object_line("DELETED", left.to_string().as_bytes()))
            }
        }
    }

    /// An event about an object, in the form the client asked for.
    fn object_line(&mut self, kind: &str, json: &[u8]) -> Bytes {
        match self.form {
            Form::Whole => self.line(kind, json),
            Form::Partial => self.line(kind, render::partial(json).to_string().as_bytes()),
            Form::Table => {
                let first = std::mem::take(&mut self.first_table);
                self.line(kind, &table::single(self.resource, json, self.include, first))
            }
        }
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.watcher.revision().to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, version) = match self.form {
            Form::Partial => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            Form::Whole | Form::Table => (self.resource.kind, self.resource.api_version()),
        };
        let object: Value = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        self.line("BOOKMARK", object.to_string().as_bytes())
    }

    fn line(&self, kind: &str, object: &[u8]) -> Bytes {
        let mut line = Vec::with_capacity(object.len() + 40);
        line.extend_from_slice(b"{\"type\":\"");
        line.extend_from_slice(kind.as_bytes());
        line.extend_from_slice(b"\",\"object\":");
        line.extend_from_slice(object);
        line.extend_from_slice(b"}\n");
        line.into()
    }
}
