//! The shim's environment: any values of its variables are a configuration, or mistakes that name their variable.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use libfuzzer_sys::fuzz_target;
use tm_lambda::environment::TABLE;

fuzz_target!(|input: Vec<(u8, Vec<u8>)>| {
    let variable = |(at, value): (u8, Vec<u8>)| {
        let name = TABLE[usize::from(at) % TABLE.len()].name;
        (OsString::from(name), OsString::from_vec(value))
    };
    let variables: Vec<_> = input.into_iter().map(variable).collect();
    if let Err(text) = runtime_shim::check(variables.clone()) {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(!lines.is_empty(), "{text}");
        let named = |line: &&str| variables.iter().any(|(name, _)| line.contains(&*name.to_string_lossy()));
        assert!(lines.iter().any(named), "{text}");
    }
});
