//! Telemetry in words (sections 5.5 to 5.7): what subscribers ask for, and the records they get. The records are the JSON
//! lines of the function's log, too ([`crate::log::SystemLog`]).

mod record;
mod subscription;

pub use record::{InitKind, Record, Span, Stamped, line};
pub use subscription::{Buffering, Delivery, Destination, Subscription, SubscriptionError};

/// Which of the two APIs is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `PUT /2022-07-01/telemetry`.
    Telemetry,
    /// `PUT /2020-08-15/logs`, the older one.
    Logs,
}

/// A version of the records' shapes, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub enum Schema {
    /// The Logs API's first.
    #[serde(rename = "2020-08-15")]
    V20200815,
    /// The Logs API's second: with `platform.runtimeDone`.
    #[serde(rename = "2021-03-18")]
    V20210318,
    /// The Telemetry API's first.
    #[serde(rename = "2022-07-01")]
    V20220701,
    /// With the status of inits, and JSON lines as objects.
    #[serde(rename = "2022-12-13")]
    V20221213,
    /// With the function's ARN.
    #[serde(rename = "2025-01-29")]
    V20250129,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// The platform.
    Platform,
    /// The runtime's process.
    Function,
    /// Extensions.
    Extension,
}

// === impl Api ===

impl Api {
    /// The API's name as its errors begin.
    pub fn word(self) -> &'static str {
        match self {
            Self::Telemetry => "Telemetry",
            Self::Logs => "Logs",
        }
    }
}

// === impl Schema ===

impl Schema {
    /// The newest.
    pub const LATEST: Self = Self::V20250129;

    /// Whose version it is.
    pub fn api(self) -> Api {
        if self < Self::V20220701 { Api::Logs } else { Api::Telemetry }
    }
}
