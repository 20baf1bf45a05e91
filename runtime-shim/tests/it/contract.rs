//! docs/lambda-compatibility.md keeps its word: every requirement has a row, every test it names exists.

use std::fs;
use std::path::Path;

use crate::tools;

/// The requirements, by area.
const AREAS: [(&str, usize); 11] = [
    ("RT", 44),
    ("ST", 16),
    ("EN", 25),
    ("LC", 21),
    ("EX", 19),
    ("LG", 11),
    ("IN", 30),
    ("HT", 59),
    ("CE", 29),
    ("AS", 20),
    ("LM", 31),
];

/// Folders with tests, by the modules they hold.
const SOURCES: [&str; 3] = ["runtime-shim/tests/it", "runtime-shim/src", "crates/lambda/src"];

#[test]
fn every_requirement_has_a_row_and_every_test_exists() {
    let text = fs::read_to_string(tools::repository("docs/lambda-compatibility.md")).unwrap();
    let is_id = |row: &&str| row.as_bytes().get(2) == Some(&b'-');
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("| ")).filter(is_id);
    for (area, count) in AREAS {
        for number in 1..=count {
            let id = format!("{area}-{number:02}");
            let row = rows.next().unwrap_or_else(|| panic!("no row for {id}"));
            assert!(row.starts_with(&format!("{id} |")), "expected {id} in {row}");
            let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            let tests: Vec<&str> = last.split('`').filter(|word| word.contains("::")).collect();
            assert!(
                !tests.is_empty() || last.contains("gap: "),
                "{id} has neither a test nor a reason: {row}"
            );
            for test in tests {
                assert!(exists(test), "{id} names `{test}`, which does not exist");
            }
        }
    }
    assert_eq!(rows.next(), None, "a row that is no requirement");
}

/// Whether `module::function` is somewhere in the sources.
fn exists(test: &str) -> bool {
    let (module, function) = test.split_once("::").unwrap();
    SOURCES.iter().any(|folder| {
        files(&tools::repository(folder)).iter().any(|file| {
            file.file_stem().is_some_and(|stem| stem == module)
                && fs::read_to_string(file).unwrap().contains(&format!("fn {function}("))
        })
    })
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
