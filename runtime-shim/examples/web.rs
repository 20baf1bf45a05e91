//! A small web site on AWS's `lambda_http`. Judged by `tests/it/official_web.rs`.

use lambda_http::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use lambda_http::{Body, Error, Request, RequestExt as _, Response, run, service_fn};
use serde_json::json;

async fn handler(request: Request) -> Result<Response<Body>, Error> {
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        "/image" => {
            let png = b"\x89PNG\r\n\x1a\n\0\xff".to_vec();
            Response::builder().header(CONTENT_TYPE, "image/png").body(Body::Binary(png))?
        }
        "/cookies" => {
            Response::builder().header(SET_COOKIE, "a=1").header(SET_COOKIE, "b=2").body("ok".into())?
        }
        "/echo" => {
            let body = request.into_body().to_vec();
            Response::builder()
                .status(201)
                .header(CONTENT_TYPE, "application/octet-stream")
                .body(Body::Binary(body))?
        }
        _ if path.starts_with("/page/") => page(&request)?,
        _ => Response::builder().status(404).body(Body::Empty)?,
    })
}

fn page(request: &Request) -> Result<Response<Body>, Error> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let cookies = text(COOKIE.as_str()).unwrap_or_default();
    let egg = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("egg="));
    let names = request.query_string_parameters().all("name").unwrap_or_default().join(",");
    let id = request.uri().path().trim_start_matches("/page/").replace("%C3%A9", "é");
    let names: Vec<String> = names.split(',').map(|name| name.replace("%20", " ")).collect();
    let seen = json!({
        "method": request.method().as_str(), "id": id, "probe": text("x-probe"), "egg": egg, "names": names,
    });
    Ok(Response::builder().header(CONTENT_TYPE, "application/json").body(seen.to_string().into())?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handler)).await
}
