//! Controllers: what Knative's and Tekton's do in a cluster, over the same API.
//!
//! They are ordinary `kube-runtime` controllers and know nothing of the engine but its API, the image resolver and the
//! autoscaler's wishes. Each is a task owned by [`run`].

mod configuration;
mod context;
mod pingsource;
mod revision;
mod route;
mod service;
mod taskrun;

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action, Error as ControllerError},
        reflector::{ObjectRef, reflector, store},
        watcher::{Config, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

pub(crate) use context::is_local;
pub use context::{Context, Domain, RevisionRef};
use k8s_openapi::api::core::v1::Pod;
pub(crate) use pingsource::{Pings, Post};
pub(crate) use route::is_cluster_local;
use tm_resources::{
    serving::{Configuration, Revision, Route, Service},
    sources::PingSource,
    tekton::TaskRun,
};

/// How long after a failed reconciliation the object is looked at again.
const RETRY: Duration = Duration::from_secs(1);

/// A reconciliation that failed; it is logged and tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API refused or did not answer.
    #[error("the API refused")]
    Api(#[from] kube::Error),
    /// An object cannot be written as JSON.
    #[error("failed to serialise an object")]
    Json(#[from] serde_json::Error),
}

/// Runs all controllers until `stop`. `scale` names Revisions whose wanted number of pods changed.
pub async fn run(context: Arc<Context>, scale: mpsc::Receiver<RevisionRef>, stop: CancellationToken) {
    let client = context.client.clone();
    let config = Config::default;
    let mut tasks = JoinSet::new();

    let services = Controller::new(Api::<Service>::all(client.clone()), config())
        .owns(Api::<Configuration>::all(client.clone()), config())
        .owns(Api::<Route>::all(client.clone()), config());
    tasks.spawn(drive("service", services, service::reconcile, nothing, Arc::clone(&context), stop.clone()));

    let configurations = Controller::new(Api::<Configuration>::all(client.clone()), config())
        .owns(Api::<Revision>::all(client.clone()), config());
    tasks.spawn(drive(
        "configuration",
        configurations,
        configuration::reconcile,
        nothing,
        Arc::clone(&context),
        stop.clone(),
    ));

    let wished = ReceiverStream::new(scale)
        .map(|revision: RevisionRef| ObjectRef::<Revision>::new(&revision.name).within(&revision.namespace));
    let revisions = with_deleted(Api::<Revision>::all(client.clone()))
        .owns(Api::<Pod>::all(client.clone()), config().labels(tm_resources::labels::serving::REVISION))
        .reconcile_on(wished);
    let gone = {
        let autoscaler = Arc::clone(&context.autoscaler);
        move |namespace: String, name: String| autoscaler.forget(&RevisionRef { namespace, name })
    };
    tasks.spawn(drive("revision", revisions, revision::reconcile, gone, Arc::clone(&context), stop.clone()));

    let routes = Controller::new(Api::<Route>::all(client.clone()), config())
        .watches(Api::<Configuration>::all(client.clone()), config(), route::of_configuration)
        .watches(Api::<Revision>::all(client.clone()), config(), route::of_revision);
    tasks.spawn(drive("route", routes, route::reconcile, nothing, Arc::clone(&context), stop.clone()));

    let pings = with_deleted(Api::<PingSource>::all(client.clone()));
    let (of_service, of_route) = (pings.store(), pings.store());
    let pings = pings
        .watches(Api::<Service>::all(client.clone()), config(), move |sink| {
            pingsource::of(&of_service, &sink)
        })
        .watches(Api::<Route>::all(client.clone()), config(), move |sink| pingsource::of(&of_route, &sink));
    let gone = {
        let context = Arc::clone(&context);
        move |namespace: String, name: String| context.pings.stop(&(namespace, name))
    };
    tasks.spawn(drive("pingsource", pings, pingsource::reconcile, gone, Arc::clone(&context), stop.clone()));

    let runs = Controller::new(Api::<TaskRun>::all(client.clone()), config())
        .owns(Api::<Pod>::all(client), config().labels(tm_resources::labels::tekton::TASK_RUN));
    tasks.spawn(drive("taskrun", runs, taskrun::reconcile, nothing, context, stop));

    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a controller failed");
        }
    }
}

/// A controller that also looks when an object is deleted, so that `gone` hears of it: kube's own looks at what is there.
fn with_deleted<K>(api: Api<K>) -> Controller<K>
where
    K: Clone + Resource<DynamicType = ()> + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let objects = reflector(writer, watcher(api, Config::default())).touched_objects();
    Controller::for_stream(objects, reader)
}

/// What most controllers do about an object that is gone.
fn nothing(_namespace: String, _name: String) {}

/// Runs one controller and logs what goes wrong; `gone` hears namespace and name of each object that was deleted.
async fn drive<K, F, Fut>(
    name: &'static str,
    controller: Controller<K>,
    reconcile: F,
    gone: impl Fn(String, String),
    context: Arc<Context>,
    stop: CancellationToken,
) where
    K: Clone + Resource<DynamicType = ()> + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Default,
    F: FnMut(Arc<K>, Arc<Context>) -> Fut + Send,
    Fut: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let on_error = |_: Arc<K>, _: &ReconcileError, _: Arc<Context>| Action::requeue(RETRY);
    controller
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(reconcile, on_error, context)
        .for_each(|result| {
            match result {
                Ok(_) => {}
                Err(ControllerError::ObjectNotFound(object)) => {
                    gone(object.namespace.unwrap_or_default(), object.name)
                }
                Err(error) if conflict(&error) => {
                    tracing::debug!(name, %error, "a write was stale; it is repeated")
                }
                Err(error) => {
                    tracing::warn!(name, error = &error as &dyn std::error::Error, "reconciliation failed")
                }
            }
            std::future::ready(())
        })
        .await;
}

fn conflict<Q: std::error::Error>(error: &ControllerError<ReconcileError, Q>) -> bool {
    let ControllerError::ReconcilerFailed(error, _) = error else { return false };
    matches!(error, ReconcileError::Api(kube::Error::Api(status)) if status.code == 409)
}
