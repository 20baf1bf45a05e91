//! A request, and the parts that all formats take from it in the same way.

use std::collections::BTreeMap;

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, Method, Uri, Version};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::id::RequestId;

/// What a caller sent.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as it was sent.
    pub path: &'a str,
    /// The query as it was sent, without `?`.
    pub query: &'a str,
    /// The version.
    pub version: Version,
    /// The headers, those of proxies in front included.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
    /// The invoke's id.
    pub id: RequestId,
    /// When it came.
    pub time: Timestamp,
    /// Where it came from, as far as trusted proxies say.
    pub source_ip: &'a str,
    /// `Root=…` of the trace.
    pub trace: &'a str,
}

/// What an API would be configured with.
#[derive(Clone, Debug)]
pub struct Api {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The function's name; names the target group of load balancers.
    pub name: String,
    /// The stage; `$default` is not part of any path.
    pub stage: String,
    /// `binaryMediaTypes` of a REST API: bodies of these types are base64 (HT-39).
    pub binary_types: Vec<String>,
    /// Follow AWS also where nobody gains by it.
    pub strict: bool,
}

/// The stage that has no place in a path.
pub(crate) const DEFAULT_STAGE: &str = "$default";

// === impl HttpRequest ===

impl<'a> HttpRequest<'a> {
    /// The path, which always begins with `/` (HT-03).
    pub(super) fn raw_path(&self) -> &'a str {
        if self.path.starts_with('/') { self.path } else { "/" }
    }

    /// `Host` without its port, and the port where there is one.
    fn host_and_port(&self) -> (&'a str, Option<&'a str>) {
        let host = self.text(&HOST).unwrap_or("localhost");
        match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                (name, Some(port).filter(|port| !port.is_empty()))
            }
            // `[::1]` has colons and no port.
            _ => (host, None),
        }
    }

    /// `Host` without its port, and its first label (HT-12, HT-13).
    pub(super) fn domain(&self) -> (&'a str, &'a str) {
        let (name, _) = self.host_and_port();
        (name, name.split('.').next().unwrap_or(name))
    }

    pub(super) fn user_agent(&self) -> &'a str {
        self.text(&USER_AGENT).unwrap_or_default()
    }

    pub(super) fn content_type(&self) -> &'a str {
        self.text(&CONTENT_TYPE).unwrap_or_default()
    }

    pub(super) fn content_encoded(&self) -> bool {
        self.headers.contains_key(CONTENT_ENCODING)
    }

    pub(super) fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        }
    }

    /// `15/Sep/2026:11:53:31 +0000`.
    pub(super) fn clf_time(&self) -> String {
        self.time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
    }

    /// The headers in lower case, each with all of its values, those that AWS's fronts add included; without those of the
    /// connection.
    pub(super) fn fields(&self) -> BTreeMap<&'a str, Vec<String>> {
        let mut fields: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in self.headers.iter().filter(|(name, _)| !HOP_BY_HOP.contains(name)) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            fields.entry(name.as_str()).or_default().push(value);
        }
        fields.insert("x-amzn-trace-id", vec![self.trace.to_owned()]);
        let port = self.host_and_port().1.unwrap_or("80");
        for (name, value) in
            [("x-forwarded-for", self.source_ip), ("x-forwarded-port", port), ("x-forwarded-proto", "http")]
        {
            fields.entry(name).or_insert_with(|| vec![value.to_owned()]);
        }
        fields
    }

    /// All cookies, one by one (HT-07).
    pub(super) fn cookies(&self) -> Vec<String> {
        let headers = self.headers.get_all(COOKIE).iter();
        let text = headers.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        text.flat_map(|text| text.split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>())
            .filter(|cookie| !cookie.is_empty())
            .collect()
    }

    /// The parameters of the query in order, decoded or not.
    pub(super) fn parameters(&self, decoded: bool) -> Vec<(String, String)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let halves = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let decode = |text: &str| if decoded { decode_query(text) } else { text.to_owned() };
        halves.map(|(name, value)| (decode(name), decode(value))).collect()
    }

    fn text(&self, name: &HeaderName) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Headers of one connection, which no function sees.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether the connection is to become a web socket (RFC 6455, 4.2.1).
pub(super) fn asks_for_web_socket(headers: &HeaderMap) -> bool {
    let lists = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    };
    lists(CONNECTION, "upgrade") && lists(UPGRADE, "websocket")
}

/// What matters of the length of a request line.
pub(super) fn line_size(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |target| target.as_str().len())
}

/// Percent-decoded, `+` is a space.
fn decode_query(text: &str) -> String {
    decode_path(&text.replace('+', " "))
}

/// Percent-decoded; what is no UTF-8 is replaced.
pub(super) fn decode_path(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// All values of each name, joined or gathered.
pub(super) fn gather(parameters: Vec<(String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut gathered: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in parameters {
        gathered.entry(name).or_default().push(value);
    }
    gathered
}

/// The last value of each name.
pub(super) fn last<K: Ord + Clone>(gathered: &BTreeMap<K, Vec<String>>) -> BTreeMap<K, String> {
    let last = |values: &Vec<String>| values.last().cloned().unwrap_or_default();
    gathered.iter().map(|(name, values)| (name.clone(), last(values))).collect()
}

/// The values of each name, joined.
pub(super) fn joined<K: Ord + Clone>(gathered: &BTreeMap<K, Vec<String>>) -> BTreeMap<K, String> {
    gathered.iter().map(|(name, values)| (name.clone(), values.join(","))).collect()
}
