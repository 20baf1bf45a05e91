//! Objects on stdout, as `-o` asks for them.

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::Session;
use crate::cli::Output;

/// Prints one object; YAML when nothing else is asked for, as the first tm did.
pub(super) fn object(session: &Session, object: &impl Serialize) -> Result<()> {
    let value = tidy(serde_json::to_value(object)?);
    match session.global.output {
        Some(Output::Json) => session.printer.data(&serde_json::to_string_pretty(&value)?),
        Some(Output::Name) => session.printer.data(&name(&value)),
        Some(Output::Yaml) | None => session.printer.data(&yaml(&value)?),
    }
    Ok(())
}

/// Prints several objects: documents of one YAML stream, a JSON List, or a name a line. Nothing is made of `--output` beyond
/// that, so the result can be applied as it is.
pub(super) fn objects(session: &Session, objects: &[Value]) -> Result<()> {
    let objects: Vec<Value> = objects.iter().cloned().map(tidy).collect();
    match session.global.output {
        Some(Output::Json) => {
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
            session.printer.data(&serde_json::to_string_pretty(&list)?);
        }
        Some(Output::Name) => objects.iter().for_each(|object| session.printer.data(&name(object))),
        Some(Output::Yaml) | None => {
            for (index, object) in objects.iter().enumerate() {
                if index > 0 {
                    session.printer.data("---");
                }
                session.printer.data(&yaml(object)?);
            }
        }
    }
    Ok(())
}

/// YAML with each value on the line of its key, however long, so that `grep` finds both; texts of several lines are blocks.
pub(super) fn yaml(value: &impl Serialize) -> Result<String> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let text = serde_saphyr::to_string_with_options(value, options)?;
    Ok(text.trim_end().to_owned())
}

/// Without the server's bookkeeping, keys in the order kubectl has them in.
fn tidy(mut value: Value) -> Value {
    strip(&mut value);
    value.sort_all_objects();
    value
}

/// Bookkeeping of the server that no person wants to read, as kubectl hides it.
fn strip(value: &mut Value) {
    if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(strip);
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
}

/// `kind.group/name`; of a name that the server makes up the part that is known.
fn name(value: &Value) -> String {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    let name =
        ["/metadata/name", "/metadata/generateName"].map(text).into_iter().find(|name| !name.is_empty());
    format!("{}{group}/{}", text("/kind").to_lowercase(), name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_values_stay_on_their_line() {
        let image = format!("tm.local/default/hello@sha256:{}", "0".repeat(64));
        let text = yaml(&json!({"image": image, "script": "one\ntwo\n"})).unwrap();
        assert_eq!(text, format!("image: {image}\nscript: |\n  one\n  two"));
    }

    #[test]
    fn names() {
        let service =
            json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "a"}});
        assert_eq!(name(&service), "service.serving.knative.dev/a");
        assert_eq!(
            name(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})),
            "secret/s"
        );
    }
}
