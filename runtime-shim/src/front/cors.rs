//! A Function URL that pages of others may call; the words are in [`tm_lambda::http_event::Cors`].

use http::header::{CONTENT_TYPE, ORIGIN};
use http::{Response, StatusCode};
use tm_lambda::headers;
use tm_lambda::http_event::Cors;

use super::outgoing::Body;
use super::{Asked, Front, answer};

/// Answers preflights, and says to others' pages what they may do with the function's answers.
pub(super) async fn handle(front: &Front, cors: &Cors, asked: Asked) -> Response<Body> {
    if let Some(fields) = cors.preflight(&asked.parts.method, &asked.parts.headers) {
        front.discard(asked.body, &asked.parts).await;
        let mut response = answer::with(asked.id, StatusCode::OK, headers::JSON, "");
        response.headers_mut().remove(CONTENT_TYPE);
        response.headers_mut().extend(fields);
        return response;
    }
    let origin = asked.parts.headers.get(ORIGIN).cloned();
    let mut response = front.invoke(asked).await;
    if let Some(origin) = origin {
        cors.add(&origin, response.headers_mut());
    }
    response
}
