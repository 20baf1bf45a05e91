//! Tekton's results: files a step writes, carried in the termination message of its container, as Tekton's own entrypoint
//! does (a JSON list of `{"key","value","type"}`, 4096 bytes at most).

use std::path::Path;

use fs_err as fs;
use serde_json::json;

use super::super::status::MESSAGE_LIMIT;

/// Type number of a result in Tekton's termination message.
const TASK_RUN_RESULT: u8 = 1;

/// Type number of what Tekton's entrypoint says to Tekton itself.
pub(crate) const INTERNAL_RESULT: u8 = 3;

/// Why a step ended, where its exit code does not say it: told to Tekton alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was not run: one before it failed, or its `when` did not hold.
    Skipped,
    /// It took longer than its `timeout`.
    TimedOut,
    /// It failed with that code, and may (`onError: continue`).
    Continued(i32),
}

/// The message when the results are too large for it; the TaskRun controller looks for it.
pub(crate) const TOO_LARGE: &str =
    "Termination message is above max allowed size 4096, caused by large task result.";

/// Reads the files of `folder` into a termination message, and adds what is told; empty when there is nothing.
pub(super) fn termination_message(folder: &Path, told: Option<Told>) -> String {
    let nothing = || told.as_ref().map(Told::message).unwrap_or_default();
    let Ok(files) = fs::read_dir(folder) else { return nothing() };
    let files: Vec<_> = files.flatten().filter_map(|file| Some((file.metadata().ok()?, file))).collect();
    // Links are not followed: a step chooses where they lead.
    let files = files.into_iter().filter(|(data, _)| data.is_file());
    let (small, large): (Vec<_>, Vec<_>) = files.partition(|(data, _)| data.len() <= MESSAGE_LIMIT as u64);
    if !large.is_empty() {
        return TOO_LARGE.into();
    }
    let mut results: Vec<(String, String)> = small
        .into_iter()
        .map(|(_, file)| file)
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let value = fs::read(file.path()).ok()?;
            Some((name, String::from_utf8_lossy(&value).into_owned()))
        })
        .collect();
    results.sort();
    if results.is_empty() {
        return nothing();
    }
    let results =
        results.into_iter().map(|(key, value)| json!({"key": key, "value": value, "type": TASK_RUN_RESULT}));
    let list: Vec<_> = results.chain(told.as_ref().map(Told::entry)).collect();
    let text = serde_json::Value::from(list).to_string();
    if text.len() > MESSAGE_LIMIT { TOO_LARGE.into() } else { text }
}

// === impl Told ===

impl Told {
    /// As the words of Tekton's status, and of its entrypoint.
    pub(crate) const SKIPPED: &str = "Skipped";
    pub(crate) const TIMED_OUT: &str = "TimeoutExceeded";
    pub(crate) const CONTINUED: &str = "Continued";
    /// Keys of entries.
    pub(crate) const REASON: &str = "Reason";
    pub(crate) const EXIT_CODE: &str = "ExitCode";

    /// The whole message of a step that leaves nothing else.
    pub(super) fn message(&self) -> String {
        json!([self.entry()]).to_string()
    }

    fn entry(&self) -> serde_json::Value {
        let (key, value) = match self {
            Self::Skipped => (Self::REASON, Self::SKIPPED.to_owned()),
            Self::TimedOut => (Self::REASON, Self::TIMED_OUT.to_owned()),
            Self::Continued(code) => (Self::EXIT_CODE, code.to_string()),
        };
        json!({"key": key, "value": value, "type": INTERNAL_RESULT})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_a_list() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(termination_message(folder.path(), None), "");
        let told = Some(Told::Continued(7));
        let code = r#"{"key":"ExitCode","value":"7","type":3}"#;
        assert_eq!(termination_message(folder.path(), told.clone()), format!("[{code}]"));
        fs::write(folder.path().join("IMAGE_URL"), "a/b").expect("it writes");
        let result = r#"{"key":"IMAGE_URL","value":"a/b","type":1}"#;
        assert_eq!(termination_message(folder.path(), None), format!("[{result}]"));
        assert_eq!(termination_message(folder.path(), told), format!("[{result},{code}]"));
        fs::write(folder.path().join("BIG"), "x".repeat(20_000)).expect("it writes");
        assert_eq!(termination_message(folder.path(), None), TOO_LARGE);
    }
}
