//! Application Load Balancers, with single and with multiple values (8.6).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;

use super::answer::{BadResult, HttpAnswer, append, body, object, scalar, status};
use super::request::{self, Api, HttpRequest};
use super::{Trouble, base64_text};
use crate::limits::{MAX_ALB_ANSWER_HEAD_BYTES, MAX_ALB_BYTES, MAX_ALB_HEAD_BYTES, MAX_ALB_LINE_BYTES};

/// How a target group passes headers and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// The last one.
    Single,
    /// All of them.
    Multi,
}

type Map<'a, K> = Option<BTreeMap<K, String>>;
type MultiMap<'a, K> = Option<BTreeMap<K, Vec<String>>>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    request_context: Context,
    http_method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_string_parameters: Map<'a, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_query_string_parameters: MultiMap<'a, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Map<'a, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: MultiMap<'a, &'a str>,
    body: String,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
struct Context {
    elb: Elb,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Elb {
    target_group_arn: String,
}

/// HT-50, HT-51: queries are not decoded; nothing is absent for being empty.
pub(super) fn event(request: &HttpRequest<'_>, api: &Api, values: Values) -> Bytes {
    let text = is_text(request.content_type()) && !request.content_encoded();
    let (body, is_base64_encoded) = base64_text::encode(request.body, text);
    let (fields, parameters) = (request.fields(), request::gather(request.parameters(false)));
    let Api { region, account, name, .. } = api;
    let group =
        format!("arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/{name}/0123456789abcdef");
    let single = values == Values::Single;
    let event = Event {
        request_context: Context { elb: Elb { target_group_arn: group } },
        http_method: request.method.as_str(),
        path: request.raw_path(),
        query_string_parameters: single.then(|| request::last(&parameters)),
        headers: single.then(|| request::last(&fields)),
        multi_value_query_string_parameters: (!single).then_some(parameters),
        multi_value_headers: (!single).then_some(fields),
        body,
        is_base64_encoded,
    };
    serde_json::to_vec(&event).expect("texts serialise").into()
}

fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = ["", "application/json", "application/javascript", "application/xml"];
    essence.starts_with("text/") || known.contains(&essence.as_str())
}

/// LM-27: by the request line, one header, or all of them.
pub(super) fn is_too_large(uri: &Uri, headers: &HeaderMap) -> bool {
    let line = request::line_size(uri);
    let sizes = || headers.iter().map(size);
    line.max(sizes().max().unwrap_or_default()) > MAX_ALB_LINE_BYTES
        || line + sizes().sum::<usize>() > MAX_ALB_HEAD_BYTES
}

/// A header as a line: its name, a colon and a space, its value, the end.
fn size((name, value): (&HeaderName, &HeaderValue)) -> usize {
    name.as_str().len() + value.len() + 4
}

/// HT-52 to HT-54: only the members of the group's own mode are read.
pub(super) fn answer(result: &[u8], values: Values) -> Result<HttpAnswer, BadResult> {
    if result.len() > MAX_ALB_BYTES {
        return Err(BadResult::TooLarge);
    }
    let value: Value = serde_json::from_slice(result).map_err(|_| BadResult::NotJson)?;
    let Value::Object(fields) = value else { return Err(BadResult::NotAnObject) };
    let status = status(fields.get("statusCode").ok_or(BadResult::Status)?)?;
    let mut headers = HeaderMap::new();
    let name = if values == Values::Single { "headers" } else { "multiValueHeaders" };
    for (key, value) in object(&fields, name)?.into_iter().flatten() {
        match (values, value) {
            (_, Value::Null) => {}
            (Values::Multi, Value::Array(several)) => {
                for value in several {
                    append(
                        &mut headers,
                        key,
                        &scalar(value).ok_or(BadResult::WrongKind("multiValueHeaders"))?,
                    );
                }
            }
            (Values::Multi, _) => return Err(BadResult::WrongKind("multiValueHeaders")),
            (Values::Single, value) => {
                append(&mut headers, key, &scalar(value).ok_or(BadResult::WrongKind("headers"))?);
            }
        }
    }
    if headers.iter().map(size).sum::<usize>() > MAX_ALB_ANSWER_HEAD_BYTES {
        return Err(BadResult::TooLarge);
    }
    let body = match fields.get("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) => body(text, &fields)?,
        Some(_) => return Err(BadResult::WrongKind("body")),
    };
    Ok(HttpAnswer { status, headers, body })
}

/// HTML, as load balancers write it.
pub(super) fn trouble(trouble: Trouble) -> (StatusCode, &'static str, &'static str) {
    const HTML: &str = "text/html";
    macro_rules! page {
        ($title:literal) => {
            concat!(
                "<html>\r\n<head><title>",
                $title,
                "</title></head>\r\n<body>\r\n<center><h1>",
                $title,
                "</h1></center>\r\n</body>\r\n</html>\r\n"
            )
        };
    }
    match trouble {
        Trouble::Function => (StatusCode::BAD_GATEWAY, HTML, page!("502 Bad Gateway")),
        Trouble::Busy | Trouble::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, HTML, page!("503 Service Temporarily Unavailable"))
        }
        Trouble::Expired => (StatusCode::GATEWAY_TIMEOUT, HTML, page!("504 Gateway Time-out")),
        Trouble::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, HTML, page!("413 Request Entity Too Large")),
        Trouble::Unreadable | Trouble::HeadTooLarge => {
            (StatusCode::BAD_REQUEST, HTML, page!("400 Bad Request"))
        }
    }
}
