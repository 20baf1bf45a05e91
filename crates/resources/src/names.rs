//! Names Kubernetes accepts, checked before anything is sent, and the names Knative makes from them.

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No name at all.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than a DNS label.
    #[error("`{0}` is longer than {LABEL_MAX} characters")]
    TooLong(String),
    /// Not a DNS-1035 label (RFC 1035; Knative asks it of Services since the name becomes a host name).
    #[error(
        "`{0}` is not a DNS-1035 label: lower-case letters, digits and `-`, starting with a letter and ending with a letter or digit"
    )]
    NotALabel(String),
}

/// Checks a Service name: a DNS-1035 label of at most 63 characters.
///
/// # Errors
/// [`NameError`] says what is wrong with it.
pub fn dns1035(name: &str) -> Result<&str, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > LABEL_MAX {
        return Err(NameError::TooLong(name.into()));
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let fine = starts && !name.ends_with('-') && name.chars().all(inner);
    if fine { Ok(name) } else { Err(NameError::NotALabel(name.into())) }
}

/// The closest name that [`dns1035`] accepts, for a hint; `None` when nothing is left of it.
pub fn suggest_dns1035(name: &str) -> Option<String> {
    let replaced: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(LABEL_MAX)
        .collect();
    let trimmed = replaced.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// Name of the Revision that Knative makes for a generation of a Configuration: `hello-00001`.
pub fn revision(configuration: &str, generation: i64) -> String {
    child(configuration, &format!("-{generation:05}"))
}

/// `parent + suffix`; a parent that is too long is cut and a hash of it put in, so that two long names that begin alike
/// have different children (Knative: `ChildName`). Clients never compute such a name; they read it.
pub fn child(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LABEL_MAX {
        return format!("{parent}{suffix}");
    }
    let hash = format!("-{:016x}", fnv(parent.as_bytes()));
    let keep = LABEL_MAX.saturating_sub(suffix.len() + hash.len());
    let head: String = parent.chars().take(keep).collect();
    format!("{}{hash}{suffix}", head.trim_end_matches(['-', '.']))
}

/// FNV-1a: short and the same everywhere; nobody gains from a collision in a namespace of their own.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// `count` random characters as `metadata.generateName` uses them: no vowels, nothing that is easily misread.
pub fn random_suffix(count: usize, mut next_byte: impl FnMut() -> u8) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..count).map(|_| char::from(ALPHABET[usize::from(next_byte()) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names() {
        assert_eq!(dns1035("go-lambda"), Ok("go-lambda"));
        for bad in ["Hello", "1st", "a_b", "-a", "a-", "a.b", "ä"] {
            assert_eq!(dns1035(bad), Err(NameError::NotALabel(bad.into())), "{bad}");
        }
        assert_eq!(dns1035(""), Err(NameError::Empty));
        assert!(matches!(dns1035(&"a".repeat(64)), Err(NameError::TooLong(_))));
    }

    #[test]
    fn suggestions_are_accepted() {
        for (bad, good) in [("Hello_World", "hello-world"), ("1st-try-", "st-try"), ("My.Func", "my-func")] {
            assert_eq!(suggest_dns1035(bad).as_deref(), Some(good));
            assert!(dns1035(good).is_ok());
        }
        assert_eq!(suggest_dns1035("___"), None);
    }

    #[test]
    fn children_stay_labels() {
        assert_eq!(revision("hello", 3), "hello-00003");
        assert!(child(&"a".repeat(80), "-pod").len() <= LABEL_MAX);
        let long = |end: &str| revision(&format!("{}{end}", "a".repeat(60)), 1);
        assert_ne!(long("-b"), long("-c"));
        assert_eq!(dns1035(&long("-b")), Ok(long("-b").as_str()));
        assert_eq!(child(&"a".repeat(59), "-pod").len(), LABEL_MAX);
    }
}
