//! X-Ray trace headers: `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=<0|1>` (RT-19, IN-07), from callers who send them and
//! from those who send a W3C `traceparent`.

use std::fmt;

use uuid::Uuid;

/// A trace header that is safe to hand to a runtime: visible ASCII, known fields only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceId {
    root: String,
    parent: String,
    sampled: bool,
    lineage: Option<String>,
}

/// The segment of a trace that is being recorded, as `REPORT` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `1-…`.
    pub trace: String,
    /// What the function's own segments have for a parent.
    pub id: String,
}

// === impl Segment ===

impl Segment {
    /// Of a header as a runtime gets it; nothing where the trace is not sampled.
    pub fn sampled(header: &str) -> Option<Self> {
        let trace = header.contains("Sampled=1").then(|| TraceId::adopt(header)).flatten()?;
        trace.sampled.then_some(Self { trace: trace.root, id: trace.parent })
    }
}

// === impl TraceId ===

impl TraceId {
    /// A new trace that is not sampled; `seconds` is the Unix time that goes into its root.
    pub fn mint(seconds: u32) -> Self {
        let random = Uuid::new_v4().simple().to_string();
        Self {
            root: format!("1-{seconds:08x}-{}", &random[..24]),
            parent: new_parent(),
            sampled: false,
            lineage: None,
        }
    }

    /// The caller's trace out of its headers: X-Ray's, else W3C's.
    pub fn of(headers: &http::HeaderMap) -> Option<Self> {
        let text = |name: &http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let xray = text(&crate::headers::AMZN_TRACE_ID).and_then(Self::adopt);
        xray.or_else(|| Self::from_traceparent(text(&crate::headers::TRACEPARENT)?))
    }

    /// The same trace in X-Ray's words: `00-<32 hex>-<16 hex>-<2 hex>` of the W3C's Trace Context, whose ids have the same
    /// lengths.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let mut fields = header.trim().split('-');
        let (version, trace, parent, flags) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let lower_hex =
            |text: &str, length| is_hex(text, length) && !text.bytes().any(|b| b.is_ascii_uppercase());
        let not_zero = |text: &str| text.bytes().any(|b| b != b'0');
        // Later versions may have further fields.
        let known = lower_hex(version, 2) && version != "ff" && (version != "00" || fields.next().is_none());
        let ids = lower_hex(trace, 32) && not_zero(trace) && lower_hex(parent, 16) && not_zero(parent);
        if !known || !ids || !lower_hex(flags, 2) {
            return None;
        }
        Some(Self {
            root: format!("1-{}-{}", &trace[..8], &trace[8..]),
            parent: parent.to_owned(),
            sampled: u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1),
            lineage: None,
        })
    }

    /// `Root=…`, which is all that functions behind HTTP see of it.
    pub fn root(&self) -> String {
        format!("Root={}", self.root)
    }

    /// Adopts a caller's trace: its root always, its parent where there is one. `None` without a usable root.
    pub fn adopt(header: &str) -> Option<Self> {
        let field = |name: &str| {
            header
                .split(';')
                .filter_map(|part| part.trim().split_once('='))
                .find(|(k, _)| *k == name)
                .map(|(_, v)| v)
        };
        let root = field("Root").filter(|v| is_root(v))?;
        Some(Self {
            root: root.to_owned(),
            parent: field("Parent").filter(|v| is_hex(v, 16)).map_or_else(new_parent, str::to_owned),
            sampled: field("Sampled") == Some("1"),
            lineage: field("Lineage").filter(|v| is_lineage(v)).map(str::to_owned),
        })
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, parent, sampled, lineage } = self;
        write!(f, "Root={root};Parent={parent};Sampled={}", u8::from(*sampled))?;
        lineage.iter().try_for_each(|lineage| write!(f, ";Lineage={lineage}"))
    }
}

fn new_parent() -> String {
    Uuid::new_v4().simple().to_string()[..16].to_owned()
}

fn is_root(text: &str) -> bool {
    let mut parts = text.split('-');
    parts.next() == Some("1")
        && parts.next().is_some_and(|time| is_hex(time, 8))
        && parts.next().is_some_and(|random| is_hex(random, 24))
        && parts.next().is_none()
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_lineage(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn adopts_root_and_mints_a_missing_parent() {
        let full = format!("{ROOT};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0");
        assert_eq!(TraceId::adopt(&full).unwrap().to_string(), full);
        let minted = TraceId::adopt(&format!("Self=x;{ROOT}")).unwrap().to_string();
        assert!(minted.starts_with(&format!("{ROOT};Parent=")) && minted.ends_with(";Sampled=0"), "{minted}");
        assert_eq!(TraceId::adopt("Root=1-zz-11"), None);
        assert_eq!(TraceId::adopt(""), None);
    }

    #[test]
    fn segments_are_those_of_sampled_traces() {
        let header = format!("{ROOT};Parent=53995c3f42cd8ad8;Sampled=");
        let segment = Segment::sampled(&format!("{header}1;Lineage=1:a87bd80c:0")).unwrap();
        assert_eq!(
            (segment.trace.as_str(), segment.id.as_str()),
            ("1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8")
        );
        assert_eq!(Segment::sampled(&format!("{header}0")), None);
        assert_eq!(Segment::sampled("Sampled=1"), None);
    }

    #[test]
    fn traces_of_the_w3c_are_the_same_in_other_words() {
        let trace = |header: &str| TraceId::from_traceparent(header).map(|trace| trace.to_string());
        let expected = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=";
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";
        assert_eq!(trace(&format!("{header}1")), Some(format!("{expected}1")));
        assert_eq!(trace(&format!("{header}0")), Some(format!("{expected}0")));
        assert_eq!(trace(&format!("cc{}1-more", &header[2..])), Some(format!("{expected}1")));
        for bad in [
            "",
            "00-x-y-z",
            &format!("{header}1-more"),
            &format!("ff{}1", &header[2..]),
            &header.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(trace(bad), None, "{bad}");
        }
    }

    #[test]
    fn minted_traces_can_be_adopted() {
        let minted = TraceId::mint(7);
        assert_eq!(TraceId::adopt(&minted.to_string()), Some(minted));
    }

    proptest! {
        #[test]
        fn rt_05_whatever_is_adopted_is_visible_ascii(text in "\\PC*") {
            for header in [text.clone(), format!("{ROOT};Parent={text};Lineage={text}")] {
                if let Some(trace) = TraceId::adopt(&header) {
                    prop_assert!(trace.to_string().bytes().all(|b| (0x20..0x7f).contains(&b)));
                }
            }
        }
    }
}
