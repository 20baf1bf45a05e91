//! Requests to the registry: the path becomes an enum, each variant is one small function.

use std::{collections::HashMap, io};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tm_oci::{Digest, media_type};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    path::{self, Identifier, Target},
    problem::{Code, Problem},
    storage::{MAX_MANIFEST, Storage, StorageError},
    uploads::Upload,
};

const DIGEST_HEADER: &str = "docker-content-digest";
const MAX_PAGE: usize = 1000;

/// The registry as an axum router, to be served on a listener of its own.
pub fn router(storage: Storage) -> Router {
    Router::new().fallback(answer).with_state(storage)
}

async fn answer(State(storage): State<Storage>, request: Request) -> Response {
    let mut response = route(&storage, request).await.unwrap_or_else(IntoResponse::into_response);
    let version = HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert("docker-distribution-api-version", version);
    response
}

async fn route(storage: &Storage, request: Request) -> Result<Response, Problem> {
    // No registry client sends it, every browser does: pages of other sites have no business here.
    if request.headers().contains_key(header::ORIGIN) {
        return Err(Problem::new(Code::Denied, "the registry does not answer web pages"));
    }
    let query = query_of(&request);
    let method = request.method().clone();
    match (Target::parse(request.uri().path())?, &method) {
        (Target::Base, &Method::GET | &Method::HEAD) => Ok(json(&serde_json::json!({}))),
        (Target::Catalog, &Method::GET) => catalog(storage, &query).await,
        (Target::Tags { name }, &Method::GET) => tags(storage, name, &query).await,
        (Target::Manifest { name, identifier }, &Method::GET | &Method::HEAD) => {
            get_manifest(storage, name, identifier, method == Method::HEAD).await
        }
        (Target::Manifest { name, identifier }, &Method::PUT) => {
            put_manifest(storage, name, identifier, request).await
        }
        (Target::Manifest { name, identifier }, &Method::DELETE) => {
            delete_manifest(storage, name, identifier).await
        }
        (Target::Blob { digest, .. }, &Method::HEAD) => head_blob(storage, digest).await,
        (Target::Blob { digest, .. }, &Method::GET) => get_blob(storage, digest, request.headers()).await,
        (Target::Blob { digest, .. }, &Method::DELETE) => {
            blocking(storage, move |storage| storage.delete_blob(&digest)).await?;
            Ok(StatusCode::ACCEPTED.into_response())
        }
        (Target::Uploads { name }, &Method::POST) => begin(storage, name, &query, request).await,
        (Target::Upload { name, id }, method) => upload(storage, method, name, &id, &query, request).await,
        _ => Err(Problem::new(Code::Unsupported, "this method is not supported here")),
    }
}

// Manifests and tags

async fn get_manifest(
    storage: &Storage,
    name: String,
    identifier: Identifier,
    head: bool,
) -> Result<Response, Problem> {
    let (digest, media_type, bytes) = blocking(storage, move |storage| {
        let digest = match identifier {
            Identifier::Digest(digest) => digest,
            Identifier::Tag(tag) => storage
                .tag(&name, &tag)?
                .ok_or_else(|| StorageError::ManifestUnknown(format!("{name}:{tag}")))?,
        };
        let (media_type, bytes) = storage.manifest(&name, &digest)?;
        Ok((digest, media_type, bytes))
    })
    .await?;
    let length = bytes.len();
    let mut response = Response::new(if head { Body::empty() } else { Body::from(bytes) });
    set(&mut response, header::CONTENT_TYPE.as_str(), &media_type);
    set(&mut response, header::CONTENT_LENGTH.as_str(), &length.to_string());
    set(&mut response, header::ETAG.as_str(), &format!("\"{digest}\""));
    set(&mut response, DIGEST_HEADER, digest.as_str());
    Ok(response)
}

async fn put_manifest(
    storage: &Storage,
    name: String,
    identifier: Identifier,
    request: Request,
) -> Result<Response, Problem> {
    let declared = text_of(request.headers(), header::CONTENT_TYPE.as_str());
    let bytes = axum::body::to_bytes(request.into_body(), MAX_MANIFEST).await.map_err(|_| {
        Problem::new(Code::SizeInvalid, format!("a manifest may have {MAX_MANIFEST} bytes"))
            .with_status(StatusCode::PAYLOAD_TOO_LARGE)
    })?;
    let at = name.clone();
    let digest = blocking(storage, move |storage| {
        let tag = match &identifier {
            Identifier::Tag(tag) => Some(tag.as_str()),
            Identifier::Digest(want) if *want != Digest::of(&bytes) => {
                return Err(StorageError::Digest { want: want.clone(), got: Digest::of(&bytes) });
            }
            Identifier::Digest(_) => None,
        };
        storage.put_manifest(&name, tag, declared.as_deref(), &bytes)
    })
    .await?;
    Ok(created(&format!("/v2/{at}/manifests/{digest}"), &digest))
}

async fn delete_manifest(
    storage: &Storage,
    name: String,
    identifier: Identifier,
) -> Result<Response, Problem> {
    blocking(storage, move |storage| match identifier {
        Identifier::Digest(digest) => storage.delete_manifest(&name, &digest),
        Identifier::Tag(tag) => storage.delete_tag(&name, &tag),
    })
    .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn tags(storage: &Storage, name: String, query: &HashMap<String, String>) -> Result<Response, Problem> {
    let at = name.clone();
    let all = blocking(storage, move |storage| storage.tags(&at)).await?;
    let all = all.ok_or_else(|| Problem::new(Code::NameUnknown, "there is no such repository"))?;
    let (page, next) = paged(all, query)?;
    let mut response = json(&serde_json::json!({"name": name, "tags": page}));
    link(&mut response, &format!("/v2/{name}/tags/list"), next);
    Ok(response)
}

async fn catalog(storage: &Storage, query: &HashMap<String, String>) -> Result<Response, Problem> {
    let all = blocking(storage, |storage| storage.repositories()).await?;
    let (page, next) = paged(all, query)?;
    let mut response = json(&serde_json::json!({"repositories": page}));
    link(&mut response, "/v2/_catalog", next);
    Ok(response)
}

/// The names after `last`, at most `n`, and the query of the next page if there are more.
fn paged(
    all: Vec<String>,
    query: &HashMap<String, String>,
) -> Result<(Vec<String>, Option<String>), Problem> {
    let not_a_number =
        || Problem::new(Code::Unsupported, "n is not a number").with_status(StatusCode::BAD_REQUEST);
    let limit = match query.get("n") {
        Some(n) => n.parse::<usize>().map_err(|_| not_a_number())?.min(MAX_PAGE),
        None => MAX_PAGE,
    };
    let last = query.get("last").map(String::as_str).unwrap_or_default();
    let mut page: Vec<String> = all.into_iter().filter(|name| name.as_str() > last).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|last| format!("n={limit}&last={last}"));
    Ok((page, next))
}

fn link(response: &mut Response, path: &str, next: Option<String>) {
    if let Some(query) = next {
        set(response, header::LINK.as_str(), &format!("<{path}?{query}>; rel=\"next\""));
    }
}

// Blobs

async fn head_blob(storage: &Storage, digest: Digest) -> Result<Response, Problem> {
    let wanted = digest.clone();
    let size = blocking(storage, move |storage| storage.touch_blob(&wanted)).await?;
    let size = size.ok_or_else(|| Problem::from(StorageError::BlobUnknown(digest.clone())))?;
    let mut response = Response::new(Body::empty());
    blob_headers(&mut response, &digest, size);
    Ok(response)
}

async fn get_blob(storage: &Storage, digest: Digest, headers: &HeaderMap) -> Result<Response, Problem> {
    let wanted = digest.clone();
    let file = blocking(storage, move |storage| storage.open_blob(&wanted)).await?;
    let mut file = tokio::fs::File::from_std(file);
    let size = file.metadata().await?.len();
    let range = match text_of(headers, header::RANGE.as_str()) {
        Some(text) => range(&text, size)?,
        None => None,
    };
    let (start, length) = range.unwrap_or((0, size));
    file.seek(io::SeekFrom::Start(start)).await?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), 64 * 1024));
    let mut response = Response::new(body);
    blob_headers(&mut response, &digest, length);
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {start}-{}/{size}", start + length - 1);
        set(&mut response, header::CONTENT_RANGE.as_str(), &text);
    }
    Ok(response)
}

fn blob_headers(response: &mut Response, digest: &Digest, length: u64) {
    set(response, header::CONTENT_TYPE.as_str(), media_type::OCTETS);
    set(response, header::CONTENT_LENGTH.as_str(), &length.to_string());
    set(response, header::ACCEPT_RANGES.as_str(), "bytes");
    set(response, header::ETAG.as_str(), &format!("\"{digest}\""));
    set(response, DIGEST_HEADER, digest.as_str());
}

/// Start and length of one range; anything but one range of bytes is served whole, as HTTP allows.
fn range(text: &str, size: u64) -> Result<Option<(u64, u64)>, Problem> {
    let unsatisfiable = || {
        Problem::new(Code::SizeInvalid, format!("the blob has {size} bytes"))
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
    };
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Ok(None);
    };
    let bounds = match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") => Some((first, size.saturating_sub(1))),
        (Ok(first), last) => last.parse().ok().map(|last: u64| (first, last.min(size.saturating_sub(1)))),
        (Err(_), last) if first.is_empty() => {
            last.parse().ok().map(|n: u64| (size.saturating_sub(n), size.saturating_sub(1)))
        }
        _ => None,
    };
    match bounds {
        Some((first, last)) if first <= last && first < size => Ok(Some((first, last - first + 1))),
        Some(_) => Err(unsatisfiable()),
        None => Ok(None),
    }
}

// Uploads

async fn begin(
    storage: &Storage,
    name: String,
    query: &HashMap<String, String>,
    request: Request,
) -> Result<Response, Problem> {
    if let Some(digest) = query.get("mount").map(|text| path::digest(text)).transpose()? {
        let wanted = digest.clone();
        if blocking(storage, move |storage| storage.touch_blob(&wanted)).await?.is_some() {
            return Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest));
        }
    }
    let id = storage.uploads().begin()?;
    if let Some(digest) = query.get("digest") {
        let digest = path::digest(digest)?;
        let done = finish(storage, &name, &id, digest, request).await;
        storage.uploads().forget(&id);
        return done;
    }
    let upload = storage.uploads().take(&id)?;
    Ok(under_way(StatusCode::ACCEPTED, &name, &upload))
}

async fn upload(
    storage: &Storage,
    method: &Method,
    name: String,
    id: &str,
    query: &HashMap<String, String>,
    request: Request,
) -> Result<Response, Problem> {
    match *method {
        Method::GET => Ok(under_way(StatusCode::NO_CONTENT, &name, &*storage.uploads().take(id)?)),
        Method::PATCH => {
            let mut upload = storage.uploads().take(id)?;
            check_range(&upload, request.headers())?;
            upload.append(request.into_body().into_data_stream()).await?;
            Ok(under_way(StatusCode::ACCEPTED, &name, &upload))
        }
        Method::PUT => {
            let digest = query.get("digest").map(String::as_str).unwrap_or_default();
            finish(storage, &name, id, path::digest(digest)?, request).await
        }
        Method::DELETE => {
            drop(storage.uploads().take(id)?);
            storage.uploads().forget(id);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(Problem::new(Code::Unsupported, "this method is not supported here")),
    }
}

async fn finish(
    storage: &Storage,
    name: &str,
    id: &str,
    digest: Digest,
    request: Request,
) -> Result<Response, Problem> {
    let mut upload = storage.uploads().take(id)?;
    check_range(&upload, request.headers())?;
    upload.append(request.into_body().into_data_stream()).await?;
    let done = upload.finish(&digest, storage.blob_path(&digest)).await;
    storage.uploads().forget(id);
    done?;
    Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest))
}

/// A chunk must continue where the last one ended.
fn check_range(upload: &Upload, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(text) = text_of(headers, header::CONTENT_RANGE.as_str()) else { return Ok(()) };
    let start =
        text.trim_start_matches("bytes ").split('-').next().and_then(|start| start.trim().parse().ok());
    if start == Some(upload.bytes()) {
        return Ok(());
    }
    Err(Problem::new(Code::BlobUploadInvalid, "the chunk does not continue where the last one ended")
        .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
        .with_range(upload.range()))
}

fn under_way(status: StatusCode, name: &str, upload: &Upload) -> Response {
    let mut response = status.into_response();
    set(&mut response, header::LOCATION.as_str(), &format!("/v2/{name}/blobs/uploads/{}", upload.id()));
    set(&mut response, header::RANGE.as_str(), &upload.range());
    set(&mut response, "docker-upload-uuid", upload.id());
    response
}

// Small helpers

fn created(location: &str, digest: &Digest) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    set(&mut response, header::LOCATION.as_str(), location);
    set(&mut response, DIGEST_HEADER, digest.as_str());
    response
}

fn json(value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    set(&mut response, header::CONTENT_TYPE.as_str(), "application/json");
    response
}

/// Sets a header whose value is ours or checked to be plain.
fn set(response: &mut Response, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The query as text; later values of a name win.
fn query_of(request: &Request) -> HashMap<String, String> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let query = request.uri().query().unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

/// Work on the disk, off the async threads.
async fn blocking<T: Send + 'static>(
    storage: &Storage,
    work: impl FnOnce(&Storage) -> Result<T, StorageError> + Send + 'static,
) -> Result<T, Problem> {
    let storage = storage.clone();
    let done = tokio::task::spawn_blocking(move || work(&storage)).await;
    Ok(done.map_err(io::Error::other)??)
}

#[cfg(test)]
mod tests;
