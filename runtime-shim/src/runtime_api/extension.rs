//! The calls of extensions (section 5).

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use tm_lambda::api_error::ACCEPTED;
use tm_lambda::extension::{self, ExtensionError, ExtensionState, Registered};
use tm_lambda::headers;
use tm_lambda::telemetry::{Api, Subscription, SubscriptionError};
use uuid::Uuid;

use super::answer::{self, Body};
use super::link::{Link, SubscribeError};
use crate::body::{self, Whole};

/// Registrations and subscriptions are small.
const MAX_BODY: usize = 64 * 1024;

/// What a subscription is answered with: four bytes.
const SUBSCRIBED: &str = "\"OK\"";

/// `POST …/register`. Who asks for `accountId` gets it.
pub(super) async fn register(link: &Link, fields: &HeaderMap, body: Incoming) -> Response<Body> {
    match registered(link, fields, body).await {
        Ok((id, text)) => {
            let mut response = answer::json(StatusCode::OK, text + "\n");
            response.headers_mut().insert(headers::EXTENSION_IDENTIFIER, uuid(id));
            response
        }
        Err(error) => refused(&error),
    }
}

async fn registered(
    link: &Link,
    fields: &HeaderMap,
    body: Incoming,
) -> Result<(Uuid, String), ExtensionError> {
    let body = read(body).await;
    let name = text(fields, &headers::EXTENSION_NAME).filter(|name| !name.is_empty());
    let name = name.ok_or(ExtensionError::EmptyName)?.to_owned();
    let wanted = extension::subscriptions(&body?.bytes)?;
    let id = link.register(name, wanted).await?;
    let features = text(fields, &headers::EXTENSION_ACCEPT_FEATURE).unwrap_or_default();
    let account = features.split(',').any(|feature| feature.trim() == "accountId");
    let function = link.function();
    let registered = Registered {
        function_name: function.name.as_str(),
        function_version: function.version.as_str(),
        handler: &function.handler,
        account_id: account.then(|| function.arn.account()),
    };
    Ok((id, serde_json::to_string(&registered).expect("texts serialise")))
}

/// `GET …/event/next`.
pub(super) async fn next(link: &Link, fields: &HeaderMap) -> Response<Body> {
    let event = match identifier(fields) {
        Ok(id) => link.extension_next(id).await,
        Err(error) => Err(error),
    };
    match event {
        Ok(event) => {
            let mut response = answer::json(StatusCode::OK, event);
            response.headers_mut().insert(headers::EXTENSION_EVENT_IDENTIFIER, uuid(Uuid::new_v4()));
            response
        }
        Err(error) => refused(&error),
    }
}

/// `POST …/init/error` and `…/exit/error` (EX-09). The process is expected to end by itself.
pub(super) async fn failed(
    link: &Link,
    state: ExtensionState,
    fields: &HeaderMap,
    body: Incoming,
) -> Response<Body> {
    let _ = read(body).await;
    let reported = async {
        let id = identifier(fields)?;
        let error_type = text(fields, &headers::EXTENSION_ERROR_TYPE);
        let error_type =
            error_type.filter(|text| !text.is_empty()).ok_or(ExtensionError::MissingErrorType)?;
        link.extension_failed(id, state, error_type.to_owned()).await
    };
    match reported.await {
        Ok(()) => answer::json(StatusCode::ACCEPTED, ACCEPTED),
        Err(error) => refused(&error),
    }
}

/// `PUT …/telemetry`, `PUT …/logs`.
pub(super) async fn subscribe(link: &Link, api: Api, fields: &HeaderMap, body: Incoming) -> Response<Body> {
    match subscribed(link, api, fields, body).await {
        Ok(()) => answer::json(StatusCode::OK, SUBSCRIBED),
        Err(SubscribeError::Extension(error)) => refused(&error),
        Err(SubscribeError::Subscription(error)) => answer::json(error.status(), error.body(api)),
    }
}

async fn subscribed(link: &Link, api: Api, fields: &HeaderMap, body: Incoming) -> Result<(), SubscribeError> {
    let body = read(body).await;
    let id = identifier(fields).map_err(SubscribeError::Extension)?;
    let body = body.map_err(|error| SubscriptionError::Deserialization(error.to_string()));
    let subscription = body.and_then(|body| Subscription::parse(api, &body.bytes));
    link.subscribe(id, subscription.map_err(SubscribeError::Subscription)?).await
}

async fn read(body: Incoming) -> Result<Whole, ExtensionError> {
    body::read(body, MAX_BODY).await.map_err(|error| ExtensionError::InvalidRequest(error.to_string()))
}

/// EX-04.
fn identifier(fields: &HeaderMap) -> Result<Uuid, ExtensionError> {
    let text = text(fields, &headers::EXTENSION_IDENTIFIER).filter(|text| !text.is_empty());
    Uuid::try_parse(text.ok_or(ExtensionError::MissingIdentifier)?)
        .map_err(|_| ExtensionError::InvalidIdentifier)
}

fn refused(error: &ExtensionError) -> Response<Body> {
    answer::json(error.status(), error.body())
}

fn uuid(id: Uuid) -> HeaderValue {
    HeaderValue::try_from(id.to_string()).expect("a UUID is visible ASCII")
}

fn text<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name).and_then(|value| value.to_str().ok())
}
