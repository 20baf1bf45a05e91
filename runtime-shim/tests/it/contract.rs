//! docs/contract.md keeps its word: every requirement has a row, every test it names exists.

use std::fs;
use std::path::Path;

use crate::tools;

/// The requirements that are the shim's, by area.
const AREAS: [(&str, usize); 4] = [("RT", 44), ("EN", 25), ("LC", 21), ("LG", 11)];

/// Folders with tests, by the modules they hold.
const SOURCES: [&str; 3] = ["runtime-shim/tests/it", "runtime-shim/src", "crates/lambda/src"];

#[test]
fn every_requirement_has_a_row_and_every_test_exists() {
    let text = fs::read_to_string(tools::repository("docs/contract.md")).unwrap();
    let mut rows =
        text.lines().filter_map(|line| line.strip_prefix("| ")).skip_while(|row| !row.starts_with("RT-01"));
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
