//! Label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    label: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

// === impl Labels ===

impl Labels {
    /// Parses a selector; the error says what was not understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        split(text)?
            .into_iter()
            .map(|term| Requirement::parse(term.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the labels that `value_of` knows fulfil every requirement.
    pub(super) fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(value_of(&requirement.label)))
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut terms, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(format!("found '{c}' in {text:?}")),
            ',' if !inside => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(format!("found '', expected: ',' or ')' in {text:?}"));
    }
    terms.push(&text[start..]);
    let only_blank = terms.len() == 1 && terms[0].trim().is_empty();
    Ok(if only_blank { Vec::new() } else { terms })
}

// === impl Requirement ===

impl Requirement {
    fn parse(term: &str) -> Result<Self, String> {
        if let Some(label) = term.strip_prefix('!') {
            return Self::new(label, Test::Missing);
        }
        if term.ends_with(')') {
            return Self::parse_set(term);
        }
        if let Some((label, value)) = term.split_once("!=") {
            return Self::new(label, Test::NotIn(vec![checked(value)?]));
        }
        if let Some((label, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            return Self::new(label, Test::In(vec![checked(value)?]));
        }
        Self::new(term, Test::Exists)
    }

    fn parse_set(term: &str) -> Result<Self, String> {
        let wrong = || format!("found '{term}', expected: in, notin, =, ==, !=, gt, lt");
        let (head, values) = term.trim_end_matches(')').split_once('(').ok_or_else(wrong)?;
        let (label, operator) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
        let values = values.split(',').map(checked).collect::<Result<Vec<_>, _>>()?;
        match operator {
            "in" => Self::new(label, Test::In(values)),
            "notin" => Self::new(label, Test::NotIn(values)),
            _ => Err(wrong()),
        }
    }

    fn new(label: &str, test: Test) -> Result<Self, String> {
        let label = label.trim();
        let good = !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
        if good {
            Ok(Self { label: label.to_owned(), test })
        } else {
            Err(format!("found '{label}', expected: !, identifier, or 'end of string'"))
        }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
        }
    }
}

fn checked(value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        Ok(value.to_owned())
    } else {
        Err(format!("found '{value}', expected: identifier"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels_of = |name: &str| labels.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        Labels::parse(selector).unwrap().matches(labels_of)
    }

    #[test]
    fn every_operator() {
        let labels = [("app", "web"), ("tier", "front")];
        for yes in
            ["", "app=web", "app==web", "app!=db", "app in (db, web)", "app notin (db)", "app", "!zone"]
        {
            assert!(matches(yes, &labels), "{yes}");
        }
        for no in ["app=db", "app!=web", "app in (db)", "app notin (web,db)", "zone", "!app", "app=web,zone"]
        {
            assert!(!matches(no, &labels), "{no}");
        }
        assert!(matches("zone!=a", &labels), "an absent label is not equal");
        assert!(matches("zone notin (a)", &labels), "an absent label is in no set");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["app in web", "(app)", "app in (web", "a b", ",", "app=we b", "=x", "app in (a))"] {
            assert!(Labels::parse(bad).is_err(), "{bad}");
        }
    }
}
