use super::*;
use crate::api::catalog::RESOURCES;

fn check(schema: &Schema, ty: &Type, at: &str) {
    match ty {
        Type::Struct(name) => assert!(schema.structs.contains_key(name), "{at}: there is no {name}"),
        Type::List(inner, _) | Type::Map(inner, _) => check(schema, inner, at),
        Type::Scalar(_) | Type::Any => {}
    }
}

#[test]
fn every_kind_and_every_name_is_there() {
    for resource in RESOURCES {
        let typed = of(resource);
        assert!(typed.structure().is_some(), "{} has no schema", resource.qualified());
        for s in typed.schema.structs() {
            for (name, field) in &s.fields {
                check(typed.schema, &field.ty, &format!("{}.{name}", s.name));
            }
        }
    }
}

#[test]
fn every_line_was_understood() {
    let files = [
        META,
        include_str!("core.schema"),
        include_str!("serving.schema"),
        include_str!("tekton.schema"),
        include_str!("sources.schema"),
    ];
    for file in files {
        let schema = parse::parse(&[file]);
        let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(lines.clone().count(), schema.structs.len());
        let fields: usize = lines.map(|line| line.split_whitespace().count() - 2).sum();
        assert_eq!(fields, schema.structs().map(|s| s.fields.len()).sum::<usize>());
    }
}
