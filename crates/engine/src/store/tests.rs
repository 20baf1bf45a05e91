use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::*;

fn pod(name: &str, n: u64) -> (Key, Value) {
    (Key::new("pods", "default", name), json!({"metadata": {"name": name, "uid": name}, "n": n}))
}

fn fresh() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.redb")).unwrap();
    (dir, store)
}

#[tokio::test]
async fn a_write_is_read_back_after_reopening() {
    let (dir, store) = fresh();
    let (key, value) = pod("a", 1);
    let written = store.put(key.clone(), value, Expect::Absent).await.unwrap();
    assert_eq!(written.value()["metadata"]["resourceVersion"], "1");
    drop(store);
    let store = Store::open(&dir.path().join("store.redb")).unwrap();
    assert_eq!(store.get(&key).unwrap().json(), written.json());
    let (key, value) = pod("b", 1);
    assert_eq!(store.put(key, value, Expect::Absent).await.unwrap().revision(), 2);
}

#[tokio::test]
async fn a_removed_object_keeps_the_revision_rising() {
    let (dir, store) = fresh();
    let (key, value) = pod("a", 1);
    store.put(key.clone(), value.clone(), Expect::Absent).await.unwrap();
    store.delete(key, value, 1).await.unwrap();
    drop(store);
    let store = Store::open(&dir.path().join("store.redb")).unwrap();
    assert_eq!(store.revision(), 2);
    assert!(store.all().objects.is_empty());
}

#[tokio::test]
async fn preconditions_hold() {
    let (_dir, store) = fresh();
    let (key, value) = pod("a", 1);
    store.put(key.clone(), value.clone(), Expect::Absent).await.unwrap();
    let again = store.put(key.clone(), value.clone(), Expect::Absent).await;
    assert!(matches!(again, Err(WriteError::Exists(_))));
    let stale = store.put(key.clone(), value.clone(), Expect::Revision(7)).await;
    assert!(matches!(stale, Err(WriteError::Conflict(_))));
    assert!(matches!(store.delete(key, value, 7).await, Err(WriteError::Conflict(_))));
    assert_eq!(store.revision(), 1);
}

#[tokio::test]
async fn of_concurrent_writers_exactly_one_wins() {
    let (_dir, store) = fresh();
    let (key, value) = pod("a", 0);
    store.put(key.clone(), value, Expect::Absent).await.unwrap();
    let writers = (0..50).map(|n| store.put(key.clone(), pod("a", n).1, Expect::Revision(1)));
    let results = futures::future::join_all(writers).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_watcher_sees_every_write_once() {
    let (_dir, store) = fresh();
    let mut watcher = store.watch(Some("pods"), Some("default"), 0).unwrap();
    let writes = (0..500).map(|n| {
        let (key, value) = pod(&format!("p{n}"), n);
        store.put(key, value, Expect::Absent)
    });
    futures::future::join_all(writes).await;
    for revision in 1..=500 {
        let event = timeout(Duration::from_secs(5), watcher.next()).await.unwrap().unwrap();
        assert_eq!(event.object.revision(), revision);
        assert_eq!(event.kind, EventKind::Added);
    }
    assert_eq!(watcher.revision(), 500);
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told() {
    let (_dir, store) = fresh();
    let mut watcher = store.watch(None, None, 0).unwrap();
    let big = "x".repeat(200 << 10);
    for n in 0..40 {
        let key = Key::new("pods", "default", format!("p{n}"));
        store.put(key, json!({"metadata": {}, "big": big}), Expect::Absent).await.unwrap();
    }
    let expired = watcher.next().await.unwrap_err();
    assert!(expired.oldest > 0);
    assert_eq!(store.watch(None, None, 1).err().unwrap().requested, 1);
}

#[test]
fn garbage_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    for garbage in [vec![b'x'; 10], vec![b'x'; 100_000], vec![0; 4096]] {
        fs_err::write(&path, garbage).unwrap();
        let error = Store::open(&path).err().unwrap();
        assert!(matches!(error, OpenStoreError::Corrupt { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_damaged_store_is_never_a_panic() {
    let (dir, store) = fresh();
    let path = dir.path().join("store.redb");
    for n in 0..20 {
        let (key, value) = pod(&format!("p{n}"), n);
        store.put(key, value, Expect::Absent).await.unwrap();
    }
    drop(store);
    let good = fs_err::read(&path).unwrap();
    for at in (0..good.len()).step_by(good.len() / 97) {
        let mut bad = good.clone();
        bad[at..(at + 64).min(good.len())].fill(0xa5);
        fs_err::write(&path, &bad).unwrap();
        // Whether damage is noticed depends on where it is; it must not take the process down.
        drop(Store::open(&path));
        fs_err::write(&path, &good[..at]).unwrap();
        drop(Store::open(&path));
    }
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_or_does_no_harm() {
    let (dir, store) = fresh();
    let path = dir.path().join("store.redb");
    for n in 0..20 {
        let (key, value) = pod(&format!("p{n}"), n);
        store.put(key, value, Expect::Absent).await.unwrap();
    }
    let texts = |store: &Store| -> Vec<_> {
        store.all().objects.iter().map(|object| object.json().clone()).collect()
    };
    let before = texts(&store);
    drop(store);
    let good = fs_err::read(&path).unwrap();
    let mut noticed = 0;
    for at in (0..good.len()).step_by(good.len() / 499) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs_err::write(&path, &bad).unwrap();
        match Store::open(&path) {
            Err(error) => {
                assert!(matches!(error, OpenStoreError::Corrupt { .. }), "{at}: {error:?}");
                noticed += 1;
            }
            Ok(store) => {
                assert_eq!(texts(&store), before, "{at}");
                let (key, value) = pod("new", 1);
                let written = timeout(Duration::from_secs(5), store.put(key, value, Expect::Absent)).await;
                assert!(matches!(written, Ok(Ok(_) | Err(WriteError::Disk(_)))), "{at}: {written:?}");
            }
        }
    }
    assert!(noticed > 0);
}

#[tokio::test]
async fn a_second_opener_is_told() {
    let (dir, _store) = fresh();
    let error = Store::open(&dir.path().join("store.redb")).err().unwrap();
    assert!(matches!(error, OpenStoreError::InUse(_)), "{error:?}");
}

/// The child of the test below: writes until it is killed, and says what was acknowledged.
#[tokio::test]
#[ignore = "started by a_killed_process_loses_nothing_acknowledged"]
async fn write_until_killed() {
    use std::io::Write;
    let Some(path) = std::env::var_os("TM_TEST_STORE") else { return };
    let store = Store::open(Path::new(&path)).unwrap();
    let mut out = std::io::stdout();
    for n in 0.. {
        let writes = (0..8).map(|m| {
            let (key, value) = pod(&format!("p{n}-{m}"), n);
            store.put(key, value, Expect::Absent)
        });
        for written in futures::future::join_all(writes).await {
            writeln!(out, "wrote {}", written.unwrap().key().name).unwrap();
        }
        out.flush().unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut acknowledged = Vec::new();
    for round in 1..=3 {
        fs_err::remove_file(&path).ok();
        acknowledged.clear();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::write_until_killed", "--ignored", "--nocapture"])
            .env("TM_TEST_STORE", &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut names =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("wrote ").map(str::to_owned));
        acknowledged.extend(names.by_ref().take(40 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(names);
        let store = Store::open(&path).unwrap();
        for name in &acknowledged {
            assert!(store.get(&Key::new("pods", "default", name)).is_some(), "{name} is lost");
        }
        assert!(store.revision() >= acknowledged.len() as u64);
    }
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused() {
    let (_dir, store) = fresh();
    let key = Key::new("pods", "default", "big");
    let value = json!({"metadata": {}, "big": "x".repeat(4 << 20)});
    assert!(matches!(store.put(key, value, Expect::Absent).await, Err(WriteError::TooLarge { .. })));
    assert_eq!(store.revision(), 0);
}
