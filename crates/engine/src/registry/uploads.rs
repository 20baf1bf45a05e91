//! Uploads under way: a file that grows and a running digest, forgotten at restart.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fs_err as fs;
use futures::{Stream, StreamExt};
use tm_oci::{Digest, digest::Digester};
use tokio::{
    io::{AsyncSeekExt, AsyncWriteExt},
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::Instant,
};
use uuid::Uuid;

use super::problem::{Code, Problem};

const MAX_UPLOADS: usize = 256;
const IDLE: Duration = Duration::from_secs(3600);
/// A client that sends nothing for so long is gone.
const STALL: Duration = Duration::from_secs(300);

/// All uploads under way.
#[derive(Debug)]
pub(super) struct Uploads {
    folder: PathBuf,
    open: Mutex<HashMap<String, Arc<AsyncMutex<Upload>>>>,
}

/// One upload. Its file is removed with it.
#[derive(Debug)]
pub(super) struct Upload {
    id: String,
    path: PathBuf,
    file: tokio::fs::File,
    digester: Digester,
    touched: Instant,
}

// === impl Uploads ===

impl Uploads {
    /// Empties and opens the folder.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, open: Mutex::default() })
    }

    /// Begins an upload and returns its id.
    pub(super) fn begin(&self) -> Result<String, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, upload| upload.try_lock().map_or(true, |upload| upload.touched.elapsed() < IDLE));
        if open.len() >= MAX_UPLOADS {
            return Err(Problem::new(Code::TooManyRequests, "too many uploads are under way"));
        }
        let id = Uuid::new_v4().to_string();
        let upload = Upload::create(id.clone(), self.folder.join(&id))?;
        open.insert(id.clone(), Arc::new(AsyncMutex::new(upload)));
        Ok(id)
    }

    /// The upload for one request at a time.
    pub(super) fn take(&self, id: &str) -> Result<OwnedMutexGuard<Upload>, Problem> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let upload =
            open.get(id).ok_or_else(|| Problem::new(Code::BlobUploadUnknown, "there is no such upload"))?;
        upload.clone().try_lock_owned().map_err(|_| {
            Problem::new(Code::BlobUploadInvalid, "another request writes to this upload")
                .with_status(http::StatusCode::CONFLICT)
        })
    }

    /// Gives an upload up.
    pub(super) fn forget(&self, id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

// === impl Upload ===

impl Upload {
    fn create(id: String, path: PathBuf) -> io::Result<Self> {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        let file = tokio::fs::File::from_std(file.into_parts().0);
        Ok(Self { id, path, file, digester: Digester::default(), touched: Instant::now() })
    }

    /// How many bytes are here.
    pub(super) fn bytes(&self) -> u64 {
        self.digester.bytes()
    }

    /// `Range` as clients want it: the last byte, not the length.
    pub(super) fn range(&self) -> String {
        format!("0-{}", self.bytes().saturating_sub(1))
    }

    /// Appends a stream, such as a request's body. What arrived before an error stays, so a client can go on from there.
    pub(super) async fn append<E>(
        &mut self,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), Problem> {
        let mut body = std::pin::pin!(body);
        // A request that was dropped half-way may have written more than it hashed.
        self.file.set_len(self.bytes()).await?;
        self.file.seek(io::SeekFrom::Start(self.bytes())).await?;
        loop {
            let chunk = tokio::time::timeout(STALL, body.next())
                .await
                .map_err(|_| Problem::new(Code::BlobUploadInvalid, "the upload made no progress"))?;
            let Some(chunk) = chunk else { break };
            let chunk =
                chunk.map_err(|_| Problem::new(Code::BlobUploadInvalid, "the request's body broke off"))?;
            self.file.write_all(&chunk).await?;
            self.digester.update(&chunk);
            self.touched = Instant::now();
        }
        Ok(self.file.flush().await?)
    }

    /// Moves the finished blob to `blob_path(digest)`; it is on disk when this returns.
    pub(super) async fn finish(&mut self, want: &Digest, blob_path: PathBuf) -> Result<(), Problem> {
        let (got, _) = self.digester.clone().finish();
        if got != *want {
            return Err(Problem::new(
                Code::DigestInvalid,
                format!("the bytes have digest {got}, not {want}"),
            ));
        }
        self.file.sync_all().await?;
        let from = self.path.clone();
        tokio::task::spawn_blocking(move || publish(&from, &blob_path)).await.map_err(io::Error::other)??;
        Ok(())
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Moved away when it was finished.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn publish(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}
