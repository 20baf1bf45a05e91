//! From an HTTP request to the verb it means.

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use serde_json::json;

use super::{
    Api, User,
    catalog::Resource,
    delete, discovery,
    error::{ApiError, Result},
    exec, logs, openapi, patch,
    path::{ObjectPath, Target},
    query::Query,
    read,
    render::Form,
    table::Include,
    watch, write,
};

/// A request for objects, parsed.
pub(crate) struct Call {
    pub(crate) api: Api,
    pub(crate) user: User,
    pub(crate) method: Method,
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) form: Form,
    pub(crate) include: Include,
}

/// The service for `user`.
pub(super) fn router(api: Api, user: User) -> Router {
    Router::new().fallback(handle).layer(Extension(user)).with_state(api)
}

async fn handle(
    State(api): State<Api>,
    Extension(user): Extension<User>,
    request: http::Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    match route(api, user, parts, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn route(api: Api, user: User, parts: Parts, body: Body) -> Result<Response> {
    match Target::parse(parts.uri.path()).ok_or_else(ApiError::no_such_path)? {
        Target::Objects(path) => objects(Call::new(api, user, path, &parts)?, parts, body).await,
        Target::Review(review) if parts.method == Method::POST => {
            review.answer(&user, &parts.headers, body).await
        }
        Target::Review(_) => Err(ApiError::method_not_allowed()),
        _ if parts.method != Method::GET => Err(ApiError::method_not_allowed()),
        Target::Health => Ok("ok".into_response()),
        Target::Version => Ok(discovery::version()),
        Target::CoreVersions => Ok(discovery::core_versions(&parts.headers)),
        Target::Groups => Ok(discovery::groups(&parts.headers)),
        Target::Group(name) => discovery::group(&name),
        Target::GroupVersion(group, version) => discovery::resources(&group, &version),
        Target::OpenApi(path) => openapi::answer(&path),
    }
}

async fn objects(call: Call, mut parts: Parts, body: Body) -> Result<Response> {
    match (&parts.method, call.subresource.as_deref()) {
        (&Method::GET, Some("log")) => return logs::logs(&call).await,
        (&Method::GET | &Method::POST, Some("exec")) => return exec::exec(&call, &mut parts).await,
        (_, Some("log" | "exec")) => return Err(ApiError::method_not_allowed()),
        _ => {}
    }
    let named = call.name.is_some();
    match (&parts.method, named) {
        (&Method::GET, false) if call.query.flag("watch") => watch::watch(call),
        (&Method::GET, false) => read::list(&call),
        (&Method::GET, true) => read::get(&call),
        (&Method::POST, false) => write::create(&call, body).await,
        (&Method::PUT, true) => write::replace(&call, body).await,
        (&Method::PATCH, true) => patch::patch(&call, body).await,
        (&Method::DELETE, true) => delete::delete(&call, body).await,
        (&Method::DELETE, false) => delete::delete_collection(&call, body).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

// === impl Call ===

impl Call {
    fn new(api: Api, user: User, path: ObjectPath, parts: &Parts) -> Result<Self> {
        let ObjectPath { resource, namespace, name, subresource } = path;
        let query = Query::parse(parts.uri.query());
        let form = Form::negotiate(&parts.headers)?;
        let include = Include::from_query(&query)?;
        let headers = parts.headers.clone();
        let method = parts.method.clone();
        Ok(Self { api, user, method, resource, namespace, name, subresource, query, headers, form, include })
    }

    /// The name in the path.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The store's key of the named object.
    pub(crate) fn key(&self, name: &str) -> crate::store::Key {
        crate::store::Key::new(self.resource.qualified(), self.namespace.as_deref().unwrap_or_default(), name)
    }
}

/// A JSON answer.
pub(crate) fn json_response(code: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `Success`, about one object.
pub(crate) fn success(details: serde_json::Value) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    json_response(200, status.to_string())
}
