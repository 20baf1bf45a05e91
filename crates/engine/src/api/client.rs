//! A `kube::Client` whose requests go straight into the router.

use axum::body::Body;
use tower::ServiceExt;

use super::{Api, User};

/// What our own controllers are called.
const USER: &str = "system:serviceaccount:knative-serving:controller";

/// Makes the client.
pub(super) fn in_process(api: &Api, default_namespace: &str) -> kube::Client {
    let service = api.router(User(USER.to_owned()));
    let service = service.map_request(|request: http::Request<kube::client::Body>| request.map(Body::new));
    kube::Client::new(service, default_namespace)
}
