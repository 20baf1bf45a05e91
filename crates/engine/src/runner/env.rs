//! The environment of a container: the image's, then the machine's where the image stands for the machine, then the
//! container's own, with `$(NAME)` expanded as Kubernetes does.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar};

/// Variables of the engine's own environment that reach containers on the base "this machine": where tools are, how to
/// reach package registries, which certificates to trust. Nothing else is inherited.
const FROM_THE_MACHINE: &[&str] = &[
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GOPROXY",
    "GONOPROXY",
    "GONOSUMDB",
    "GOSUMDB",
    "GOFLAGS",
    "GOPRIVATE",
    "GOTOOLCHAIN",
    "GOROOT",
    "JAVA_HOME",
];

/// Beginnings of names that do so too.
const FROM_THE_MACHINE_PREFIXES: &[&str] = &["PIP_", "NPM_CONFIG_", "npm_config_"];

/// Names that carry credentials more often than settings.
const NEVER: &[&str] = &["TOKEN", "PASSWORD", "_AUTH", "_authToken", "SECRET"];

/// What the container's environment is made of.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// `NAME=value` of the image's config.
    pub(super) image: Vec<String>,
    /// Whether the machine's own folders are part of the container's view.
    pub(super) machine: bool,
    /// Set by the engine unless the container says otherwise (caches, `HOME`).
    pub(super) defaults: Vec<(String, String)>,
    /// Set by the engine whatever the container says (`PORT`, `K_SERVICE`).
    pub(super) fixed: Vec<(String, String)>,
}

/// Values that ConfigMaps and Secrets gave for `valueFrom` and `envFrom`.
#[derive(Debug, Default)]
pub(super) struct References {
    /// `envFrom`, in order.
    pub(super) from: Vec<(String, String)>,
    /// Value for the variable of that name.
    pub(super) values: BTreeMap<String, String>,
}

/// Puts it together. Later wins: machine, image, defaults, `envFrom`, `env`, fixed.
pub(super) fn assemble(
    container: &Container,
    sources: Sources,
    references: &References,
) -> Vec<(String, String)> {
    let mut all = Ordered::default();
    if sources.machine {
        for (name, value) in std::env::vars().filter(|(name, _)| inherited(name)) {
            all.set(&name, value);
        }
    }
    for pair in &sources.image {
        if let Some((name, value)) = pair.split_once('=') {
            all.set(name, value.into());
        }
    }
    for (name, value) in sources.defaults.iter().chain(&references.from) {
        all.set(name, value.clone());
    }
    // References see what stands above them in the list, and what `envFrom` gave (Kubernetes API, `EnvVar.value`).
    let mut known: BTreeMap<String, String> = references.from.iter().cloned().collect();
    known.extend(sources.fixed.iter().cloned());
    for variable in container.env.iter().flatten() {
        let value = value_of(variable, references, &known);
        known.insert(variable.name.clone(), value.clone());
        all.set(&variable.name, value);
    }
    for (name, value) in sources.fixed {
        all.set(&name, value);
    }
    all.pairs
}

fn value_of(variable: &EnvVar, references: &References, known: &BTreeMap<String, String>) -> String {
    match (&variable.value, &variable.value_from) {
        (Some(value), _) => expand(value, known),
        (None, Some(_)) => references.values.get(&variable.name).cloned().unwrap_or_default(),
        (None, None) => String::new(),
    }
}

fn inherited(name: &str) -> bool {
    let listed =
        FROM_THE_MACHINE.contains(&name) || FROM_THE_MACHINE_PREFIXES.iter().any(|p| name.starts_with(p));
    listed && !NEVER.iter().any(|part| name.contains(part))
}

/// Expands `$(NAME)`; `$$(NAME)` is a literal `$(NAME)`, an unknown name stays as it is (Kubernetes API,
/// `Container.command`).
pub(super) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(literal) = rest.strip_prefix("$$") {
            out.push('$');
            rest = literal;
            continue;
        }
        let name = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')')).map(|(name, _)| name);
        match name.and_then(|name| known.get(name).map(|value| (name, value))) {
            Some((name, value)) => {
                out.push_str(value);
                rest = &rest[name.len() + 3..];
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// Pairs in the order of their first mention.
#[derive(Default)]
struct Ordered {
    pairs: Vec<(String, String)>,
}

impl Ordered {
    fn set(&mut self, name: &str, value: String) {
        match self.pairs.iter_mut().find(|(key, _)| key == name) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((name.into(), value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> BTreeMap<String, String> {
        BTreeMap::from([("A".into(), "1".into()), ("B_C".into(), "two".into())])
    }

    #[test]
    fn references_expand() {
        for (text, wanted) in [
            ("$(A)-$(B_C)", "1-two"),
            ("$$(A)", "$(A)"),
            ("$(NONE) $A $", "$(NONE) $A $"),
            ("$(A", "$(A"),
            ("100$$", "100$"),
            ("ä$(A)ö", "ä1ö"),
        ] {
            assert_eq!(expand(text, &known()), wanted, "{text}");
        }
    }

    #[test]
    fn the_container_wins_over_the_image_and_the_engine_over_both() {
        let variable = |name: &str, value: &str| EnvVar {
            name: name.into(),
            value: Some(value.into()),
            ..EnvVar::default()
        };
        let container =
            Container { env: Some(vec![variable("A", "c"), variable("PORT", "1")]), ..Container::default() };
        let sources = Sources {
            image: vec!["A=i".into(), "B=i".into()],
            machine: false,
            defaults: vec![("HOME".into(), "/h".into())],
            fixed: vec![("PORT".into(), "9".into())],
        };
        let env = assemble(&container, sources, &References::default());
        let wanted = [("A", "c"), ("B", "i"), ("HOME", "/h"), ("PORT", "9")];
        assert_eq!(env, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn credentials_of_the_machine_stay_there() {
        assert!(inherited("PIP_INDEX_URL"));
        assert!(!inherited("NPM_CONFIG__authToken"));
        assert!(!inherited("AWS_SECRET_ACCESS_KEY"));
    }
}
