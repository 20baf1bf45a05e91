//! The token of the TLS listener: made once, kept in the state directory, compared in constant time.

use std::{
    io::{self, Write},
    path::Path,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use fs_err::os::unix::fs::OpenOptionsExt;
use http::header;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::ApiError;

/// Name of the file in the state directory.
const FILE: &str = "token";

/// A bearer token. Never shown: its `Debug` form hides it.
#[derive(Clone)]
pub struct Token(String);

// === impl Token ===

impl Token {
    /// Takes over a token that is known already.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token of a state directory; made when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn load_or_make(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        match fs_err::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(Self(text.trim().to_owned())),
            Ok(_) => Self::make(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(&path),
            Err(error) => Err(error),
        }
    }

    fn make(path: &Path) -> io::Result<Self> {
        let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let token = hex::encode(Sha256::digest(random));
        write_private(path, token.as_bytes())?;
        Ok(Self(token))
    }

    /// The token itself, for whoever is to send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Digests are compared, so that the time it takes says nothing about the token.
    fn is(&self, given: &str) -> bool {
        Sha256::digest(&self.0) == Sha256::digest(given)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Writes a file only its owner can read, all of it or nothing.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("new");
    // A leftover may be readable by others; a new file is not.
    match fs_err::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs_err::rename(next, path)
}

/// Lets through what carries the token.
pub(super) async fn require(State(token): State<Token>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    if given.is_some_and(|given| token.is(given)) {
        return next.run(request).await;
    }
    ApiError::new(401, "Unauthorized", "Unauthorized").into_response()
}
