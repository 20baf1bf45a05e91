//! Content digests: `sha256:` and 64 lower-case hex digits, and readers and writers that hash what passes through.

use std::{
    fmt,
    io::{self, Read, Write},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 content digest, such as `sha256:e3b0…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// The text is not a digest this crate can check.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a digest: want sha256: and 64 lower-case hex digits")]
pub struct InvalidDigest {
    text: String,
}

/// Hashes and counts bytes.
#[derive(Clone, Debug, Default)]
pub struct Digester {
    hasher: Sha256,
    bytes: u64,
}

/// Hashes and counts what is written before it passes it on.
#[derive(Debug)]
pub struct DigestWriter<W> {
    inner: W,
    digester: Digester,
}

/// Hashes and counts what is read.
#[derive(Debug)]
pub struct DigestReader<R> {
    inner: R,
    digester: Digester,
}

// === impl Digest ===

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digester = Digester::default();
        digester.update(bytes);
        digester.finish().0
    }

    /// The 64 hex digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(is_hex) => Ok(Self(text.to_owned())),
            _ => Err(InvalidDigest { text: text.chars().take(128).collect() }),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Digester ===

impl Digester {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many bytes came so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of everything added, and how many bytes that was.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(format!("sha256:{}", hex::encode(self.hasher.finalize()))), self.bytes)
    }
}

// === impl DigestWriter ===

impl<W: Write> DigestWriter<W> {
    /// Wraps `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, digester: Digester::default() }
    }

    /// The wrapped writer, and digest and length of what it was given.
    pub fn finish(self) -> (W, Digest, u64) {
        let (digest, bytes) = self.digester.finish();
        (self.inner, digest, bytes)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buf)?;
        self.digester.update(&buf[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

// === impl DigestReader ===

impl<R: Read> DigestReader<R> {
    /// Wraps `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, digester: Digester::default() }
    }

    /// The wrapped reader, and digest and length of what was read from it.
    pub fn finish(self) -> (R, Digest, u64) {
        let (digest, bytes) = self.digester.finish();
        (self.inner, digest, bytes)
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.digester.update(&buf[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_digest_of_nothing() {
        assert_eq!(Digest::of(b"").as_str(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap().hex().len(), 64);
    }

    #[test]
    fn refuses_everything_else() {
        for text in
            ["", "sha256:", "sha512:00", &EMPTY.to_uppercase(), &EMPTY[..70], "sha256:../../etc/passwd"]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn writer_and_reader_agree() {
        let mut writer = DigestWriter::new(Vec::new());
        writer.write_all(b"hello").unwrap();
        let (bytes, written, len) = writer.finish();
        let mut reader = DigestReader::new(bytes.as_slice());
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.finish().1, written);
        assert_eq!(len, 5);
    }
}
