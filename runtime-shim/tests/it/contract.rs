//! docs/lambda-compatibility.md keeps its word: every requirement has a row, and the row names the tests that carry its id, all of
//! them, or says what differs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

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
fn every_requirement_has_its_tests_or_a_reason() {
    let text = fs::read_to_string(tools::repository("docs/lambda-compatibility.md")).unwrap();
    let is_id = |row: &&str| row.as_bytes().get(2) == Some(&b'-');
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("| ")).filter(is_id);
    let functions = functions();
    for (area, count) in AREAS {
        for number in 1..=count {
            let id = format!("{area}-{number:02}");
            let row = rows.next().unwrap_or_else(|| panic!("no row for {id}"));
            assert!(row.starts_with(&format!("{id} |")), "expected {id} in {row}");
            let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            let named: BTreeSet<&str> = last.split('`').filter(|word| word.contains("::")).collect();
            let tag = format!("{}_{number:02}_", area.to_lowercase());
            let carrying: BTreeSet<&str> =
                functions.iter().map(String::as_str).filter(|test| carries(test, &tag)).collect();
            assert_eq!(named, carrying, "the tests of {id}: what its row names, and what carries its id");
            assert!(
                !named.is_empty() || last.contains("gap: "),
                "{id} has neither a test nor a reason: {row}"
            );
        }
    }
    assert_eq!(rows.next(), None, "a row that is no requirement");
}

/// Whether `module::rt_01_rt_02_what_it_shows` has the id `rt_02_` among those at its beginning.
fn carries(test: &str, tag: &str) -> bool {
    let (_, mut name) = test.split_once("::").unwrap();
    while let Some(id) = name.get(..tag.len()).filter(|id| is_tag(id.as_bytes())) {
        if id == tag {
            return true;
        }
        name = &name[tag.len()..];
    }
    false
}

/// Whether it looks like `rt_02_`.
fn is_tag(id: &[u8]) -> bool {
    let [a, b, b'_', tens, ones, b'_'] = id else { return false };
    a.is_ascii_lowercase() && b.is_ascii_lowercase() && tens.is_ascii_digit() && ones.is_ascii_digit()
}

/// All functions of the sources, as `module::function`.
fn functions() -> Vec<String> {
    let files = SOURCES.iter().flat_map(|folder| files(&tools::repository(folder)));
    let of_file = |file: PathBuf| {
        let module = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let names = text.split("fn ").skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name);
        names.map(|name| format!("{module}::{name}")).collect::<Vec<_>>()
    };
    files.filter(|file| file.extension().is_some_and(|end| end == "rs")).flat_map(of_file).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
