//! References to params: `$(params.NAME)` and its other spellings must name a declared one.

use serde_json::Value;

use super::{Problems, items, text};

/// What is wrong with the references in the steps.
pub(super) fn judge(steps: &[Value], declared: &[&str]) -> Problems {
    let mut problems = Problems::none();
    for (n, step) in steps.iter().enumerate() {
        problems.add(one(step, declared).within("steps", n));
    }
    problems
}

fn one(step: &Value, declared: &[&str]) -> Problems {
    let mut problems = Problems::none();
    let mut check = |value: &str, path: String| {
        if references(value).iter().any(|name| !is_declared(name, declared)) {
            problems.add(Problems::of(format!("non-existent variable in {value:?}"), &[&path]));
        }
    };
    for field in ["name", "image", "workingDir", "script"] {
        check(text(step, field), field.to_owned());
    }
    for field in ["command", "args"] {
        for (n, word) in items(step, field).iter().enumerate() {
            check(word.as_str().unwrap_or_default(), format!("{field}[{n}]"));
        }
    }
    for env in items(step, "env") {
        check(text(env, "value"), format!("env[{}]", text(env, "name")));
    }
    for (n, mount) in items(step, "volumeMounts").iter().enumerate() {
        for field in ["name", "mountPath", "subPath"] {
            check(text(mount, field), format!("volumeMounts[{n}].{field}"));
        }
    }
    problems
}

/// A reference can go into an object param: `NAME.key`; names can have dots of their own.
fn is_declared(reference: &str, declared: &[&str]) -> bool {
    declared.iter().any(|name| {
        reference == *name || reference.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '[']))
    })
}

/// The names referred to in a text.
fn references(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("$(params") {
        rest = &rest[start + "$(params".len()..];
        let Some(end) = rest.find(')') else { break };
        let inner = &rest[..end];
        let quoted = |quote: char| {
            inner.strip_prefix('[')?.strip_prefix(quote)?.split_once(quote).map(|(name, _)| name.to_owned())
        };
        let dotted = || inner.strip_prefix('.').map(|name| name.trim_end_matches("[*]").to_owned());
        names.extend(dotted().or_else(|| quoted('"')).or_else(|| quoted('\'')));
        rest = &rest[end..];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling() {
        let text =
            "$(params.a) $(params[\"b.c\"]) $(params['d']) $(params.e[*]) $$(params.f) $(results.x.path)";
        assert_eq!(references(text), ["a", "b.c", "d", "e", "f"]);
        assert!(is_declared("a.key", &["a"]) && is_declared("a[0]", &["a"]) && !is_declared("ab", &["a"]));
    }
}
