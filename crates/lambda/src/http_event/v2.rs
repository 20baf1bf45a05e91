//! Payload 2.0: Function URLs and API Gateway's HTTP APIs (8.1 to 8.3).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{BadResult, HttpAnswer, append, body, compact, cookies, object, scalar, status};
use super::request::{self, Api, DEFAULT_STAGE, HttpRequest};
use super::{Trouble, base64_text};
use crate::headers::JSON;

/// The two fronts that send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    FunctionUrl,
    HttpApi,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'static str,
    raw_path: String,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<String, String>,
    request_context: Context<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    account_id: &'a str,
    api_id: &'a str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: String,
    route_key: &'static str,
    stage: &'a str,
    time: String,
    time_epoch: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: String,
    protocol: &'static str,
    source_ip: &'a str,
    user_agent: &'a str,
}

const ROUTE: &str = "$default";

pub(super) fn event(request: &HttpRequest<'_>, api: &Api, flavour: Flavour) -> Bytes {
    let (domain_name, domain_prefix) = request.domain();
    let url = flavour == Flavour::FunctionUrl;
    let stage = if url { DEFAULT_STAGE } else { &api.stage };
    // A named stage is part of both paths (HT-03).
    let raw_path = match stage {
        DEFAULT_STAGE => request.raw_path().to_owned(),
        stage => format!("/{stage}{}", request.raw_path()),
    };
    let text = base64_text::is_text(request.content_type(), api.strict) && !request.content_encoded();
    let (body, is_base64_encoded) = base64_text::encode(request.body, text);
    let has_body = !request.body.is_empty();
    let mut fields = request.fields();
    if !url {
        fields.remove(COOKIE.as_str());
    } else if let Some(cookies) = fields.get_mut(COOKIE.as_str()) {
        *cookies = vec![cookies.join("; ")];
    }
    let event = Event {
        version: "2.0",
        route_key: ROUTE,
        raw_query_string: request.query,
        cookies: request.cookies(),
        headers: request::joined(&fields),
        query_string_parameters: request::joined(&request::gather(request.parameters(true))),
        request_context: Context {
            account_id: if url { "anonymous" } else { &api.account },
            api_id: domain_prefix,
            domain_name,
            domain_prefix,
            http: Http {
                method: request.method.as_str(),
                path: request::decode_path(&raw_path),
                protocol: request.protocol(),
                source_ip: request.source_ip,
                user_agent: request.user_agent(),
            },
            request_id: request.id.to_string(),
            route_key: ROUTE,
            stage,
            time: request.clf_time(),
            time_epoch: request.time.as_millisecond(),
        },
        raw_path,
        body: has_body.then_some(body),
        is_base64_encoded: has_body && is_base64_encoded,
    };
    serde_json::to_vec(&event).expect("texts and numbers serialise").into()
}

/// HT-14 to HT-22: an object with a status is an answer; everything else is a body by itself.
pub(super) fn answer(result: &[u8]) -> Result<HttpAnswer, BadResult> {
    match serde_json::from_slice(result).map_err(|_| BadResult::NotJson)? {
        Value::Object(fields) if fields.contains_key("statusCode") => {
            let mut answer = head(&fields)?;
            answer.body = match fields.get("body") {
                None | Some(Value::Null) => Bytes::new(),
                Some(Value::String(text)) => body(text, &fields)?,
                // HT-18: its JSON text.
                Some(other) => body(&other.to_string(), &fields)?,
            };
            Ok(answer)
        }
        Value::String(text) => Ok(HttpAnswer::json(text)),
        _ => Ok(HttpAnswer::json(compact(result))),
    }
}

/// HT-29, HT-30: status, headers and cookies are applied, the body is the whole JSON.
pub(super) fn answer_as_stream(result: &Bytes) -> Result<HttpAnswer, BadResult> {
    match serde_json::from_slice(result).map_err(|_| BadResult::NotJson)? {
        Value::Object(fields) if fields.contains_key("statusCode") => {
            Ok(HttpAnswer { body: result.clone(), ..head(&fields)? })
        }
        _ => Ok(HttpAnswer::json(result.clone())),
    }
}

fn head(fields: &Map<String, Value>) -> Result<HttpAnswer, BadResult> {
    let mut headers = HeaderMap::new();
    for (name, value) in object(fields, "headers")?.into_iter().flatten() {
        if !value.is_null() {
            append(&mut headers, name, &java_text(value));
        }
    }
    cookies(&mut headers, fields.get("cookies"))?;
    let status = status(fields.get("statusCode").unwrap_or(&Value::Null))?;
    let mut answer = HttpAnswer { status, headers, body: Bytes::new() };
    answer.default_type();
    Ok(answer)
}

/// A header's value; objects and arrays as Java prints them (HT-19).
fn java_text(value: &Value) -> String {
    let several = |texts: Vec<String>| texts.join(", ");
    match value {
        Value::Object(object) => {
            let pairs = object.iter().map(|(name, value)| format!("{name}={}", java_text(value)));
            format!("{{{}}}", several(pairs.collect()))
        }
        Value::Array(values) => format!("[{}]", several(values.iter().map(java_text).collect())),
        scalar_or_null => scalar(scalar_or_null).unwrap_or_else(|| "null".to_owned()),
    }
}

pub(super) fn trouble(trouble: Trouble, flavour: Flavour) -> (StatusCode, &'static str, &'static str) {
    let unavailable = r#"{"message":"Service Unavailable"}"#;
    match (trouble, flavour) {
        // Not JSON, whatever the type says: so it was recorded.
        (Trouble::Function, Flavour::FunctionUrl) => (StatusCode::BAD_GATEWAY, JSON, "Internal Server Error"),
        (Trouble::Function, Flavour::HttpApi) => {
            (StatusCode::INTERNAL_SERVER_ERROR, JSON, r#"{"message":"Internal Server Error"}"#)
        }
        (Trouble::Busy, _) | (Trouble::Expired, Flavour::FunctionUrl) => {
            let body =
                r#"{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#;
            (StatusCode::TOO_MANY_REQUESTS, JSON, body)
        }
        (Trouble::Expired, Flavour::HttpApi) | (Trouble::Unavailable, _) => {
            (StatusCode::SERVICE_UNAVAILABLE, JSON, unavailable)
        }
        (Trouble::TooLarge, _) => {
            (StatusCode::PAYLOAD_TOO_LARGE, JSON, r#"{"message":"Request Entity Too Large"}"#)
        }
        (Trouble::Unreadable, _) => (StatusCode::BAD_REQUEST, JSON, r#"{"message":"Bad Request"}"#),
    }
}
