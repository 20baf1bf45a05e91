//! Cross-origin settings of a Function URL (HT-26): which pages of others may call, and what their browsers are told.
//!
//! A browser asks ahead of unusual calls (a preflight); that is answered without the function. To what the function answers
//! itself the settings are added.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// The settings. Lists that hold `*` allow anything.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// Pages that may call, as `https://example.com`.
    pub origins: Vec<String>,
    /// Methods that they may use.
    pub methods: Vec<String>,
    /// Headers that they may send.
    pub headers: Vec<String>,
    /// Headers of answers that they may read.
    pub exposed: Vec<String>,
    /// How long a browser may remember the answer to a preflight, in seconds.
    pub max_age: Option<u32>,
    /// Whether they may send cookies.
    pub credentials: bool,
}

const ANY: &str = "*";

// === impl Cors ===

impl Cors {
    /// What a preflight is told; nothing where it is refused. `None` where the request is no preflight.
    pub fn preflight(&self, method: &Method, request: &HeaderMap) -> Option<HeaderMap> {
        let origin = request.get(ORIGIN).filter(|_| *method == Method::OPTIONS)?;
        let wanted = text(request.get(ACCESS_CONTROL_REQUEST_METHOD)?);
        let mut fields = HeaderMap::new();
        let Some(allowed) = self.origin(origin) else { return Some(fields) };
        let headers = request.get(ACCESS_CONTROL_REQUEST_HEADERS).map(text).unwrap_or_default();
        let mut headers = headers.split(',').map(str::trim).filter(|name| !name.is_empty());
        if !allows(&self.methods, wanted) || !headers.all(|name| allows(&self.headers, name)) {
            return Some(fields);
        }
        self.say(allowed, &mut fields);
        for (name, list) in
            [(ACCESS_CONTROL_ALLOW_METHODS, &self.methods), (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers)]
        {
            if let Some(value) = joined(list) {
                fields.insert(name, value);
            }
        }
        if let Some(seconds) = self.max_age {
            fields.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
        }
        Some(fields)
    }

    /// Adds to an answer of the function's what the page at `origin` needs. What the function said itself stays, too.
    pub fn add(&self, origin: &HeaderValue, answer: &mut HeaderMap) {
        let Some(allowed) = self.origin(origin) else { return };
        let mut exposed = self.exposed.clone();
        exposed
            .extend(answer.get_all(ACCESS_CONTROL_EXPOSE_HEADERS).iter().map(|value| text(value).to_owned()));
        if let Some(value) = joined(&exposed) {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, value);
        }
        self.say(allowed, answer);
    }

    fn say(&self, allowed: HeaderValue, fields: &mut HeaderMap) {
        fields.append(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            fields.append(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        fields.append(VARY, HeaderValue::from_static("Origin"));
    }

    /// What an allowed origin is told. A page with cookies must be named.
    fn origin(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let any = self.origins.iter().any(|allowed| allowed == ANY);
        if any && !self.credentials {
            return Some(HeaderValue::from_static(ANY));
        }
        let named = self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(text(origin)));
        (any || named).then(|| origin.clone())
    }
}

fn allows(list: &[String], name: &str) -> bool {
    list.iter().any(|allowed| allowed == ANY || allowed.eq_ignore_ascii_case(name))
}

fn joined(list: &[String]) -> Option<HeaderValue> {
    HeaderValue::try_from(list.join(",")).ok().filter(|value| !value.is_empty())
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn cors() -> Cors {
        Cors {
            origins: list(&["https://a.example", "https://b.example"]),
            methods: list(&["GET", "PUT"]),
            headers: list(&["content-type", "x-zoo"]),
            exposed: list(&["x-mine"]),
            max_age: Some(60),
            credentials: false,
        }
    }

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap())
        };
        lines.iter().map(field).collect()
    }

    fn asks(cors: &Cors, origin: &str, method: &str, headers: &str) -> Option<HeaderMap> {
        let request = fields(&[
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ]);
        cors.preflight(&Method::OPTIONS, &request)
    }

    #[test]
    fn ht_26_preflights() {
        let told = asks(&cors(), "https://b.example", "PUT", "X-Zoo, content-type").unwrap();
        let expected = fields(&[
            ("access-control-allow-origin", "https://b.example"),
            ("vary", "Origin"),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "content-type,x-zoo"),
            ("access-control-max-age", "60"),
        ]);
        assert_eq!(told, expected);
        for (origin, method, headers) in [
            ("https://c.example", "PUT", ""),
            ("https://b.example", "DELETE", ""),
            ("https://b.example", "PUT", "x-other"),
        ] {
            assert_eq!(
                asks(&cors(), origin, method, headers),
                Some(HeaderMap::new()),
                "{origin} {method} {headers}"
            );
        }
    }

    #[test]
    fn what_is_no_preflight_is_the_functions() {
        let request = fields(&[("origin", "https://a.example"), ("access-control-request-method", "GET")]);
        assert_eq!(cors().preflight(&Method::GET, &request), None);
        assert_eq!(cors().preflight(&Method::OPTIONS, &fields(&[("origin", "https://a.example")])), None);
        assert_eq!(cors().preflight(&Method::OPTIONS, &HeaderMap::new()), None);
    }

    #[test]
    fn anybody_and_cookies() {
        let any = Cors { origins: list(&["*"]), methods: list(&["*"]), ..cors() };
        assert_eq!(asks(&any, "https://x.example", "PATCH", "").unwrap()["access-control-allow-origin"], "*");
        let cookies = Cors { credentials: true, ..any };
        let told = asks(&cookies, "https://x.example", "PATCH", "").unwrap();
        assert_eq!(told["access-control-allow-origin"], "https://x.example");
        assert_eq!(told["access-control-allow-credentials"], "true");
    }

    #[test]
    fn ht_26_answers_keep_what_the_function_said() {
        let mut answer = fields(&[
            ("access-control-allow-origin", "https://own.example"),
            ("access-control-expose-headers", "x-theirs"),
            ("content-type", "text/css"),
        ]);
        cors().add(&HeaderValue::from_static("https://a.example"), &mut answer);
        let origins: Vec<_> = answer.get_all("access-control-allow-origin").iter().collect();
        assert_eq!(origins, ["https://own.example", "https://a.example"]);
        assert_eq!(answer["access-control-expose-headers"], "x-mine,x-theirs");
        assert_eq!(answer["vary"], "Origin");
        assert_eq!(answer["content-type"], "text/css");
        let before = answer.clone();
        cors().add(&HeaderValue::from_static("https://c.example"), &mut answer);
        assert_eq!(answer, before, "others are told nothing");
    }
}
