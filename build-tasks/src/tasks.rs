//! The Tekton Tasks this project brings, and every name by which people know them.
//!
//! One file per language in `tasks/`; the names of older runtimes and of AWS lead to it, with a note that says which
//! version of the language is used today.

/// A Task by one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltinTask {
    /// The name that was asked for.
    pub name: &'static str,
    /// The Task it stands for: `go`, `python`, `node` or `custom`. The name itself when it is one of these.
    pub alias_of: &'static str,
    /// The Task's YAML; nothing for a name that is known and not available yet.
    pub yaml: Option<&'static str>,
    /// What the user should know about this name.
    pub note: Option<&'static str>,
}

const GO: &str = include_str!("../tasks/go.yaml");
const PYTHON: &str = include_str!("../tasks/python.yaml");
const NODE: &str = include_str!("../tasks/node.yaml");
const CUSTOM: &str = include_str!("../tasks/custom.yaml");

/// Marks a name that is known and not available.
const NONE: &str = "";

/// Name, Task, note.
const TABLE: &[(&str, &str, Option<&str>)] = &[
    ("go", "go", None),
    ("python", "python", None),
    ("node", "node", None),
    ("custom", "custom", None),
    // Knative Lambda Runtimes
    ("knative-go-runtime", "go", None),
    ("knative-python-runtime", "python", None),
    (
        "knative-python37-runtime",
        "python",
        Some("Python 3.7 is gone; builds with the Python 3 of BUILD_IMAGE"),
    ),
    ("knative-python27-runtime", "python", Some("Python 2.7 is gone; builds with Python 3")),
    ("knative-node-runtime", "node", None),
    ("knative-node4-runtime", "node", Some("Node.js 4 is gone; builds with the Node.js of BUILD_IMAGE")),
    ("knative-node10-runtime", "node", Some("Node.js 10 is gone; builds with the Node.js of BUILD_IMAGE")),
    ("aws-custom-runtime", "custom", None),
    ("knative-ruby-runtime", NONE, Some("Ruby is not available yet")),
    ("knative-ruby25-runtime", NONE, Some("Ruby is not available yet")),
    ("knative-java-runtime", NONE, Some("Java is not available yet")),
    ("knative-java8-runtime", NONE, Some("Java is not available yet")),
    ("kaniko", NONE, Some("Dockerfiles are not available yet; deploy a built image instead")),
    // AWS
    ("provided", "custom", None),
    ("provided.al2", "custom", None),
    ("provided.al2023", "custom", None),
    ("go1.x", "go", None),
    ("python2.7", "python", Some("Python 2.7 is gone; builds with Python 3")),
    ("python3.6", "python", Some("Python 3.6 is gone; builds with the Python 3 of BUILD_IMAGE")),
    ("python3.7", "python", Some("Python 3.7 is gone; builds with the Python 3 of BUILD_IMAGE")),
    ("python3.8", "python", Some("Python 3.8 is gone; builds with the Python 3 of BUILD_IMAGE")),
    ("python3.9", "python", Some("Python 3.9 is gone; builds with the Python 3 of BUILD_IMAGE")),
    ("python3.10", "python", Some("builds with the Python 3 of BUILD_IMAGE")),
    ("python3.11", "python", Some("builds with the Python 3 of BUILD_IMAGE")),
    ("python3.12", "python", Some("builds with the Python 3 of BUILD_IMAGE")),
    ("python3.13", "python", Some("builds with the Python 3 of BUILD_IMAGE")),
    ("python3.14", "python", Some("builds with the Python 3 of BUILD_IMAGE")),
    ("nodejs10.x", "node", Some("Node.js 10 is gone; builds with the Node.js of BUILD_IMAGE")),
    ("nodejs12.x", "node", Some("Node.js 12 is gone; builds with the Node.js of BUILD_IMAGE")),
    ("nodejs14.x", "node", Some("Node.js 14 is gone; builds with the Node.js of BUILD_IMAGE")),
    ("nodejs16.x", "node", Some("Node.js 16 is gone; builds with the Node.js of BUILD_IMAGE")),
    ("nodejs18.x", "node", Some("builds with the Node.js of BUILD_IMAGE")),
    ("nodejs20.x", "node", Some("builds with the Node.js of BUILD_IMAGE")),
    ("nodejs22.x", "node", Some("builds with the Node.js of BUILD_IMAGE")),
    ("nodejs24.x", "node", Some("builds with the Node.js of BUILD_IMAGE")),
    ("ruby2.7", NONE, Some("Ruby is not available yet")),
    ("ruby3.2", NONE, Some("Ruby is not available yet")),
    ("ruby3.3", NONE, Some("Ruby is not available yet")),
    ("ruby3.4", NONE, Some("Ruby is not available yet")),
    ("java8", NONE, Some("Java is not available yet")),
    ("java8.al2", NONE, Some("Java is not available yet")),
    ("java11", NONE, Some("Java is not available yet")),
    ("java17", NONE, Some("Java is not available yet")),
    ("java21", NONE, Some("Java is not available yet")),
    ("dotnet8", NONE, Some(".NET is not available yet; publish it self-contained and use `custom`")),
    // What people say
    ("golang", "go", None),
    ("python3", "python", None),
    ("nodejs", "node", None),
    ("javascript", "node", None),
    ("typescript", "node", None),
    ("bash", "custom", None),
    ("rust", "custom", None),
];

/// The Task of that name, by any of its names.
pub fn find(name: &str) -> Option<BuiltinTask> {
    all().find(|task| task.name == name)
}

/// Every name, the Tasks' own first.
pub fn all() -> impl Iterator<Item = BuiltinTask> {
    TABLE.iter().map(|&(name, task, note)| BuiltinTask { name, alias_of: task, yaml: yaml(task), note })
}

fn yaml(task: &str) -> Option<&'static str> {
    match task {
        "go" => Some(GO),
        "python" => Some(PYTHON),
        "node" => Some(NODE),
        "custom" => Some(CUSTOM),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_lead_somewhere() {
        let names: BTreeSet<_> = all().map(|task| task.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for task in all() {
            assert_eq!(task.yaml.is_some(), !task.alias_of.is_empty(), "{}", task.name);
            assert!(
                task.yaml.is_some() || task.note.is_some(),
                "{}: what is not available says why",
                task.name
            );
            if let Some(target) = task.yaml.and(find(task.alias_of)) {
                assert_eq!(target.name, target.alias_of);
            }
        }
    }

    #[test]
    fn the_old_names_resolve() {
        for (name, task) in [
            ("knative-go-runtime", "go"),
            ("knative-python27-runtime", "python"),
            ("knative-node4-runtime", "node"),
            ("aws-custom-runtime", "custom"),
            ("provided.al2023", "custom"),
            ("nodejs20.x", "node"),
        ] {
            assert_eq!(find(name).unwrap().alias_of, task);
        }
        assert_eq!(find("cobol"), None);
        assert!(find("knative-python27-runtime").unwrap().note.unwrap().contains("Python 3"));
    }
}
