//! The redb file: one table of objects, one of counters.

use std::{any::Any, collections::BTreeMap, panic::AssertUnwindSafe, path::Path, sync::Arc};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{
    OpenStoreError,
    object::{Key, Object},
    view::View,
};

/// `resource/namespace/name` to the object's JSON text.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// Counters.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The revision of the last write.
const REVISION: &str = "revision";
/// Everything is kept in memory once read, so redb's own cache only serves writes.
const CACHE_BYTES: usize = 512 << 10;

/// The open file. Only the writer thread has it.
pub(super) struct Disk {
    database: Database,
}

/// One durable change.
pub(super) enum Op<'a> {
    /// Store the object's text.
    Put(&'a Object),
    /// Forget the key.
    Delete(&'a Key),
}

// === impl Disk ===

impl Disk {
    /// Opens or makes the file and reads all of it. redb answers some kinds of damage with a panic: it ends here, as
    /// the error it is.
    pub(super) fn open(path: &Path) -> Result<(Self, View), OpenStoreError> {
        std::panic::catch_unwind(AssertUnwindSafe(|| Self::try_open(path))).unwrap_or_else(|panic| {
            let detail = panic_text(panic.as_ref());
            Err(OpenStoreError::Corrupt { path: path.display().to_string(), detail })
        })
    }

    fn try_open(path: &Path) -> Result<(Self, View), OpenStoreError> {
        let name = path.display().to_string();
        let mut database = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|e| open_error(&name, e.into()))?;
        // A file that was closed in order is not looked at by itself, and a page that changed since would be believed.
        let whole = database.check_integrity().map_err(|e| open_error(&name, e.into()))?;
        if !whole {
            tracing::warn!(path = name, "the store was damaged: it is as before its last write");
        }
        let disk = Self { database };
        disk.ensure_tables().map_err(|e| open_error(&name, e))?;
        let view = disk.load(&name)?;
        Ok((disk, view))
    }

    fn ensure_tables(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(OBJECTS)?;
        transaction.open_table(META)?;
        transaction.commit()?;
        Ok(())
    }

    fn load(&self, name: &str) -> Result<View, OpenStoreError> {
        let rows = self.rows().map_err(|e| open_error(name, e))?;
        let mut objects = BTreeMap::new();
        for (text, json) in rows.objects {
            let object = parse(&text, json).map_err(|detail| OpenStoreError::Corrupt {
                path: name.to_owned(),
                detail: format!("object {text}: {detail}"),
            })?;
            objects.insert(object.key().clone(), Arc::new(object));
        }
        Ok(View::new(objects, rows.revision))
    }

    fn rows(&self) -> Result<Rows, redb::Error> {
        let transaction = self.database.begin_read()?;
        let revision = transaction.open_table(META)?.get(REVISION)?.map_or(0, |guard| guard.value());
        let mut objects = Vec::new();
        for row in transaction.open_table(OBJECTS)?.iter()? {
            let (key, json) = row?;
            objects.push((key.value().to_owned(), Bytes::copy_from_slice(json.value())));
        }
        Ok(Rows { objects, revision })
    }

    /// Makes the changes durable, all or none, and the counter with them.
    pub(super) fn commit<'a>(
        &self,
        ops: impl Iterator<Item = Op<'a>>,
        revision: u64,
    ) -> Result<(), Box<redb::Error>> {
        self.try_commit(ops, revision).map_err(Box::new)
    }

    fn try_commit<'a>(&self, ops: impl Iterator<Item = Op<'a>>, revision: u64) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(redb::Durability::Immediate)?;
        {
            let mut objects = transaction.open_table(OBJECTS)?;
            for op in ops {
                match op {
                    Op::Put(object) => {
                        objects.insert(object.key().encode().as_str(), object.json().as_ref())?;
                    }
                    Op::Delete(key) => {
                        objects.remove(key.encode().as_str())?;
                    }
                }
            }
            transaction.open_table(META)?.insert(REVISION, revision)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

struct Rows {
    objects: Vec<(String, Bytes)>,
    revision: u64,
}

fn parse(text: &str, json: Bytes) -> Result<Object, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        metadata: Revision,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Revision {
        resource_version: String,
    }
    let key = Key::decode(text).ok_or("not a key of an object")?;
    let head: Head = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    let revision = head.metadata.resource_version.parse().map_err(|e| format!("resourceVersion: {e}"))?;
    Object::parse(key, revision, json).map_err(|e| e.to_string())
}

fn open_error(path: &str, error: redb::Error) -> OpenStoreError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenStoreError::InUse(path),
        redb::Error::Corrupted(detail) => OpenStoreError::Corrupt { path, detail },
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            OpenStoreError::Corrupt { path, detail: source.to_string() }
        }
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            OpenStoreError::Corrupt { path, detail: source.to_string() }
        }
        error @ redb::Error::Io(_) => OpenStoreError::Io { path, source: Box::new(error) },
        other => OpenStoreError::Corrupt { path, detail: other.to_string() },
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("damage of an unknown kind").to_owned()
}
