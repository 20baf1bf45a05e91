//! Requests as API Gateway, Function URLs and load balancers pass them on; the words are in [`tm_lambda::http_event`].

use std::net::IpAddr;

use ::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tm_lambda::http_event::{Api, HttpAnswer, HttpFormat, HttpRequest, Trouble};
use tm_lambda::{RequestId, TraceId, headers};
use tm_serve::Peer;

use super::{Arrived, Refusal};
use crate::config::Front;
use crate::front::answer;
use crate::front::outgoing::Body;
use crate::invocation::{Context, Event, Outcome, ResultBody, Whole};

/// One front of AWS's.
#[derive(Debug)]
pub(crate) struct Http {
    format: HttpFormat,
    api: Api,
    trusted_proxies: usize,
    /// Whether callers get streams as streams; a Function URL then treats other results in its own way.
    streams: bool,
}

const FORWARDED_FOR: &str = "x-forwarded-for";

// === impl Http ===

impl Http {
    pub(super) fn new(format: HttpFormat, config: &Front) -> Self {
        let Front { api, trusted_proxies, streams, .. } = config;
        Self { format, api: api.clone(), trusted_proxies: *trusted_proxies, streams: *streams }
    }

    pub(super) fn max_body_bytes(&self) -> usize {
        self.format.max_body_bytes()
    }

    /// The answer for a request whose head the front does not take.
    pub(super) fn refusal(&self, id: RequestId, parts: &Parts) -> Option<Response<Body>> {
        Some(self.trouble(id, self.format.refuses(&parts.uri, &parts.headers)?))
    }

    pub(super) fn event(&self, request: &Arrived, arn: HeaderValue) -> (Event, Context) {
        let Arrived { id, parts, body, time, peer, trace } = request;
        let body = self.format.event(
            &HttpRequest {
                method: &parts.method,
                path: parts.uri.path(),
                query: parts.uri.query().unwrap_or_default(),
                version: parts.version,
                headers: &parts.headers,
                body,
                id: *id,
                time: *time,
                source_ip: &self.source_ip(&parts.headers, *peer),
                trace: &trace.as_ref().map(TraceId::root).unwrap_or_default(),
            },
            &self.api,
        );
        let event = Event { body, content_type: HeaderValue::from_static(headers::JSON) };
        (event, Context { trace: request.told_trace(), ..Context::of(arn) })
    }

    pub(super) fn answer(&self, id: RequestId, outcome: Outcome) -> Response<Body> {
        match outcome {
            Outcome::Success(ResultBody::Whole(whole)) => self.result(id, &whole),
            // HT-31.
            Outcome::Failed(error)
                if self.streams && self.format == HttpFormat::FunctionUrl && error.is_reported() =>
            {
                answer::with(id, StatusCode::OK, error.content_type(), error.payload().clone())
            }
            Outcome::Failed(_) | Outcome::TimedOut(_) | Outcome::Stopped(_) => {
                self.trouble(id, Trouble::Function)
            }
            Outcome::Expired(_) => self.trouble(id, Trouble::Expired),
            // Streams are answered before it comes to this.
            Outcome::Stopping | Outcome::Success(ResultBody::Stream(_)) => {
                self.trouble(id, Trouble::Unavailable)
            }
        }
    }

    pub(super) fn refuse(&self, id: RequestId, refusal: Refusal) -> Response<Body> {
        let trouble = match refusal {
            Refusal::TooLarge => Trouble::TooLarge,
            Refusal::Incomplete | Refusal::TooSlow => Trouble::Unreadable,
            Refusal::Full => Trouble::Busy,
            Refusal::NoAnswer => Trouble::Expired,
        };
        self.trouble(id, trouble)
    }

    fn result(&self, id: RequestId, whole: &Whole) -> Response<Body> {
        if whole.stream.is_some() {
            // A raw stream that was collected has no form but its bytes (HT-34).
            return answer::with(id, StatusCode::OK, headers::OCTET_STREAM, whole.bytes.clone());
        }
        let answer = if self.streams {
            self.format.answer_as_stream(&whole.bytes)
        } else {
            self.format.answer(&whole.bytes)
        };
        match answer {
            Ok(answer) => self.respond(id, answer),
            Err(error) => {
                tracing::warn!(%id, %error, "the function's result is no HTTP answer");
                self.trouble(id, Trouble::Function)
            }
        }
    }

    fn respond(&self, id: RequestId, answer: HttpAnswer) -> Response<Body> {
        let HttpAnswer { status, headers: fields, body } = answer;
        let mut response = answer::with(id, status, headers::OCTET_STREAM, body);
        response.headers_mut().remove(CONTENT_TYPE);
        let fields = if self.api.strict { remapped(fields) } else { fields };
        answer::add(response.headers_mut(), fields);
        response
    }

    fn trouble(&self, id: RequestId, trouble: Trouble) -> Response<Body> {
        let (status, content_type, body) = self.format.trouble(trouble);
        let mut response = answer::with(id, status, content_type, body);
        let fields = response.headers_mut();
        match trouble {
            // Part of the body may be unread.
            Trouble::TooLarge => drop(fields.insert(CONNECTION, HeaderValue::from_static("close"))),
            Trouble::Busy | Trouble::Unavailable => {
                fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Trouble::Function if self.format == HttpFormat::ApiGatewayV1 => {
                let name = HeaderValue::from_static("InternalServerErrorException");
                fields.insert(headers::AMZN_ERROR_TYPE, name);
            }
            _ => {}
        }
        response
    }

    /// HT-12: the entry that the outermost trusted proxy wrote, else the connection's address.
    fn source_ip(&self, headers: &HeaderMap, peer: Peer) -> String {
        let chain: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(str::trim))
            .collect();
        let at = chain.len().saturating_sub(self.trusted_proxies);
        let entry = chain.get(at).filter(|entry| entry.parse::<IpAddr>().is_ok());
        entry.map_or_else(|| address(peer), |entry| (*entry).to_owned())
    }
}

fn address(peer: Peer) -> String {
    match peer {
        Peer::Tcp { remote, .. } => remote.ip().to_string(),
        Peer::Unix => "127.0.0.1".to_owned(),
    }
}

/// HT-25: AWS keeps some names for itself and renames the function's.
fn remapped(headers: HeaderMap) -> HeaderMap {
    const RENAMED: [&str; 5] = ["connection", "content-length", "date", "server", "www-authenticate"];
    let mut last = None;
    let mut renamed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        last = name.or(last);
        let Some(name) = &last else { continue };
        let name = if RENAMED.contains(&name.as_str()) {
            HeaderName::try_from(format!("x-amzn-remapped-{name}")).unwrap_or_else(|_| name.clone())
        } else {
            name.clone()
        };
        renamed.append(name, value);
    }
    renamed
}
