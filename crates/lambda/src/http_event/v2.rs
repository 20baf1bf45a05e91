//! Payload 2.0: Function URLs and API Gateway's HTTP APIs (8.1 to 8.3).

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
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

/// What a function gave. Only what becomes status and headers is looked into; the rest is passed on as it was written, whatever
/// its numbers and its depth.
enum Given<'a> {
    /// An answer of its own: all members but the body, and the body.
    Answer(Map<String, Value>, Option<&'a RawValue>),
    /// A text.
    Text(String),
    /// Any other JSON.
    Other,
}

// === impl Given ===

impl<'a> Given<'a> {
    fn read(result: &'a [u8]) -> Result<Self, BadResult> {
        let json: &RawValue = parse(result)?;
        match json.get().as_bytes().first() {
            Some(b'"') => Ok(Self::Text(parse(result)?)),
            Some(b'{') => {
                let mut members: BTreeMap<String, &RawValue> = parse(result)?;
                if !members.contains_key("statusCode") {
                    return Ok(Self::Other);
                }
                let body = members.remove("body");
                members.retain(|name, _| MEMBERS.contains(&name.as_str()));
                let parsed =
                    members.into_iter().map(|(name, value)| Ok((name, parse(value.get().as_bytes())?)));
                Ok(Self::Answer(parsed.collect::<Result<_, BadResult>>()?, body))
            }
            _ => Ok(Self::Other),
        }
    }
}

/// What an answer has beside its body.
const MEMBERS: [&str; 4] = ["statusCode", "headers", "cookies", "isBase64Encoded"];

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, BadResult> {
    serde_json::from_slice(json).map_err(|_| BadResult::NotJson)
}

/// HT-14 to HT-22: an object with a status is an answer; everything else is a body by itself.
pub(super) fn answer(result: &[u8]) -> Result<HttpAnswer, BadResult> {
    match Given::read(result)? {
        Given::Answer(fields, given) => {
            let mut answer = head(&fields)?;
            answer.body = match given.map(RawValue::get) {
                None | Some("null") => Bytes::new(),
                Some(json) if json.starts_with('"') => {
                    body(&parse::<Cow<'_, str>>(json.as_bytes())?, &fields)?
                }
                // HT-18: its JSON text.
                Some(json) => body(&String::from_utf8_lossy(&compact(json.as_bytes())), &fields)?,
            };
            Ok(answer)
        }
        Given::Text(text) => Ok(HttpAnswer::json(text)),
        Given::Other => Ok(HttpAnswer::json(compact(result))),
    }
}

/// HT-29, HT-30: status, headers and cookies are applied, the body is the whole JSON.
pub(super) fn answer_as_stream(result: &Bytes) -> Result<HttpAnswer, BadResult> {
    match Given::read(result)? {
        Given::Answer(fields, _) => Ok(HttpAnswer { body: result.clone(), ..head(&fields)? }),
        Given::Text(_) | Given::Other => Ok(HttpAnswer::json(result.clone())),
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
        (Trouble::HeadTooLarge, _) => {
            let body = r#"{"message":"Request Header Fields Too Large"}"#;
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, JSON, body)
        }
        (Trouble::Unreadable, _) => (StatusCode::BAD_REQUEST, JSON, r#"{"message":"Bad Request"}"#),
    }
}
