//! Payload 1.0: API Gateway's REST APIs with proxy integration (8.4, 8.5).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{BadResult, HttpAnswer, append, body, object, scalar, status};
use super::request::{self, Api, DEFAULT_STAGE, HttpRequest};
use super::{Trouble, base64_text};
use crate::headers::JSON;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    resource: &'static str,
    path: String,
    http_method: &'a str,
    headers: BTreeMap<String, String>,
    multi_value_headers: BTreeMap<String, Vec<String>>,
    query_string_parameters: Option<BTreeMap<String, String>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Vec<String>>>,
    path_parameters: Option<PathParameters>,
    stage_variables: Option<()>,
    request_context: Context<'a>,
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
struct PathParameters {
    proxy: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    account_id: &'a str,
    api_id: &'a str,
    deployment_id: &'static str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    extended_request_id: String,
    http_method: &'a str,
    identity: Identity<'a>,
    path: String,
    protocol: &'static str,
    request_id: String,
    request_time: String,
    request_time_epoch: i64,
    resource_id: &'static str,
    resource_path: &'static str,
    stage: &'a str,
}

/// HT-38: all keys are there; only two are known.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    access_key: Option<()>,
    account_id: Option<()>,
    caller: Option<()>,
    cognito_authentication_provider: Option<()>,
    cognito_authentication_type: Option<()>,
    cognito_identity_id: Option<()>,
    cognito_identity_pool_id: Option<()>,
    principal_org_id: Option<()>,
    source_ip: &'a str,
    user: Option<()>,
    user_agent: &'a str,
    user_arn: Option<()>,
}

pub(super) fn event(request: &HttpRequest<'_>, api: &Api) -> Bytes {
    let (domain_name, domain_prefix) = request.domain();
    let full = request.raw_path();
    // HT-35: slashes at the beginning become one here, and stay in the context.
    let path = format!("/{}", full.trim_start_matches('/'));
    let proxy = path.trim_matches('/').to_owned();
    let resource = if proxy.is_empty() { "/" } else { "/{proxy+}" };
    let id = request.id.to_string();
    let text = !base64_text::matches(request.content_type(), &api.binary_types);
    let (body, is_base64_encoded) = base64_text::encode(request.body, text);
    let has_body = !request.body.is_empty();
    let fields = headers(request);
    let parameters = request::gather(request.parameters(true));
    let some = !parameters.is_empty();
    let event = Event {
        resource,
        http_method: request.method.as_str(),
        headers: request::last(&fields),
        multi_value_headers: fields,
        query_string_parameters: some.then(|| request::last(&parameters)),
        multi_value_query_string_parameters: some.then_some(parameters),
        path_parameters: (!proxy.is_empty()).then_some(PathParameters { proxy }),
        stage_variables: None,
        request_context: Context {
            account_id: &api.account,
            api_id: domain_prefix,
            deployment_id: "deployment",
            domain_name,
            domain_prefix,
            extended_request_id: format!("{}=", &id[..15]),
            http_method: request.method.as_str(),
            identity: Identity {
                source_ip: request.source_ip,
                user_agent: request.user_agent(),
                ..Identity::default()
            },
            path: match api.stage.as_str() {
                DEFAULT_STAGE => full.to_owned(),
                stage => format!("/{stage}{full}"),
            },
            protocol: request.protocol(),
            request_id: id,
            request_time: request.clf_time(),
            request_time_epoch: request.time.as_millisecond(),
            resource_id: "resource",
            resource_path: resource,
            stage: &api.stage,
        },
        path,
        body: has_body.then_some(body),
        is_base64_encoded: has_body && is_base64_encoded,
    };
    serde_json::to_vec(&event).expect("texts and numbers serialise").into()
}

/// HT-36, HT-40: names in Title-Case, as hyper does not keep the caller's own; without the length of the body.
fn headers(request: &HttpRequest<'_>) -> BTreeMap<String, Vec<String>> {
    let fields = request.fields().into_iter().filter(|(name, _)| *name != "content-length");
    fields.map(|(name, values)| (title_case(name), values)).collect()
}

fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

const KEYS: [&str; 5] = ["statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"];

/// HT-41 to HT-47.
pub(super) fn answer(result: &[u8]) -> Result<HttpAnswer, BadResult> {
    let value: Value = serde_json::from_slice(result).map_err(|_| BadResult::NotJson)?;
    let Value::Object(fields) = value else { return Err(BadResult::NotAnObject) };
    if let Some(foreign) = fields.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(BadResult::ForeignKey(foreign.clone()));
    }
    let status = match fields.get("statusCode") {
        None | Some(Value::Null) => StatusCode::OK,
        Some(value) => status(value)?,
    };
    let headers = merged(&fields)?;
    let body = match fields.get("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) => body(text, &fields)?,
        Some(_) => return Err(BadResult::WrongKind("body")),
    };
    let mut answer = HttpAnswer { status, headers, body };
    answer.default_type();
    Ok(answer)
}

/// HT-44, HT-45: the multiple values first.
fn merged(fields: &Map<String, Value>) -> Result<HeaderMap, BadResult> {
    let mut headers = HeaderMap::new();
    for (name, values) in object(fields, "multiValueHeaders")?.into_iter().flatten() {
        let values = values.as_array().ok_or(BadResult::WrongKind("multiValueHeaders"))?;
        for value in values {
            append(&mut headers, name, &scalar(value).ok_or(BadResult::WrongKind("multiValueHeaders"))?);
        }
    }
    for (name, value) in object(fields, "headers")?.into_iter().flatten() {
        if !value.is_null() {
            append(&mut headers, name, &scalar(value).ok_or(BadResult::WrongKind("headers"))?);
        }
    }
    Ok(headers)
}

/// HT-48.
pub(super) fn trouble(trouble: Trouble) -> (StatusCode, &'static str, &'static str) {
    match trouble {
        Trouble::Function => (StatusCode::BAD_GATEWAY, JSON, r#"{"message":"Internal server error"}"#),
        Trouble::Busy => (StatusCode::TOO_MANY_REQUESTS, JSON, r#"{"message":"Too Many Requests"}"#),
        Trouble::Expired => {
            (StatusCode::GATEWAY_TIMEOUT, JSON, r#"{"message":"Endpoint request timed out"}"#)
        }
        Trouble::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, JSON, r#"{"message":"Service Unavailable"}"#)
        }
        Trouble::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, JSON, r#"{"message":"Request Too Long"}"#),
        Trouble::HeadTooLarge => {
            let body = r#"{"message":"Request Header Fields Too Large"}"#;
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, JSON, body)
        }
        Trouble::Unreadable => (StatusCode::BAD_REQUEST, JSON, r#"{"message":"Bad Request"}"#),
    }
}
