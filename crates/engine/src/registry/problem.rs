//! Error answers of the distribution API: a code that clients know and words for people.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};

use super::storage::StorageError;

/// Codes of the distribution specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Denied,
    Unsupported,
    TooManyRequests,
    Unknown,
}

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: Code,
    message: String,
    /// How far an upload is, where a client has to know.
    range: Option<String>,
}

// === impl Code ===

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown | Self::BlobUploadUnknown | Self::ManifestUnknown | Self::NameUnknown => {
                StatusCode::NOT_FOUND
            }
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.status(), code, message: message.into(), range: None }
    }

    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn with_range(self, range: String) -> Self {
        Self { range: Some(range), ..self }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        let code = match &error {
            StorageError::Io(_) => {
                // The path stays in the log: it is nobody's business outside.
                tracing::error!(%error, source = ?error, "the registry's disk failed");
                return Self::new(Code::Unknown, "the registry's disk failed");
            }
            StorageError::BlobUnknown(_) => Code::BlobUnknown,
            StorageError::ManifestUnknown(_) => Code::ManifestUnknown,
            StorageError::MissingBlob(_) => Code::ManifestBlobUnknown,
            StorageError::Manifest(_) | StorageError::NoPlatform => Code::ManifestInvalid,
            StorageError::Digest { .. } => Code::DigestInvalid,
            StorageError::InUse(_) => {
                return Self::new(Code::Denied, error.to_string()).with_status(StatusCode::CONFLICT);
            }
        };
        Self::new(code, error.to_string())
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        StorageError::Io(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "errors": [{"code": self.code.text(), "message": self.message, "detail": null}]
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        if let Some(range) = self.range.and_then(|range| range.parse().ok()) {
            headers.insert(header::RANGE, range);
        }
        response
    }
}
