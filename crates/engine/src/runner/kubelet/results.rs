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

/// The message of a step that was not run because one before it failed.
pub(super) const SKIPPED: &str = r#"[{"key":"Reason","value":"Skipped","type":3}]"#;

/// The message when the results are too large for it; the TaskRun controller looks for it.
pub(crate) const TOO_LARGE: &str =
    "Termination message is above max allowed size 4096, caused by large task result.";

/// Reads the files of `folder` into a termination message; empty when there is none.
pub(super) fn termination_message(folder: &Path) -> String {
    let Ok(files) = fs::read_dir(folder) else { return String::new() };
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
        return String::new();
    }
    let list: Vec<_> = results
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": value, "type": TASK_RUN_RESULT}))
        .collect();
    let text = serde_json::Value::from(list).to_string();
    if text.len() > MESSAGE_LIMIT { TOO_LARGE.into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_a_list() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(termination_message(folder.path()), "");
        fs::write(folder.path().join("IMAGE_URL"), "a/b").expect("it writes");
        assert_eq!(termination_message(folder.path()), r#"[{"key":"IMAGE_URL","value":"a/b","type":1}]"#);
        fs::write(folder.path().join("BIG"), "x".repeat(20_000)).expect("it writes");
        assert_eq!(termination_message(folder.path()), TOO_LARGE);
    }
}
