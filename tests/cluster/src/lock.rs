//! One at a time: two `up`s of one cluster, and two builds for one cache, wait for each other.

use std::{
    fs::{File, TryLockError},
    time::Duration,
};

use anyhow::{Result, bail};
use fs_err as fs;
use tokio::time::{Instant, sleep};

use crate::{say, settings::Settings};

/// A cold build takes half an hour on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
const LOOK: Duration = Duration::from_millis(500);

/// Waits for the lock `name` in the cache; it is held until the file is dropped, also by a crash.
///
/// # Errors
/// When it is still held after an hour, or the file cannot be made.
pub(crate) async fn take(settings: &Settings, name: &str) -> Result<File> {
    fs::create_dir_all(&settings.cache)?;
    let path = settings.cache.join(format!("{name}.lock"));
    let file = File::create(&path)?;
    let (end, mut said) = (Instant::now() + PATIENCE, false);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                if !std::mem::replace(&mut said, true) {
                    say::note(&format!("  waiting for another process to release {}", path.display()));
                }
                sleep(LOOK).await;
            }
            Err(TryLockError::WouldBlock) => {
                bail!("{} is still held after {} s", path.display(), PATIENCE.as_secs())
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::new(1, folder.path().join("state"), folder.path().join("cache")).unwrap();
        let first = take(&settings, "up-1").await.unwrap();
        let other = take(&settings, "up-2").await;
        assert!(other.is_ok(), "another cluster: {other:?}");
        let second = tokio::time::timeout(LOOK, take(&settings, "up-1")).await;
        assert!(second.is_err(), "it got in: {second:?}");
        drop(first);
        take(&settings, "up-1").await.unwrap();
    }
}
