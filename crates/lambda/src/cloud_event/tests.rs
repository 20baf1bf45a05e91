//! Vectors of the mapping in both directions, and what holds for any bytes.

use http::HeaderMap;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let name = |text: &str| http::HeaderName::try_from(text).unwrap();
    lines
        .iter()
        .map(|(key, value)| (name(key), http::HeaderValue::from_bytes(value.as_bytes()).unwrap()))
        .collect()
}

const BINARY: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "n-1"), ("ce-source", "/ponds"), ("ce-type", "net.pond.filled")];

fn binary(more: &[(&str, &str)], body: &[u8]) -> Result<Received, BadEvent> {
    receive(&headers(&[&BINARY[..], more].concat()), body)
}

fn structured(json: &str) -> Result<Received, BadEvent> {
    receive(&headers(&[("content-type", "Application/CloudEvents+JSON; charset=utf-8")]), json.as_bytes())
}

fn one(received: Result<Received, BadEvent>) -> CloudEvent {
    match received {
        Ok(Received::One(event)) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ce_02_ce_11_the_contracts_example() {
    let event = one(binary(&[("content-type", "application/json")], br#"{"level":3}"#));
    assert_eq!(event.data, r#"{"level":3}"#);
    let attributes = r#"{"id":"n-1","source":"/ponds","specversion":"1.0","type":"net.pond.filled"}"#;
    assert_eq!(event.contexts(), (format!("{{\"custom\":{attributes}}}"), attributes.to_owned()));
}

#[test]
fn ce_04_ce_06_structured_events() {
    let event = one(structured(
        r#"{"specversion":"1.0","id":"7","source":"s","type":"t","datacontenttype":"application/json","count":3,"flag":true,"none":null,"data": {"b": [1, 2.0],  "a":"x y"}}"#,
    ));
    assert_eq!(event.data, r#"{"b":[1,2.0],"a":"x y"}"#);
    assert_eq!((event.attributes["count"].as_str(), event.attributes["flag"].as_str()), ("3", "true"));
    assert!(!event.attributes.contains_key("none") && !event.attributes.contains_key("data"));
    let base = r#""specversion":"1.0","id":"7","source":"s","type":"t""#;
    let data = |more: &str| one(structured(&format!("{{{base}{more}}}"))).data;
    assert_eq!(data(""), "null");
    assert_eq!(data(r#","data":"text""#), "\"text\"");
    assert_eq!(data(r#","data_base64":"eyJhIjoxfQ==""#), r#"{"a":1}"#, "JSON stays JSON");
    assert_eq!(data(r#","datacontenttype":"image/png","data_base64":"/w==""#), "\"/w==\"");
    assert_eq!(structured(&format!(r#"{{{base},"data":1,"data_base64":"/w=="}}"#)), Err(BadEvent::Base64));
    assert_eq!(structured(&format!(r#"{{{base},"data_base64":"!"}}"#)), Err(BadEvent::Base64));
}

#[test]
fn data_of_any_type() {
    let data = |content_type: &str, body: &[u8]| one(binary(&[("content-type", content_type)], body)).data;
    assert_eq!(data("application/vnd.pond+json", b"[ 1 ]"), "[ 1 ]", "byte for byte");
    assert_eq!(data("text/plain", b"a \"b\""), r#""a \"b\"""#);
    assert_eq!(data("application/json", b"{"), "\"{\"");
    assert_eq!(data("image/png", b"\xff\xfe"), "\"//4=\"");
    assert_eq!(data("application/json", b""), "null");
    assert_eq!(one(binary(&[], b"7")).data, "7");
}

#[test]
fn ce_03_values_of_headers_are_decoded_once() {
    for (value, decoded) in [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC%20%f0%9f%98%80", "Euro € 😀"),
        ("%2520", "%20"),
        ("\"quoted \\\"x\\\" %41\"", "quoted \"x\" A"),
        ("100%", "100%"),
    ] {
        assert_eq!(one(binary(&[("ce-subject", value)], b"1")).attributes["subject"], decoded, "{value}");
    }
    assert_eq!(binary(&[("ce-subject", "%ff")], b"1"), Err(BadEvent::NotText("subject".to_owned())));
    let twice = one(binary(&[("ce-more", "a"), ("ce-more", "b")], b"1"));
    assert_eq!(twice.attributes["more"], "a,b");
    let (_, context) = one(binary(&[("ce-subject", "<é&>")], b"1")).contexts();
    assert!(context.contains(r#""subject":"\u003c\u00e9\u0026\u003e""#), "{context}");
}

#[test]
fn ce_01_modes_are_told_apart() {
    let batch = headers(&[("content-type", "application/cloudevents-batch+json")]);
    let event = r#"{"specversion":"1.0","id":"7","source":"s","type":"t","data":1}"#;
    match receive(&batch, format!("[{event}, {event}]").as_bytes()) {
        Ok(Received::Batch(events)) => assert_eq!((events.len(), &events[1].data[..]), (2, &b"1"[..])),
        other => panic!("{other:?}"),
    }
    assert_eq!(receive(&batch, b"[]"), Ok(Received::Batch(Vec::new())));
    assert!(matches!(receive(&batch, event.as_bytes()), Err(BadEvent::NotAnArray(_))));
    let avro = headers(&[("content-type", "application/cloudevents+avro")]);
    assert_eq!(receive(&avro, b""), Err(BadEvent::Format("avro".to_owned())));
    let other = |content_type| receive(&headers(&[("content-type", content_type), ("ce-id", "1")]), b"x");
    assert_eq!(other("application/json; charset=utf-8"), Ok(Received::Other { json: true }));
    assert_eq!(other("text/plain"), Ok(Received::Other { json: false }));
}

#[test]
fn ce_06_events_that_are_none() {
    assert!(matches!(structured("[]"), Err(BadEvent::NotAnObject(_))));
    assert!(matches!(structured("{"), Err(BadEvent::NotAnObject(_))));
    assert_eq!(
        structured(r#"{"specversion":"1.0","id":"","source":"s","type":"t"}"#),
        Err(BadEvent::Missing("id"))
    );
    let version =
        |text: &str| structured(&format!(r#"{{"specversion":"{text}","id":"1","source":"s","type":"t"}}"#));
    assert_eq!(version("2.0"), Err(BadEvent::Version("2.0".to_owned())));
    assert!(version("0.3").is_ok());
    let long = "x".repeat(70_000);
    let event = format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t","more":"{long}"}}"#);
    assert_eq!(structured(&event), Err(BadEvent::TooLarge));
}

fn replies(mode: ReplyMode) -> Replies {
    Replies { mode, event_type: "t".to_owned(), source: "s".to_owned(), subject: None }
}

fn reply(mode: ReplyMode, result: &str) -> Value {
    let now = Timestamp::from_nanosecond(1_789_473_211_123_456_789).unwrap();
    serde_json::from_slice(&replies(mode).reply(result.as_bytes(), now).unwrap().unwrap()).unwrap()
}

#[test]
fn ce_13_results_as_data() {
    let mut event = reply(ReplyMode::Data, r#"{"a": 1}"#);
    let id = event["id"].take();
    assert_eq!(id.as_str().unwrap().len(), 36);
    assert_eq!(
        event,
        json!({"specversion": "1.0", "id": null, "type": "t", "source": "s", "time": "2026-09-15T11:53:31.123456789Z",
               "datacontenttype": "application/json", "data": {"a": 1}})
    );
    for (result, data) in
        [("\"x \\\"y\\\"\"", "x \"y\""), ("42", "42"), (" words ", "words"), ("\"open", "open")]
    {
        let event = reply(ReplyMode::Data, result);
        assert_eq!(
            (&event["datacontenttype"], &event["data"]),
            (&json!("text/plain"), &json!(data)),
            "{result}"
        );
    }
    let now = Timestamp::UNIX_EPOCH;
    let bytes = replies(ReplyMode::Data).reply(b"\xff", now).unwrap().unwrap();
    assert!(bytes.ends_with(br#""datacontenttype":"application/octet-stream","data_base64":"/w=="}"#));
    assert_eq!(replies(ReplyMode::Data).reply(b"", now), Ok(None));
    let silent = Replies { event_type: String::new(), ..replies(ReplyMode::Data) };
    assert_eq!(silent.reply(b"1", now), Ok(None));
}

#[test]
fn ce_15_results_as_events() {
    let event = reply(ReplyMode::Event, r#"{"type":"own","data":[1]}"#);
    assert_eq!((&event["type"], &event["source"], &event["data"]), (&json!("own"), &json!("s"), &json!([1])));
    assert_eq!((&event["specversion"], event["id"].is_string()), (&json!("1.0"), true));
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(replies(ReplyMode::Event).reply(b"[1]", now), Err(BadReply));
    let subject = Replies { subject: Some("pond".to_owned()), ..replies(ReplyMode::Event) };
    let text = subject.reply(b"{}", now).unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap()["subject"], "pond");
}

/// Numbers as they were written, and JSON of any depth.
#[test]
fn ce_15_nothing_is_lost_of_what_is_passed_on() {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let data = format!(r#"{{"n":12345678901234567890123,"f":1.10,"deep":{deep}}}"#);
    let result = format!(r#"{{"type":null,"source":"","id":"7","time":"t","data":{data}}}"#);
    let now = Timestamp::UNIX_EPOCH;
    let event = replies(ReplyMode::Event).reply(result.as_bytes(), now).unwrap().unwrap();
    let expected =
        format!(r#"{{"data":{data},"id":"7","source":"s","specversion":"1.0","time":"t","type":"t"}}"#);
    assert_eq!(String::from_utf8_lossy(&event), expected);
}

proptest! {
    #[test]
    fn ce_11_what_is_received_is_json_in_ascii_headers(
        kind in prop_oneof![Just("application/json"), Just("text/plain"), Just("application/cloudevents+json")],
        subject in "\\PC{0,20}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut fields = headers(&BINARY);
        fields.insert("content-type", kind.parse().unwrap());
        if let Ok(value) = http::HeaderValue::from_bytes(subject.as_bytes()) {
            fields.insert("ce-subject", value);
        }
        if let Ok(Received::One(event)) = receive(&fields, &body) {
            prop_assert!(serde_json::from_slice::<Value>(&event.data).is_ok() || event.data == body);
            let (custom, context) = event.contexts();
            for header in [custom, context] {
                prop_assert!(header.bytes().all(|b| (0x20..0x7f).contains(&b)), "{}", header);
                prop_assert!(serde_json::from_str::<Value>(&header).is_ok(), "{}", header);
            }
        }
    }

    #[test]
    fn ce_13_what_is_replied_is_an_event(result in proptest::collection::vec(any::<u8>(), 1..200)) {
        let reply = replies(ReplyMode::Data).reply(&result, Timestamp::UNIX_EPOCH).unwrap().unwrap();
        let received = receive(&headers(&[("content-type", STRUCTURED)]), &reply);
        prop_assert!(matches!(received, Ok(Received::One(_))), "{:?}", received);
    }
}
