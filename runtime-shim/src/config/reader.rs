//! Reads typed values out of a set of variables and collects what is wrong with them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Everything that is wrong with the environment.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Mistakes(Vec<Mistake>);

#[derive(Debug)]
struct Mistake {
    name: String,
    value: String,
    reason: String,
}

/// A set of variables, and what was found wrong so far.
pub(crate) struct Reader<'a> {
    variables: HashMap<&'a OsStr, &'a OsStr>,
    mistakes: Vec<Mistake>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) fn new(variables: &'a [(OsString, OsString)]) -> Self {
        let variables = variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())).collect();
        Self { variables, mistakes: Vec::new() }
    }

    /// The value as it is; an empty one counts as not set.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a OsStr> {
        self.variables.get(OsStr::new(name)).copied().filter(|value| !value.is_empty())
    }

    /// Whether it is set to nothing, where that means something.
    pub(crate) fn is_emptied(&self, name: &str) -> bool {
        self.variables.get(OsStr::new(name)).is_some_and(|value| value.is_empty())
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// The parsed value. A value that does not parse is noted and reads as not set.
    pub(crate) fn read<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.raw(name)?;
        let parsed = value.to_str().ok_or_else(|| "expected UTF-8 text".to_owned()).and_then(parse);
        parsed.map_err(|reason| self.note(name, value, reason)).ok()
    }

    /// The first of several variables that is set.
    pub(crate) fn first<T>(
        &mut self,
        names: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let name = names.iter().find(|name| self.raw(name).is_some())?;
        self.read(name, parse)
    }

    /// The finished value, unless something was wrong on the way.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(value) } else { Err(Mistakes(self.mistakes)) }
    }

    fn note(&mut self, name: &str, value: &OsStr, reason: String) {
        let value = value.to_string_lossy().into_owned();
        self.mistakes.push(Mistake { name: name.to_owned(), value, reason });
    }
}

/// A port; 0 means a free one.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "expected a port from 0 to 65535".to_owned())
}

/// A truth value.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("expected `true` or `false`".to_owned()),
    }
}

/// Words between commas, each fit for a header.
pub(crate) fn words(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
    let legal = |word: &String| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    if words.iter().all(legal) { Ok(words) } else { Err("expected words separated by commas".to_owned()) }
}

/// A whole number in Go's notation: decimal, `0x`, `0o` or `0`, `0b`.
pub(crate) fn number(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let digits =
        |prefix: &str| text.strip_prefix(prefix).or_else(|| text.strip_prefix(&prefix.to_uppercase()));
    let parsed = if let Some(hex) = digits("0x") {
        usize::from_str_radix(hex, 16)
    } else if let Some(binary) = digits("0b") {
        usize::from_str_radix(binary, 2)
    } else if let Some(octal) =
        digits("0o").or_else(|| text.strip_prefix('0').filter(|rest| !rest.is_empty()))
    {
        usize::from_str_radix(octal, 8)
    } else {
        text.parse()
    };
    let expected = || match *range.end() {
        usize::MAX => format!("expected a whole number of at least {}", range.start()),
        end => format!("expected a whole number from {} to {end}", range.start()),
    };
    parsed.ok().filter(|value| range.contains(value)).ok_or_else(expected)
}

// === impl Mistakes ===

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mistake { name, value, reason } in &self.0 {
            writeln!(f, "error: {name}=`{value}`: {reason}")?;
        }
        writeln!(f, "hint: docs/environment.md lists all variables")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_go_numbers() {
        for (text, value) in
            [("4", 4), ("0x4", 4), ("0X1f", 31), ("010", 8), ("0o10", 8), ("0b11", 3), ("0", 0)]
        {
            assert_eq!(number(text, 0..=100), Ok(value), "{text}");
        }
        for text in ["", "-1", "4.0", "0x", "101", "9999999999999999999999"] {
            assert!(number(text, 0..=100).is_err(), "{text}");
        }
    }
}
