//! A Function URL that pages of others may call; the words are in [`tm_lambda::http_event::Cors`].

use http::header::{CONTENT_TYPE, ORIGIN};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use tm_lambda::http_event::Cors;
use tm_lambda::{RequestId, headers};
use tm_serve::Peer;

use super::outgoing::Body;
use super::{Front, answer};

/// Answers preflights, and says to others' pages what they may do with the function's answers.
pub(super) async fn handle(
    front: &Front,
    cors: &Cors,
    id: RequestId,
    peer: Peer,
    parts: Parts,
    body: Incoming,
) -> Response<Body> {
    if let Some(fields) = cors.preflight(&parts.method, &parts.headers) {
        front.discard(body, &parts).await;
        let mut response = answer::with(id, StatusCode::OK, headers::JSON, "");
        response.headers_mut().remove(CONTENT_TYPE);
        response.headers_mut().extend(fields);
        return response;
    }
    let origin = parts.headers.get(ORIGIN).cloned();
    let mut response = front.invoke(id, peer, parts, body).await;
    if let Some(origin) = origin {
        cors.add(&origin, response.headers_mut());
    }
    response
}
