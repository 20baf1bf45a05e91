//! Events and answers of all formats as golden values, and what holds for any request and any result.

use http::{HeaderMap, Method, Version};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::id::RequestId;

const FORMATS: [HttpFormat; 5] = [
    HttpFormat::ApiGatewayV1,
    HttpFormat::ApiGatewayV2,
    HttpFormat::FunctionUrl,
    HttpFormat::Alb,
    HttpFormat::AlbMultiValue,
];

const ID: &str = "5f0d1c0a-3c55-4b2f-9a77-2d3b6a1e9f10";

fn api() -> Api {
    Api {
        account: "111122223333".to_owned(),
        region: "eu-west-1".to_owned(),
        name: "stork".to_owned(),
        stage: "$default".to_owned(),
        binary_types: Vec::new(),
        strict: false,
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// The request of the contract's examples.
fn with(
    headers: &HeaderMap,
    path: &str,
    query: &str,
    body: &[u8],
    then: impl FnOnce(&HttpRequest<'_>) -> Bytes,
) -> Value {
    let request = HttpRequest {
        method: &Method::POST,
        path,
        query,
        version: Version::HTTP_11,
        headers,
        body,
        id: RequestId::parse(ID).unwrap(),
        time: Timestamp::from_millisecond(1_789_473_211_000).unwrap(),
        source_ip: "198.51.100.7",
        trace: "Root=1-68c80000-000000000000000000000000",
    };
    serde_json::from_slice(&then(&request)).unwrap()
}

fn sample_headers() -> HeaderMap {
    headers(&[
        ("accept", "*/*"),
        ("connection", "close"),
        ("content-length", "9"),
        ("content-type", "text/plain"),
        ("cookie", "hen=1; egg=two,three"),
        ("host", "stork.example.test:8080"),
        ("user-agent", "probe/1"),
        ("x-forwarded-proto", "https"),
        ("x-twice", "one"),
        ("x-twice", "two"),
    ])
}

fn sample(format: HttpFormat) -> Value {
    let (path, query) = ("/a%2Fb/%E2%98%83/x%20y", "k=1&k=2&sp=a+b&flag");
    with(&sample_headers(), path, query, b"some text", |request| format.event(request, &api()))
}

fn empty(format: HttpFormat) -> Value {
    with(&headers(&[("host", "h")]), "/", "", b"", |request| format.event(request, &api()))
}

#[test]
fn ht_02_ht_08_ht_09_function_url_events() {
    let expected = json!({
        "version": "2.0", "routeKey": "$default",
        "rawPath": "/a%2Fb/%E2%98%83/x%20y", "rawQueryString": "k=1&k=2&sp=a+b&flag",
        "cookies": ["hen=1", "egg=two,three"],
        "headers": {
            "accept": "*/*", "content-length": "9", "content-type": "text/plain", "cookie": "hen=1; egg=two,three",
            "host": "stork.example.test:8080", "user-agent": "probe/1",
            "x-amzn-trace-id": "Root=1-68c80000-000000000000000000000000", "x-forwarded-for": "198.51.100.7",
            "x-forwarded-port": "8080", "x-forwarded-proto": "https", "x-twice": "one,two",
        },
        "queryStringParameters": {"flag": "", "k": "1,2", "sp": "a b"},
        "requestContext": {
            "accountId": "anonymous", "apiId": "stork", "domainName": "stork.example.test", "domainPrefix": "stork",
            "http": {
                "method": "POST", "path": "/a/b/\u{2603}/x y", "protocol": "HTTP/1.1", "sourceIp": "198.51.100.7",
                "userAgent": "probe/1",
            },
            "requestId": ID, "routeKey": "$default", "stage": "$default", "time": "15/Sep/2026:11:53:31 +0000",
            "timeEpoch": 1_789_473_211_000_i64,
        },
        "body": "some text", "isBase64Encoded": false,
    });
    assert_eq!(sample(HttpFormat::FunctionUrl), expected);
    let nothing = empty(HttpFormat::FunctionUrl);
    let keys: Vec<&String> = nothing.as_object().unwrap().keys().collect();
    let expected =
        ["version", "routeKey", "rawPath", "rawQueryString", "headers", "requestContext", "isBase64Encoded"];
    assert_eq!(keys, expected, "what is empty is absent, and the order is AWS's");
}

#[test]
fn ht_03_ht_07_http_api_events() {
    let (url, api_event) = (sample(HttpFormat::FunctionUrl), sample(HttpFormat::ApiGatewayV2));
    assert_eq!(api_event["requestContext"]["accountId"], "111122223333");
    assert!(api_event["headers"].get("cookie").is_none() && url["headers"].get("cookie").is_some());
    assert_eq!(api_event["cookies"], url["cookies"]);
    let staged = Api { stage: "live".to_owned(), ..api() };
    let event =
        with(&headers(&[]), "/a%2Fb", "", b"", |request| HttpFormat::ApiGatewayV2.event(request, &staged));
    assert_eq!(
        (&event["rawPath"], &event["requestContext"]["http"]["path"]),
        (&json!("/live/a%2Fb"), &json!("/live/a/b"))
    );
}

#[test]
fn ht_02_ht_36_ht_37_ht_38_ht_40_rest_api_events() {
    let event = sample(HttpFormat::ApiGatewayV1);
    let expected = json!({
        "resource": "/{proxy+}", "path": "/a%2Fb/%E2%98%83/x%20y", "httpMethod": "POST",
        "headers": {
            "Accept": "*/*", "Content-Type": "text/plain", "Cookie": "hen=1; egg=two,three",
            "Host": "stork.example.test:8080", "User-Agent": "probe/1",
            "X-Amzn-Trace-Id": "Root=1-68c80000-000000000000000000000000", "X-Forwarded-For": "198.51.100.7",
            "X-Forwarded-Port": "8080", "X-Forwarded-Proto": "https", "X-Twice": "two",
        },
        "multiValueHeaders": {
            "Accept": ["*/*"], "Content-Type": ["text/plain"], "Cookie": ["hen=1; egg=two,three"],
            "Host": ["stork.example.test:8080"], "User-Agent": ["probe/1"],
            "X-Amzn-Trace-Id": ["Root=1-68c80000-000000000000000000000000"], "X-Forwarded-For": ["198.51.100.7"],
            "X-Forwarded-Port": ["8080"], "X-Forwarded-Proto": ["https"], "X-Twice": ["one", "two"],
        },
        "queryStringParameters": {"flag": "", "k": "2", "sp": "a b"},
        "multiValueQueryStringParameters": {"flag": [""], "k": ["1", "2"], "sp": ["a b"]},
        "pathParameters": {"proxy": "a%2Fb/%E2%98%83/x%20y"}, "stageVariables": null,
        "requestContext": {
            "accountId": "111122223333", "apiId": "stork", "deploymentId": "deployment",
            "domainName": "stork.example.test", "domainPrefix": "stork", "extendedRequestId": "5f0d1c0a-3c55-4=",
            "httpMethod": "POST",
            "identity": {
                "accessKey": null, "accountId": null, "caller": null, "cognitoAuthenticationProvider": null,
                "cognitoAuthenticationType": null, "cognitoIdentityId": null, "cognitoIdentityPoolId": null,
                "principalOrgId": null, "sourceIp": "198.51.100.7", "user": null, "userAgent": "probe/1", "userArn": null,
            },
            "path": "/a%2Fb/%E2%98%83/x%20y", "protocol": "HTTP/1.1", "requestId": ID,
            "requestTime": "15/Sep/2026:11:53:31 +0000", "requestTimeEpoch": 1_789_473_211_000_i64,
            "resourceId": "resource", "resourcePath": "/{proxy+}", "stage": "$default",
        },
        "body": "some text", "isBase64Encoded": false,
    });
    assert_eq!(event, expected);
    let nothing = empty(HttpFormat::ApiGatewayV1);
    assert_eq!(nothing["resource"], "/");
    for name in [
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "pathParameters",
        "stageVariables",
        "body",
    ] {
        assert_eq!(nothing.get(name), Some(&Value::Null), "{name} is there, and null");
    }
}

#[test]
fn ht_35_paths_of_rest_apis() {
    let staged = Api { stage: "live".to_owned(), ..api() };
    let event = with(&headers(&[]), "//ponds/n%2B4/", "", b"", |request| {
        HttpFormat::ApiGatewayV1.event(request, &staged)
    });
    assert_eq!(event["path"], "/ponds/n%2B4/");
    assert_eq!(event["requestContext"]["path"], "/live//ponds/n%2B4/");
    assert_eq!(event["pathParameters"]["proxy"], "ponds/n%2B4");
}

#[test]
fn ht_02_ht_50_load_balancer_events() {
    let expected = json!({
        "requestContext": {"elb": {
            "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/stork/0123456789abcdef",
        }},
        "httpMethod": "POST", "path": "/a%2Fb/%E2%98%83/x%20y",
        "queryStringParameters": {"flag": "", "k": "2", "sp": "a+b"},
        "headers": {
            "accept": "*/*", "content-length": "9", "content-type": "text/plain", "cookie": "hen=1; egg=two,three",
            "host": "stork.example.test:8080", "user-agent": "probe/1",
            "x-amzn-trace-id": "Root=1-68c80000-000000000000000000000000", "x-forwarded-for": "198.51.100.7",
            "x-forwarded-port": "8080", "x-forwarded-proto": "https", "x-twice": "two",
        },
        "body": "some text", "isBase64Encoded": false,
    });
    assert_eq!(sample(HttpFormat::Alb), expected);
    let multi = sample(HttpFormat::AlbMultiValue);
    assert_eq!(multi["multiValueHeaders"]["x-twice"], json!(["one", "two"]));
    assert_eq!(multi["multiValueQueryStringParameters"]["k"], json!(["1", "2"]));
    assert!(multi.get("headers").is_none() && multi.get("queryStringParameters").is_none());
    let nothing = empty(HttpFormat::Alb);
    assert_eq!((&nothing["queryStringParameters"], &nothing["body"]), (&json!({}), &json!("")));
}

#[test]
fn ht_11_ht_39_ht_51_bodies_that_are_no_text_are_base64() {
    let body = |format: HttpFormat, api: &Api, kind: &'static str, body: &[u8]| {
        let headers = headers(&[("content-type", kind)]);
        let event = with(&headers, "/", "", body, |request| format.event(request, api));
        (event["body"].as_str().unwrap().to_owned(), event["isBase64Encoded"] == true)
    };
    let text = ("hi".to_owned(), false);
    let binary = ("aGk=".to_owned(), true);
    for format in [HttpFormat::FunctionUrl, HttpFormat::ApiGatewayV2, HttpFormat::Alb] {
        assert_eq!(body(format, &api(), "application/json", b"hi"), text);
        assert_eq!(body(format, &api(), "multipart/form-data; boundary=x", b"hi"), binary);
        assert_eq!(body(format, &api(), "text/plain", b"\xff"), ("/w==".to_owned(), true));
    }
    let form = "application/x-www-form-urlencoded";
    assert_eq!(body(HttpFormat::FunctionUrl, &api(), form, b"hi"), text);
    assert_eq!(body(HttpFormat::FunctionUrl, &Api { strict: true, ..api() }, form, b"hi"), binary);
    assert_eq!(body(HttpFormat::ApiGatewayV1, &api(), "image/png", b"hi"), text, "no binaryMediaTypes");
    let images = Api { binary_types: vec!["image/*".to_owned()], ..api() };
    assert_eq!(body(HttpFormat::ApiGatewayV1, &images, "image/png", b"hi"), binary);
    assert_eq!(body(HttpFormat::ApiGatewayV1, &api(), "text/plain", b"\xff"), ("/w==".to_owned(), true));
    let encoded = headers(&[("content-type", "text/plain"), ("content-encoding", "gzip")]);
    let event = with(&encoded, "/", "", b"hi", |request| HttpFormat::FunctionUrl.event(request, &api()));
    assert_eq!(event["isBase64Encoded"], true);
}

fn answer(format: HttpFormat, result: &str) -> HttpAnswer {
    format.answer(result.as_bytes()).unwrap_or_else(|error| panic!("{error}: {result}"))
}

fn all<'a>(answer: &'a HttpAnswer, name: &str) -> Vec<&'a str> {
    answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn ht_15_inferred_answers_of_payload_2() {
    for (result, body) in [
        (r#"{"a": [1, "x y"]}"#, r#"{"a":[1,"x y"]}"#),
        (r#"[1, {"b": 2.0}]"#, r#"[1,{"b":2.0}]"#),
        (r#""plain \"text\"""#, r#"plain "text""#),
        ("null", "null"),
        ("42", "42"),
        ("true", "true"),
        (r#"{"body":"x"}"#, r#"{"body":"x"}"#),
    ] {
        let answer = answer(HttpFormat::FunctionUrl, result);
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, body.as_bytes()), "{result}");
        assert_eq!(all(&answer, "content-type"), ["application/json"]);
    }
    assert_eq!(HttpFormat::FunctionUrl.answer(b"{"), Err(BadResult::NotJson));
    assert_eq!(HttpFormat::FunctionUrl.answer(b""), Err(BadResult::NotJson));
}

#[test]
fn ht_14_ht_18_ht_19_ht_20_explicit_answers_of_payload_2() {
    let full = answer(
        HttpFormat::FunctionUrl,
        r#"{"statusCode":"201","headers":{"content-type":"text/css","Set-Cookie":"z=0","x-n":1,"x-b":true,"x-o":{"k":"v","l":[1,2]},"x-null":null,"bad\nname":"x"},"cookies":["a=1; Secure","b=2"],"body":"aGk=","isBase64Encoded":true}"#,
    );
    assert_eq!((full.status.as_u16(), &full.body[..]), (201, &b"hi"[..]));
    assert_eq!(all(&full, "content-type"), ["text/css"]);
    assert_eq!(all(&full, "set-cookie"), ["z=0", "a=1; Secure", "b=2"]);
    assert_eq!(
        (all(&full, "x-n"), all(&full, "x-b"), all(&full, "x-o")),
        (vec!["1"], vec!["true"], vec!["{k=v, l=[1, 2]}"])
    );
    assert!(all(&full, "x-null").is_empty());
    let object = answer(HttpFormat::ApiGatewayV2, r#"{"statusCode":200,"body":{"a":1}}"#);
    assert_eq!(&object.body[..], br#"{"a":1}"#);
    assert_eq!(&answer(HttpFormat::ApiGatewayV2, r#"{"statusCode":204}"#).body[..], b"");
    for bad in ["700", "\"x\"", "null", "99", "200.5", "101"] {
        let result = format!("{{\"statusCode\":{bad}}}");
        assert_eq!(HttpFormat::FunctionUrl.answer(result.as_bytes()), Err(BadResult::Status), "{bad}");
    }
}

/// Numbers as they were written, and JSON of any depth.
#[test]
fn ht_15_ht_18_nothing_is_lost_of_what_is_passed_on() {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let data = format!(r#"{{"n":12345678901234567890123,"f":1.10,"e":1E400,"deep":{deep}}}"#);
    let explicit = answer(HttpFormat::FunctionUrl, &format!(r#"{{"statusCode":201,"body": {data} }}"#));
    assert_eq!((explicit.status.as_u16(), explicit.body.as_ref()), (201, data.as_bytes()));
    let spaced = answer(HttpFormat::ApiGatewayV2, "{\"statusCode\":200,\"body\":{ \"a b\" : [ 1,\n2 ] }}");
    assert_eq!(spaced.body.as_ref(), br#"{"a b":[1,2]}"#);
    let number = answer(HttpFormat::FunctionUrl, r#"{"statusCode":200,"body":12345678901234567890123}"#);
    assert_eq!(number.body.as_ref(), b"12345678901234567890123");
    let inferred = answer(HttpFormat::FunctionUrl, &data);
    assert_eq!((inferred.status.as_u16(), inferred.body.as_ref()), (200, data.as_bytes()));
    let whole = Bytes::from(format!(r#"{{"statusCode":202,"body":{data}}}"#));
    let streamed = HttpFormat::FunctionUrl.answer_as_stream(&whole).unwrap();
    assert_eq!((streamed.status.as_u16(), streamed.body), (202, whole));
    for wrong in [r#"{"statusCode":null}"#, r#"{"statusCode":200"#, r#"{"statusCode":200,"body":[}"#] {
        assert!(HttpFormat::FunctionUrl.answer(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn ht_54_web_sockets() {
    let asks = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "h2c, WebSocket")]);
    let root = Uri::from_static("/");
    let refused = FORMATS.map(|format| format.refuses(&root, &asks).is_some());
    assert_eq!(refused, [false, false, false, true, true]);
    for lines in [
        [("connection", "upgrade"), ("upgrade", "h2c")],
        [("connection", "close"), ("upgrade", "websocket")],
        [("connection", "upgrade"), ("sec-websocket-version", "13")],
    ] {
        assert_eq!(HttpFormat::Alb.refuses(&root, &headers(&lines)), None, "{lines:?}");
    }
}

#[test]
fn lm_26_lm_27_heads_have_limits() {
    let refuses = |format: HttpFormat, path: usize, values: &[usize]| {
        let uri: Uri = format!("/{}", "x".repeat(path - 1)).parse().unwrap();
        let mut fields = HeaderMap::new();
        for size in values {
            fields.append("x-a", "v".repeat(*size).parse().unwrap());
        }
        format.refuses(&uri, &fields)
    };
    let too_large = Some(Trouble::HeadTooLarge);
    for format in [HttpFormat::ApiGatewayV1, HttpFormat::ApiGatewayV2] {
        assert_eq!(refuses(format, 240, &[5_000, 5_000]), None);
        assert_eq!(refuses(format, 240, &[5_000, 5_001]), too_large);
        assert_eq!(format.trouble(Trouble::HeadTooLarge).0, 431);
    }
    for format in [HttpFormat::Alb, HttpFormat::AlbMultiValue] {
        assert_eq!(refuses(format, 16_384, &[16_377, 16_377, 8_000, 8_370]), None);
        assert_eq!(refuses(format, 16_385, &[]), too_large);
        assert_eq!(refuses(format, 1, &[16_378]), too_large, "one header");
        assert_eq!(refuses(format, 16_384, &[16_377, 16_377, 8_000, 8_371]), too_large, "all of them");
        assert_eq!(format.trouble(Trouble::HeadTooLarge).0, 400);
    }
    assert_eq!(refuses(HttpFormat::FunctionUrl, 16_385, &[16_378, 60_000]), None);
    let answer = |size: usize| format!(r#"{{"statusCode":200,"headers":{{"x-a":"{}"}}}}"#, "v".repeat(size));
    assert!(HttpFormat::Alb.answer(answer(32_761).as_bytes()).is_ok());
    assert_eq!(HttpFormat::Alb.answer(answer(32_762).as_bytes()), Err(BadResult::TooLarge));
}

#[test]
fn lm_26_apis_do_not_wait_for_ever() {
    let seconds = FORMATS.map(|format| format.timeout().map(|limit| limit.as_secs()));
    let mut waits: Vec<(HttpFormat, u64)> =
        FORMATS.into_iter().zip(seconds).filter_map(|(format, seconds)| Some((format, seconds?))).collect();
    waits.sort_by_key(|(_, seconds)| *seconds);
    assert_eq!(waits, [(HttpFormat::ApiGatewayV1, 29), (HttpFormat::ApiGatewayV2, 30)]);
    assert_eq!(
        HttpFormat::ApiGatewayV1.trouble(Trouble::Expired).2,
        r#"{"message":"Endpoint request timed out"}"#
    );
}

#[test]
fn ht_12_hosts_and_ports() {
    for (host, name, port) in [
        ("stork.example", "stork.example", "80"),
        ("stork.example:8080", "stork.example", "8080"),
        ("[::1]", "[::1]", "80"),
        ("[::1]:8080", "[::1]", "8080"),
        ("a:", "a", "80"),
        ("a:b", "a:b", "80"),
    ] {
        let event = with(&headers(&[("host", host)]), "/", "", b"", |request| {
            HttpFormat::FunctionUrl.event(request, &api())
        });
        assert_eq!(event["headers"]["x-forwarded-port"], port, "{host}");
        assert_eq!(event["requestContext"]["domainName"], name, "{host}");
    }
}

#[test]
fn answers_of_streaming_urls_keep_the_whole_json() {
    let result = Bytes::from_static(br#"{"statusCode":203,"headers":{"x-a":"1"},"body":"b"}"#);
    let answer = HttpFormat::FunctionUrl.answer_as_stream(&result).unwrap();
    assert_eq!((answer.status.as_u16(), all(&answer, "x-a"), &answer.body), (203, vec!["1"], &result));
    let text = Bytes::from_static(b"\"x\"");
    assert_eq!(HttpFormat::FunctionUrl.answer_as_stream(&text).unwrap().body, text);
    assert_eq!(HttpFormat::ApiGatewayV2.answer_as_stream(&result).unwrap().body, "b");
}

#[test]
fn ht_41_ht_42_ht_43_ht_44_ht_45_ht_46_answers_of_rest_apis() {
    let full = answer(
        HttpFormat::ApiGatewayV1,
        r#"{"statusCode":"418","headers":{"X-One":"1","x-both":"last","x-b":true},"multiValueHeaders":{"Set-Cookie":["a=1","b=2"],"X-Both":["first"]},"body":"<p>","isBase64Encoded":false}"#,
    );
    assert_eq!((full.status.as_u16(), &full.body[..]), (418, &b"<p>"[..]));
    assert_eq!(all(&full, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!((all(&full, "x-both"), all(&full, "x-b")), (vec!["first", "last"], vec!["true"]));
    assert_eq!(all(&full, "content-type"), ["application/json"]);
    let nothing = answer(HttpFormat::ApiGatewayV1, "{}");
    assert_eq!((nothing.status.as_u16(), &nothing.body[..]), (200, &b""[..]));
    for bad in [
        "\"x\"",
        "7",
        "[]",
        "null",
        "{",
        r#"{"statusCode":200,"cookies":[]}"#,
        r#"{"statusCode":"x"}"#,
        r#"{"headers":[]}"#,
        r#"{"headers":{"a":{}}}"#,
        r#"{"multiValueHeaders":{"a":"b"}}"#,
        r#"{"body":{"a":1}}"#,
        r#"{"isBase64Encoded":"yes","body":"x"}"#,
    ] {
        assert!(HttpFormat::ApiGatewayV1.answer(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn ht_52_ht_53_lm_27_answers_of_load_balancers_read_their_own_mode() {
    let result = r#"{"isBase64Encoded":false,"statusCode":200,"statusDescription":"200 OK","headers":{"X-Mode":"single"},"multiValueHeaders":{"X-Mode":["a","b"]},"body":"x"}"#;
    assert_eq!(all(&answer(HttpFormat::Alb, result), "x-mode"), ["single"]);
    assert_eq!(all(&answer(HttpFormat::AlbMultiValue, result), "x-mode"), ["a", "b"]);
    assert_eq!(answer(HttpFormat::Alb, r#"{"statusCode":204}"#).status, 204);
    for bad in ["{}", "[]", r#"{"statusCode":200,"body":1}"#, r#"{"statusCode":200,"headers":{"a":[]}}"#] {
        assert!(HttpFormat::Alb.answer(bad.as_bytes()).is_err(), "{bad}");
    }
    let large = format!("{{\"statusCode\":200,\"body\":\"{}\"}}", "x".repeat(1_048_576));
    assert_eq!(HttpFormat::Alb.answer(large.as_bytes()), Err(BadResult::TooLarge));
}

#[test]
fn ht_48_ht_49_texts_of_failures() {
    let text = |format: HttpFormat| {
        let (status, kind, body) = format.trouble(Trouble::Function);
        (status.as_u16(), kind, body)
    };
    assert_eq!(text(HttpFormat::FunctionUrl), (502, "application/json", "Internal Server Error"));
    assert_eq!(
        text(HttpFormat::ApiGatewayV1),
        (502, "application/json", r#"{"message":"Internal server error"}"#)
    );
    assert_eq!(
        text(HttpFormat::ApiGatewayV2),
        (500, "application/json", r#"{"message":"Internal Server Error"}"#)
    );
    assert_eq!((text(HttpFormat::Alb).0, text(HttpFormat::Alb).1), (502, "text/html"));
}

proptest! {
    /// Whatever comes in, the event is JSON and gives the body back.
    #[test]
    fn any_request_becomes_an_event(
        path in "/[ -~]{0,20}",
        query in "[ -~]{0,30}",
        value in proptest::collection::vec(0x20u8..=0xff, 0..20),
        body in proptest::collection::vec(any::<u8>(), 0..100),
        kind in prop_oneof![Just("text/plain"), Just("image/png"), Just("")],
    ) {
        let mut fields = headers(&[]);
        if let Ok(value) = http::HeaderValue::from_bytes(&value) {
            fields.append("x-any", value.clone());
            fields.append("cookie", value);
        }
        fields.insert("content-type", kind.parse().unwrap());
        for format in FORMATS {
            let event = with(&fields, &path, &query, &body, |request| format.event(request, &api()));
            let text = event["body"].as_str().unwrap_or_default();
            let back = if event["isBase64Encoded"] == true {
                base64_text::decode(text)
            } else {
                text.as_bytes().to_vec()
            };
            prop_assert_eq!(&back, &body);
        }
    }

    #[test]
    fn any_result_is_an_answer_or_an_error(result in "\\PC*", status: u16, name in "\\PC{0,9}", value in "\\PC{0,9}") {
        let made = json!({"statusCode": status, "headers": {name.clone(): value.clone()}, "cookies": [value], "body": name});
        for format in FORMATS {
            let _ = format.answer(result.as_bytes());
            let _ = format.answer(made.to_string().as_bytes());
        }
    }
}
