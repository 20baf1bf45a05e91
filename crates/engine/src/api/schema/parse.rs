//! Reads the schema text: one structure a line, see the head of each file.
//!
//! The text is part of the program, so a line that is not understood is a bug, found by the tests.

use super::{Field, ListKind, Scalar, Schema, Struct, Type};

/// Parses files into one schema.
pub(super) fn parse(files: &[&'static str]) -> Schema {
    let lines = files.iter().flat_map(|file| file.lines());
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let structs = lines.filter_map(structure).map(|s| (s.name, s)).collect();
    Schema { structs }
}

fn structure(line: &'static str) -> Option<Struct> {
    let (head, body) = line.split_once(" =")?;
    let name = head.trim_end_matches(['~', '*']);
    let marks = &head[name.len()..];
    let fields = body.split_whitespace().filter_map(field).collect();
    Some(Struct { name, fields, atomic: marks.contains('~'), open: marks.contains('*') })
}

fn field(word: &'static str) -> Option<(&'static str, Field)> {
    let (name, spec) = word.split_once(':')?;
    let required = spec.ends_with('!');
    let ty = ty(spec.trim_end_matches('!'))?;
    Some((name, Field { ty, required }))
}

fn ty(text: &'static str) -> Option<Type> {
    if let Some(rest) = text.strip_prefix('[') {
        let (item, suffix) = rest.rsplit_once(']')?;
        let kind = match suffix.strip_prefix('<').and_then(|s| s.strip_suffix('>')) {
            None => ListKind::Atomic,
            Some("*") => ListKind::Set,
            Some(keys) => ListKind::Keyed(keys.split(',').collect()),
        };
        return Some(Type::List(Box::new(ty(item)?), kind));
    }
    if let Some(rest) = text.strip_prefix('{') {
        let (value, suffix) = rest.rsplit_once('}')?;
        return Some(Type::Map(Box::new(ty(value)?), suffix == "~"));
    }
    Some(match text {
        "any" | "empty" => Type::Any,
        "str" => Type::Scalar(Scalar::String),
        "int" => Type::Scalar(Scalar::Integer),
        "num" => Type::Scalar(Scalar::Number),
        "bool" => Type::Scalar(Scalar::Boolean),
        "time" => Type::Scalar(Scalar::Time),
        "bytes" => Type::Scalar(Scalar::Bytes),
        "quantity" => Type::Scalar(Scalar::Quantity),
        "intstr" => Type::Scalar(Scalar::IntOrString),
        name => Type::Struct(name),
    })
}
