//! Requests of any form become JSON events.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tm_lambda::RequestId;
use tm_lambda::http_event::{Api, HttpFormat, HttpRequest};

type Headers<'a> = Vec<(&'a str, &'a [u8])>;

fuzz_target!(|input: (&str, &str, &str, Headers<'_>, &[u8], bool)| {
    let (method, path, query, lines, body, strict) = input;
    let Ok(method) = method.parse::<Method>() else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let request = HttpRequest {
        method: &method,
        path,
        query,
        version: Version::HTTP_11,
        headers: &headers,
        body,
        id: RequestId::mint(),
        time: jiff::Timestamp::UNIX_EPOCH,
        source_ip: "192.0.2.1",
        trace: "Root=1-00000000-000000000000000000000000",
    };
    let api = Api {
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        name: "f".to_owned(),
        stage: "live".to_owned(),
        binary_types: vec!["image/*".to_owned()],
        strict,
    };
    for format in HttpFormat::ALL {
        let event = format.event(&request, &api);
        // Not into a `Value`, which takes a key of serde_json's own for an order (`$serde_json::private::RawValue`).
        serde_json::from_slice::<IgnoredAny>(&event).expect("an event is JSON");
    }
});
