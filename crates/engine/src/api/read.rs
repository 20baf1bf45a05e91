//! `get` and `list`.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    dispatch::{Call, json_response},
    error::{ApiError, Result},
    render::{self, Form},
    selector::Selector,
    table,
};
use crate::store::Object;

/// Where the next page of a list begins. Pages after the first show the present state, with the first page's
/// resource version: a watch from there delivers what changed in between.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    rv: u64,
    namespace: String,
    name: String,
}

/// `GET …/NAME`.
pub(crate) fn get(call: &Call) -> Result<Response> {
    let object = find(call)?;
    Ok(render::object(call, 200, object.json(), &[]))
}

/// The named object.
pub(crate) fn find(call: &Call) -> Result<Arc<Object>> {
    let found = call.api.store().get(&call.key(call.name()));
    found.ok_or_else(|| ApiError::not_found(call.resource, call.name()))
}

/// `GET …` of a collection.
pub(crate) fn list(call: &Call) -> Result<Response> {
    let selector = Selector::from_query(&call.query, call.resource)?;
    let page = call.api.store().list(call.resource.qualified(), call.namespace.as_deref());
    let limit: Option<usize> = call.query.number("limit")?.filter(|limit| *limit > 0);
    let start = call.query.get("continue").map(|token| parse_continue(call, token)).transpose()?;
    let revision = start.as_ref().map_or(page.revision, |s| s.rv);
    check_known(call, page.revision)?;
    let mut selected: Vec<Arc<Object>> = page.objects.into_iter().filter(|o| selector.matches(o)).collect();
    if let Some(start) = &start {
        let from = (start.namespace.as_str(), start.name.as_str());
        selected.retain(|o| (o.key().namespace.as_str(), o.key().name.as_str()) > from);
    }
    let total = selected.len();
    selected.truncate(limit.unwrap_or(total));
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(last) = selected.last().filter(|_| selected.len() < total) {
        let key = last.key();
        let token = Continue { rv: revision, namespace: key.namespace.clone(), name: key.name.clone() };
        let token = serde_json::to_vec(&token).map_err(ApiError::internal)?;
        metadata["continue"] = BASE64_URL_SAFE_NO_PAD.encode(token).into();
        metadata["remainingItemCount"] = (total - selected.len()).into();
    }
    Ok(json_response(200, body(call, &metadata, &selected)))
}

fn body(call: &Call, metadata: &Value, objects: &[Arc<Object>]) -> Bytes {
    let (kind, version) = match call.form {
        Form::Table => {
            return table::table(call.resource, metadata, objects.iter().map(AsRef::as_ref), call.include);
        }
        Form::Whole => (format!("{}List", call.resource.kind), call.resource.api_version()),
        Form::Partial => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
    };
    let mut text =
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":[")
            .into_bytes();
    for (n, object) in objects.iter().enumerate() {
        if n > 0 {
            text.push(b',');
        }
        match call.form {
            Form::Partial => text.extend_from_slice(render::partial(object.json()).to_string().as_bytes()),
            Form::Whole | Form::Table => text.extend_from_slice(object.json()),
        }
    }
    text.extend_from_slice(b"]}\n");
    text.into()
}

fn parse_continue(call: &Call, token: &str) -> Result<Continue> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let token: Continue = bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| ApiError::bad_request("continue key is not valid"))?;
    if token.rv < call.api.store().oldest_watchable() {
        return Err(ApiError::new(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter.",
        ));
    }
    Ok(token)
}

/// A revision that was never handed out cannot be served.
pub(crate) fn check_known(call: &Call, current: u64) -> Result<()> {
    let asked: Option<u64> = call.query.number("resourceVersion")?;
    match asked {
        Some(asked) if asked > current => Err(ApiError::new(
            504,
            "Timeout",
            format!("Too large resource version: {asked}, current: {current}"),
        )
        .with_details(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": Duration::from_secs(1).as_secs(),
        }))),
        _ => Ok(()),
    }
}
