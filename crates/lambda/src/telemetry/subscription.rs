//! What a subscriber asks for: types, buffering, and where to (section 5.5). The texts of refusals are AWS's where those were
//! recorded.

use std::time::Duration;

use http::{StatusCode, Uri};
use serde::Deserialize;

use super::{Api, Category, Schema};

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Through which API.
    pub api: Api,
    /// The shapes of its records.
    pub schema: Schema,
    /// Whose records.
    pub types: Vec<Category>,
    /// When a batch is sent.
    pub buffering: Buffering,
    /// Where to.
    pub destination: Destination,
}

/// When a batch is sent: at whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffering {
    /// So many records.
    pub max_items: usize,
    /// So many bytes.
    pub max_bytes: usize,
    /// So long after its first record.
    pub timeout: Duration,
}

/// Where records are sent to. The host is always the environment's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Arrays, as HTTP requests.
    Http {
        /// The method.
        method: Delivery,
        /// The port.
        port: u16,
        /// `Host`.
        authority: String,
        /// Path and query.
        path: String,
    },
    /// Lines, over one connection.
    Tcp {
        /// The port.
        port: u16,
    },
}

/// The methods of [`Destination::Http`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Delivery {
    /// The default.
    #[default]
    #[serde(rename = "POST")]
    Post,
    /// By wish.
    #[serde(rename = "PUT")]
    Put,
}

/// Why there is no subscription.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// A body that cannot be read.
    #[error("{0}")]
    Deserialization(String),
    /// A value that is not allowed.
    #[error("{0}")]
    Validation(String),
    /// A place that is not the environment's own.
    #[error("{0}")]
    AccessDenied(&'static str),
    /// The init is over.
    #[error("{} API subscription is closed", .0.word())]
    Closed(Api),
    /// The environment is going away.
    #[error("Internal Server Error")]
    Internal,
}

/// LM-18.
const ITEMS: std::ops::RangeInclusive<i64> = 1_000..=10_000;
const BYTES: std::ops::RangeInclusive<i64> = 262_144..=1_048_576;
const MILLIS: std::ops::RangeInclusive<i64> = 25..=30_000;

/// AWS's own port in an environment.
const RESERVED_PORT: u16 = 9001;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: Option<Schema>,
    types: Vec<Category>,
    #[serde(default)]
    buffering: Option<BufferingBody>,
    destination: DestinationBody,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BufferingBody {
    max_items: Option<i64>,
    max_bytes: Option<i64>,
    timeout_ms: Option<i64>,
}

#[derive(Deserialize)]
struct DestinationBody {
    protocol: Protocol,
    #[serde(rename = "URI")]
    uri: Option<String>,
    #[serde(default)]
    method: Option<Delivery>,
    #[serde(default)]
    #[expect(dead_code, reason = "there is one value; another one is refused")]
    encoding: Option<Encoding>,
    port: Option<u16>,
}

#[derive(Deserialize)]
enum Protocol {
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "TCP")]
    Tcp,
}

#[derive(Deserialize)]
enum Encoding {
    #[serde(rename = "JSON")]
    Json,
}

// === impl Subscription ===

impl Subscription {
    /// Reads the body of a subscription.
    ///
    /// # Errors
    ///
    /// What is no JSON of the right form, and values beyond what AWS allows.
    pub fn parse(api: Api, body: &[u8]) -> Result<Self, SubscriptionError> {
        let Body { schema_version, types, buffering, destination } = serde_json::from_slice(body)
            .map_err(|error| SubscriptionError::Deserialization(error.to_string()))?;
        let schema = schema(api, schema_version)?;
        if types.is_empty() {
            return Err(SubscriptionError::Validation("types should not be empty".to_owned()));
        }
        let buffering = Buffering::of(buffering.unwrap_or_default())?;
        Ok(Self { api, schema, types, buffering, destination: Destination::of(destination)? })
    }

    /// Whether it wants records of this category.
    pub fn wants(&self, category: Category) -> bool {
        self.types.contains(&category)
    }
}

/// The older API does without a version.
fn schema(api: Api, given: Option<Schema>) -> Result<Schema, SubscriptionError> {
    match (api, given) {
        (_, Some(schema)) if schema.api() == api => Ok(schema),
        (Api::Logs, None) => Ok(Schema::V20200815),
        (_, Some(_)) => {
            let text = format!("schemaVersion is not one of the {} API", api.word());
            Err(SubscriptionError::Validation(text))
        }
        (Api::Telemetry, None) => Err(SubscriptionError::Validation("schemaVersion is required".to_owned())),
    }
}

// === impl Buffering ===

impl Buffering {
    fn of(body: BufferingBody) -> Result<Self, SubscriptionError> {
        let items = within("maxItems", body.max_items.unwrap_or(10_000), ITEMS)?;
        let bytes = within("maxBytes", body.max_bytes.unwrap_or(262_144), BYTES)?;
        let millis = within("timeoutMs", body.timeout_ms.unwrap_or(1_000), MILLIS)?;
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let timeout = Duration::from_millis(millis);
        Ok(Self { max_items: size(items), max_bytes: size(bytes), timeout })
    }
}

fn within(name: &str, value: i64, range: std::ops::RangeInclusive<i64>) -> Result<u64, SubscriptionError> {
    let text = || format!("{name} should be between {} and {}", range.start(), range.end());
    let valid = u64::try_from(value).ok().filter(|_| range.contains(&value));
    valid.ok_or_else(|| SubscriptionError::Validation(text()))
}

// === impl Destination ===

impl Destination {
    fn of(body: DestinationBody) -> Result<Self, SubscriptionError> {
        let DestinationBody { protocol, uri, method, port, .. } = body;
        let missing = |name: &str| SubscriptionError::Validation(format!("destination.{name} is required"));
        let destination = match protocol {
            Protocol::Tcp => Self::Tcp { port: port.ok_or_else(|| missing("port"))? },
            Protocol::Http => Self::http(&uri.ok_or_else(|| missing("URI"))?, method.unwrap_or_default())?,
        };
        if destination.port() == RESERVED_PORT {
            return Err(SubscriptionError::AccessDenied("Port 9001 is reserved."));
        }
        Ok(destination)
    }

    fn http(uri: &str, method: Delivery) -> Result<Self, SubscriptionError> {
        let invalid = || SubscriptionError::Validation("destination.URI is not a valid URI".to_owned());
        let uri: Uri = uri.parse().map_err(|_| invalid())?;
        if uri.scheme_str() != Some("http") {
            return Err(SubscriptionError::AccessDenied("Only 'http' scheme is supported."));
        }
        let authority = uri.authority().ok_or_else(invalid)?;
        // The emulator's short form is taken, too.
        if !matches!(authority.host(), "sandbox.localdomain" | "sandbox") {
            return Err(SubscriptionError::AccessDenied("Only 'sandbox.localdomain' hostname is supported."));
        }
        Ok(Self::Http {
            method,
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// The listener's port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Http { port, .. } | Self::Tcp { port } => *port,
        }
    }
}

// === impl SubscriptionError ===

impl SubscriptionError {
    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Deserialization(_) | Self::Validation(_) => StatusCode::BAD_REQUEST,
            Self::AccessDenied(_) | Self::Closed(_) => StatusCode::FORBIDDEN,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The JSON body. Its keys stand in the other order than elsewhere, and no newline ends it.
    pub fn body(&self, api: Api) -> String {
        let kind = match self {
            Self::Deserialization(_) => "DeserializationError",
            Self::Validation(_) => "ValidationError",
            Self::AccessDenied(_) => "AccessDenied",
            Self::Closed(_) => "SubscriptionClosed",
            Self::Internal => "InternalError",
        };
        let error_type = format!("{}.{kind}", api.word());
        serde_json::json!({"errorType": error_type, "errorMessage": self.to_string()}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn body() -> Value {
        json!({
            "schemaVersion": "2022-12-13", "types": ["platform", "function"],
            "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 100},
            "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/t?x"},
        })
    }

    fn parse(api: Api, change: impl FnOnce(&mut Value)) -> Result<Subscription, SubscriptionError> {
        let mut body = body();
        change(&mut body);
        Subscription::parse(api, body.to_string().as_bytes())
    }

    #[test]
    fn fields_and_defaults() {
        let given = parse(Api::Telemetry, |_| {}).unwrap();
        let destination = Destination::Http {
            method: Delivery::Post,
            port: 4243,
            authority: "sandbox.localdomain:4243".to_owned(),
            path: "/t?x".to_owned(),
        };
        assert_eq!((given.schema, &given.destination), (Schema::V20221213, &destination));
        assert!(given.wants(Category::Function) && !given.wants(Category::Extension));
        let least = parse(Api::Logs, |body| {
            *body = json!({"types": ["extension"], "destination": {"protocol": "TCP", "port": 5, "encoding": "JSON"}});
        });
        let least = least.unwrap();
        let buffering =
            Buffering { max_items: 10_000, max_bytes: 262_144, timeout: Duration::from_millis(1_000) };
        assert_eq!((least.schema, least.buffering), (Schema::V20200815, buffering));
        assert_eq!(least.destination, Destination::Tcp { port: 5 });
        let put = parse(Api::Telemetry, |body| body["destination"]["method"] = json!("PUT")).unwrap();
        assert!(matches!(put.destination, Destination::Http { method: Delivery::Put, .. }));
    }

    #[test]
    fn lm_18_ranges_are_those_of_aws() {
        for (name, least, most) in
            [("maxItems", 1_000, 10_000), ("maxBytes", 262_144, 1_048_576), ("timeoutMs", 25, 30_000)]
        {
            let given = |value: i64| parse(Api::Telemetry, |body| body["buffering"][name] = json!(value));
            assert!(given(least).is_ok() && given(most).is_ok(), "{name}");
            for wrong in [least - 1, most + 1, -1] {
                let error = given(wrong).unwrap_err();
                let text = format!(
                    r#"{{"errorType":"Telemetry.ValidationError","errorMessage":"{name} should be between {least} and {most}"}}"#
                );
                assert_eq!((error.status().as_u16(), error.body(Api::Telemetry)), (400, text));
            }
        }
    }

    #[test]
    fn refusals() {
        let refused = |change: fn(&mut Value)| {
            let error = parse(Api::Telemetry, change).unwrap_err();
            (error.status().as_u16(), error.body(Api::Telemetry))
        };
        let uri = |text: &'static str| {
            let error = parse(Api::Telemetry, |body| body["destination"]["URI"] = json!(text)).unwrap_err();
            (error.status().as_u16(), error.body(Api::Telemetry))
        };
        let denied = |message: &str| {
            (403, format!(r#"{{"errorType":"Telemetry.AccessDenied","errorMessage":"{message}"}}"#))
        };
        assert_eq!(uri("https://sandbox.localdomain"), denied("Only 'http' scheme is supported."));
        assert_eq!(uri("http://example.com/"), denied("Only 'sandbox.localdomain' hostname is supported."));
        assert_eq!(uri("http://sandbox:9001/").0, 403);
        let (status, text) = refused(|body| body["types"] = json!(["network"]));
        assert!(
            status == 400
                && text.starts_with(
                    r#"{"errorType":"Telemetry.DeserializationError","errorMessage":"unknown variant"#
                ),
            "{text}"
        );
        for change in [
            (|body: &mut Value| body["schemaVersion"] = Value::Null) as fn(&mut Value),
            |body| body["schemaVersion"] = json!("2020-08-15"),
            |body| body["schemaVersion"] = json!("1999-01-01"),
            |body| body["types"] = json!([]),
            |body| body["types"] = json!(["platform.start"]),
            |body| body["destination"] = json!({"protocol": "TCP"}),
            |body| body["destination"]["URI"] = json!("a b"),
            |body| body["destination"]["encoding"] = json!("XML"),
            |body| *body = json!([]),
        ] {
            assert_eq!(refused(change).0, 400);
        }
        let closed = SubscriptionError::Closed(Api::Logs);
        assert_eq!(
            closed.body(Api::Logs),
            r#"{"errorType":"Logs.SubscriptionClosed","errorMessage":"Logs API subscription is closed"}"#
        );
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in any::<Vec<u8>>(), uri in "\\PC*", number in any::<i64>()) {
            let _ = Subscription::parse(Api::Logs, &body);
            let given = parse(Api::Telemetry, |body| {
                body["destination"]["URI"] = json!(uri);
                body["buffering"]["maxBytes"] = json!(number);
            });
            prop_assert!(given.is_err() || (262_144..=1_048_576).contains(&number));
        }
    }
}
