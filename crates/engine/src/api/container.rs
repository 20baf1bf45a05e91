//! Which container of a pod a log or an exec is about, and whether it can be had.

use serde_json::Value;

use super::{
    dispatch::Call,
    error::{ApiError, Result},
    object, read,
};
use crate::node::ContainerRef;

/// A container and the pod it is in.
pub(crate) struct Place {
    pub(crate) container: ContainerRef,
    pod: Value,
}

/// Finds the container a request names, or the only one.
pub(crate) fn find(call: &Call) -> Result<Place> {
    let object = read::find(call)?;
    let pod = object.value();
    let name = match call.query.get("container") {
        Some(name) => known(&pod, name)?,
        None => only(&pod)?,
    };
    let container = ContainerRef {
        namespace: object.key().namespace.clone(),
        pod: object.key().name.clone(),
        uid: object.uid().to_owned(),
        container: name,
    };
    Ok(Place { container, pod })
}

fn known(pod: &Value, name: &str) -> Result<String> {
    let found = ["containers", "initContainers"].iter().any(|list| names(pod, list).contains(&name));
    if found {
        return Ok(name.to_owned());
    }
    Err(ApiError::bad_request(format!("container {name} is not valid for pod {}", object::name(pod))))
}

fn only(pod: &Value) -> Result<String> {
    let all = names(pod, "containers");
    if let [one] = all.as_slice() {
        return Ok((*one).to_owned());
    }
    let mut message = format!(
        "a container name must be specified for pod {}, choose one of: [{}]",
        object::name(pod),
        all.join(" ")
    );
    let init = names(pod, "initContainers");
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    Err(ApiError::bad_request(message))
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let containers = pod["spec"][list].as_array();
    containers.into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

// === impl Place ===

impl Place {
    /// A container that has not started has no log yet.
    pub(crate) fn check_has_log(&self) -> Result<()> {
        let (name, pod) = (&self.container.container, &self.container.pod);
        let Some(status) = self.status() else {
            return Err(ApiError::bad_request(format!("container {name:?} in pod {pod:?} is not available")));
        };
        match status.pointer("/state/waiting") {
            Some(waiting) if status.pointer("/lastState/terminated").is_none() => {
                let reason = object::text(waiting, "/reason").unwrap_or_default();
                let message = format!("container {name:?} in pod {pod:?} is waiting to start: {reason}");
                Err(ApiError::bad_request(message))
            }
            _ => Ok(()),
        }
    }

    /// Commands run in running containers only.
    pub(crate) fn check_runs(&self) -> Result<()> {
        let phase = object::text(&self.pod, "/status/phase").unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            return Err(ApiError::bad_request(format!(
                "cannot exec into a container in a completed pod; current phase is {phase}"
            )));
        }
        match self.status() {
            Some(status) if status.pointer("/state/running").is_some() => Ok(()),
            _ => Err(self.not_found()),
        }
    }

    /// The container does not run.
    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::bad_request(format!("container not found ({:?})", self.container.container))
    }

    fn status(&self) -> Option<&Value> {
        ["containerStatuses", "initContainerStatuses"].iter().find_map(|list| {
            let statuses = self.pod["status"][list].as_array()?;
            statuses.iter().find(|status| status["name"] == self.container.container.as_str())
        })
    }
}
