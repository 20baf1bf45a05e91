//! `pods/log`: finds the container and streams what the node has.

use axum::{body::Body, response::Response};
use futures::{StreamExt, TryStreamExt};
use http::{HeaderValue, header};

use super::{
    container::{self, Place},
    dispatch::Call,
    error::{ApiError, Result},
};
use crate::node::{LogOptions, NodeError};

/// `GET …/pods/NAME/log`.
pub(crate) async fn logs(call: &Call) -> Result<Response> {
    let place = container::find(call)?;
    let options = options(call)?;
    if call.query.flag("previous") {
        let Place { container, .. } = &place;
        return Err(ApiError::bad_request(format!(
            "previous terminated container {:?} in pod {:?} not found",
            container.container, container.pod
        )));
    }
    place.check_has_log()?;
    let node = call.api.node()?;
    let name = place.container.container.clone();
    let stream = node.logs(place.container, options).await.map_err(|error| match error {
        NodeError::NotRunning(_) => ApiError::bad_request(format!("container {name:?} is not available")),
        other => ApiError::internal(other),
    })?;
    let stopping = call.api.stopping().clone().cancelled_owned();
    let body = Body::from_stream(stream.take_until(stopping).map_err(|error| {
        tracing::debug!(%error, "a log ended early");
        error
    }));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn options(call: &Call) -> Result<LogOptions> {
    let at_least = |name: &str, least: i64| -> Result<Option<i64>> {
        let value: Option<i64> = call.query.number(name)?;
        match value {
            Some(value) if value < least => Err(ApiError::new(
                422,
                "Invalid",
                format!(
                    "PodLogOptions.core \"{}\" is invalid: {name}: Invalid value: {value}: must be greater than or \
                     equal to {least}",
                    call.name()
                ),
            )),
            other => Ok(other),
        }
    };
    let unsigned = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
    Ok(LogOptions {
        follow: call.query.flag("follow"),
        tail_lines: unsigned(at_least("tailLines", 0)?),
        since_seconds: at_least("sinceSeconds", 1)?.or(since_time(call)?),
        timestamps: call.query.flag("timestamps"),
        limit_bytes: unsigned(at_least("limitBytes", 1)?),
    })
}

/// `sinceTime` as seconds before now.
fn since_time(call: &Call) -> Result<Option<i64>> {
    let Some(text) = call.query.get("sinceTime") else { return Ok(None) };
    let since: jiff::Timestamp =
        text.parse().map_err(|e| ApiError::bad_request(format!("parsing time {text:?} as RFC 3339: {e}")))?;
    Ok(Some((jiff::Timestamp::now().as_second() - since.as_second()).max(1)))
}
