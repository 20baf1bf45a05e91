//! What happened, told as Kubernetes, Knative and Tekton tell it: core/v1 Events, which `kubectl describe` and `tm describe`
//! show.
//!
//! The kubelet and the controllers [note](Recorder::note), which never waits; one task writes what was noted a moment
//! later, many at once, so that no request waits for an Event's place on the disk. The same Event again is counted
//! (client-go's correlator does so), there are at most a thousand, and the API forgets those older than an hour.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::NODE_NAME;

/// Most Events that are kept.
const LIMIT: usize = 1000;
/// Notes that may wait; further ones are dropped.
const QUEUE: usize = 512;
/// How long notes are gathered before they are written: longer than a cold start takes.
const GATHER: Duration = Duration::from_millis(500);
/// Writes on their way at a time: they share a transaction.
const AT_ONCE: usize = 64;
/// Longest message (Kubernetes: 1024).
const MESSAGE_LIMIT: usize = 1024;

/// Who tells, as in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// Chooses nodes.
    Scheduler,
    /// Runs pods.
    Kubelet,
    /// Knative's controller of that kind.
    Serving(&'static str),
    /// Tekton's controller.
    TaskRun,
    /// A part of Eventing, by its name.
    Eventing(&'static str),
}

/// Takes notes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Note>,
}

/// Writes what was noted.
#[derive(Debug)]
pub struct Writer {
    queue: mpsc::Receiver<Note>,
    known: HashMap<Name, i32>,
    order: VecDeque<Name>,
    limit: usize,
}

#[derive(Clone, Debug)]
struct Note {
    about: ObjectReference,
    warning: bool,
    reason: &'static str,
    message: String,
    from: Teller,
    at: Timestamp,
}

/// Namespace and name of an Event.
type Name = (String, String);

/// A recorder and its writer, which [`Writer::run`] starts.
#[must_use]
pub fn recorder() -> (Recorder, Writer) {
    let (queue, notes) = mpsc::channel(QUEUE);
    let writer = Writer { queue: notes, known: HashMap::new(), order: VecDeque::new(), limit: LIMIT };
    (Recorder { queue }, writer)
}

// === impl Recorder ===

impl Recorder {
    /// Notes that something happened. When too much happens at once it is dropped: Events are best effort.
    pub fn note<K>(&self, about: &K, from: Teller, reason: &'static str, message: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.send(about.object_ref(&()), from, false, reason, message.into());
    }

    /// Notes that something went wrong.
    pub fn warn<K>(&self, about: &K, from: Teller, reason: &'static str, message: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.send(about.object_ref(&()), from, true, reason, message.into());
    }

    fn send(
        &self,
        about: ObjectReference,
        from: Teller,
        warning: bool,
        reason: &'static str,
        message: String,
    ) {
        let message = message.chars().take(MESSAGE_LIMIT).collect();
        let note = Note { about, warning, reason, message, from, at: Timestamp::now() };
        if self.queue.try_send(note).is_err() {
            tracing::debug!(reason, "an event was dropped");
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Writes until `stop`, and then what was noted until then.
    pub async fn run(mut self, client: Client, stop: CancellationToken) {
        self.remember(&client).await;
        let mut open = true;
        while open {
            let first = tokio::select! {
                first = self.queue.recv() => first,
                () = stop.cancelled() => None,
            };
            open = first.is_some();
            if open {
                // An early end writes what is there.
                let _ = tokio::time::timeout(GATHER, stop.cancelled()).await;
            }
            let mut notes: Vec<Note> = first.into_iter().collect();
            while let Ok(note) = self.queue.try_recv() {
                notes.push(note);
            }
            self.write(&client, notes).await;
        }
    }

    /// What an earlier engine told counts too.
    async fn remember(&mut self, client: &Client) {
        let Ok(list) = Api::<Event>::all(client.clone()).list(&ListParams::default()).await else { return };
        let mut events = list.items;
        events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
        for event in events {
            let name = (event.namespace().unwrap_or_default(), event.name_any());
            self.known.insert(name.clone(), event.count.unwrap_or(1));
            self.order.push_back(name);
        }
    }

    async fn write(&mut self, client: &Client, notes: Vec<Note>) {
        let mut counts: HashMap<Name, i32> = HashMap::new();
        let mut last: Vec<(Name, Note)> = Vec::new();
        for note in notes {
            let name = note.name();
            *counts.entry(name.clone()).or_insert_with(|| self.known.get(&name).copied().unwrap_or(0)) += 1;
            match last.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.at = note.at,
                None => last.push((name, note)),
            }
        }
        let writes = last.into_iter().map(|(name, note)| {
            let (client, count) = (client.clone(), counts[&name]);
            async move { tell(&client, &name, &note, count).await }
        });
        futures::stream::iter(writes).buffer_unordered(AT_ONCE).collect::<()>().await;
        for (name, count) in counts {
            self.order.retain(|known| *known != name);
            self.order.push_back(name.clone());
            self.known.insert(name, count);
        }
        self.forget(client).await;
    }

    /// Removes the oldest beyond the limit.
    async fn forget(&mut self, client: &Client) {
        let many = self.order.len().saturating_sub(self.limit);
        let old: Vec<Name> = self.order.drain(..many).collect();
        for name in &old {
            self.known.remove(name);
        }
        let deletions = old.into_iter().map(|(namespace, name)| {
            let api = Api::<Event>::namespaced(client.clone(), &namespace);
            // It may have grown old and gone already.
            async move { drop(api.delete(&name, &DeleteParams::default()).await) }
        });
        futures::stream::iter(deletions).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

/// Writes one Event: counts it up, or makes it when it is new or was forgotten meanwhile.
async fn tell(client: &Client, (namespace, name): &Name, note: &Note, count: i32) {
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let known = count > 1;
    if known {
        let patch = json!({"count": count, "lastTimestamp": Time(note.at)});
        let params = PatchParams::default();
        match api.patch(name, &params, &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            _ => return,
        }
    }
    // The namespace may be going: then nobody wants to know.
    if let Err(error) = api.create(&PostParams::default(), &note.event(name, count)).await {
        tracing::debug!(%error, "an event was not written");
    }
}

// === impl Note ===

impl Note {
    /// The same for the same news about the same object.
    fn name(&self) -> Name {
        let mut hasher = DefaultHasher::new();
        (&self.about.uid, self.warning, self.reason, &self.message, self.from.component()).hash(&mut hasher);
        let object = self.about.name.as_deref().unwrap_or_default();
        let namespace = self.about.namespace.clone().unwrap_or_else(|| "default".into());
        (namespace, format!("{object}.{:016x}", hasher.finish()))
    }

    fn event(&self, name: &str, count: i32) -> Event {
        let node = matches!(self.from, Teller::Kubelet).then(|| NODE_NAME.to_owned());
        let component = self.from.component();
        Event {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some(self.about.namespace.clone().unwrap_or_else(|| "default".into())),
                ..ObjectMeta::default()
            },
            involved_object: self.about.clone(),
            reason: Some(self.reason.into()),
            message: Some(self.message.clone()),
            type_: Some(if self.warning { "Warning" } else { "Normal" }.into()),
            source: Some(EventSource { component: Some(component.clone()), host: node.clone() }),
            reporting_component: Some(component),
            reporting_instance: node,
            first_timestamp: Some(Time(self.at)),
            last_timestamp: Some(Time(self.at)),
            count: Some(count),
            ..Event::default()
        }
    }
}

// === impl Teller ===

impl Teller {
    fn component(self) -> String {
        match self {
            Self::Scheduler => "default-scheduler".into(),
            Self::Kubelet => "kubelet".into(),
            Self::Serving(kind) => format!("{kind}-controller"),
            Self::TaskRun => "TaskRun".into(),
            Self::Eventing(name) => name.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::api;

    fn pod(name: &str) -> Pod {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            namespace: Some("default".into()),
            uid: Some(format!("uid-{name}")),
            ..ObjectMeta::default()
        };
        Pod { metadata, ..Pod::default() }
    }

    #[tokio::test]
    async fn the_same_is_counted_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let api = api::Api::open(api::Options { state_dir: folder.path().into() }).await.expect("it opens");
        let client = api.client("default");
        let (recorder, mut writer) = recorder();
        writer.limit = 3;
        let mut told = async |notes: &[(&str, &'static str)]| {
            for (name, reason) in notes {
                recorder.note(&pod(name), Teller::Kubelet, reason, "m");
            }
            let mut taken = Vec::new();
            while let Ok(note) = writer.queue.try_recv() {
                taken.push(note);
            }
            writer.write(&client, taken).await;
            let list = Api::<Event>::all(client.clone()).list(&ListParams::default()).await.expect("a list");
            let mut all: Vec<_> = list
                .iter()
                .map(|event| {
                    let name = event.involved_object.name.clone().unwrap_or_default();
                    format!(
                        "{name} {} {}",
                        event.reason.clone().unwrap_or_default(),
                        event.count.unwrap_or(0)
                    )
                })
                .collect();
            all.sort();
            all
        };
        assert_eq!(
            told(&[("a", "BackOff"), ("a", "BackOff"), ("b", "Started")]).await,
            ["a BackOff 2", "b Started 1"]
        );
        assert_eq!(told(&[("a", "BackOff")]).await, ["a BackOff 3", "b Started 1"]);
        let last = told(&[("c", "Started"), ("d", "Started")]).await;
        assert_eq!(last.len(), 3, "{last:?}");
        assert!(!last.contains(&"b Started 1".to_owned()), "{last:?}");
    }
}
