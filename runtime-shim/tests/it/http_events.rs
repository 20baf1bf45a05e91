//! HTTP events and answers from raw sockets (section 8). The function answers what its event's body tells it to, else with its
//! event.

use serde_json::{Value, json};

use crate::harness::{Setup, Shim};
use crate::http::{self, Response};

const PROGRAM: &str = "
import base64
while True:
    id, body, headers = next_event()
    event = json.loads(body)
    text = event.get('body') or ''
    if event.get('isBase64Encoded'):
        text = base64.b64decode(text).decode('latin-1')
    if text.startswith('raise'):
        fail(id, b'{\"errorMessage\":\"no\",\"errorType\":\"Oops\"}')
    elif text.startswith('exit'):
        os._exit(1)
    elif text.startswith('size '):
        respond(id, text[5:].encode() + b'x' * 6291556 + b'\"}')
    elif text == 'wait':
        wait('go')
        respond(id, '{\"statusCode\":200}')
    elif text.startswith('say '):
        respond(id, text[4:].encode())
    else:
        respond(id, json.dumps({'statusCode': 200, 'isBase64Encoded': False, 'body': json.dumps(event)}))
";

fn start(format: &str) -> Shim {
    setup(format).start()
}

fn setup(format: &str) -> Setup {
    Setup::python(PROGRAM).env("TM_EVENT_FORMAT", format).env("AWS_LAMBDA_FUNCTION_NAME", "stork")
}

/// Sends a body that tells the function what to answer.
fn say(shim: &Shim, result: &str) -> Response {
    http::send(shim.port(), "/", "Content-Type: text/plain\r\n", format!("say {result}").as_bytes())
}

fn event(shim: &Shim, path: &str, headers: &str, body: &[u8]) -> Value {
    let answer = http::send(shim.port(), path, headers, body);
    assert_eq!(answer.status, 200, "{}{}", answer.head, answer.text());
    answer.json()
}

#[test]
fn ht_03_ht_04_ht_05_ht_06_ht_07_events_of_function_urls() {
    let shim = start("function-url");
    let headers = "X-Twice: one\r\nX-Twice: two\r\nCookie: hen=1; egg=2\r\nCookie: owl=3\r\nUser-Agent: probe/1\r\nContent-Type: text/plain\r\n";
    let event = event(&shim, "/a%2Fb/x%20y?k=1&k=2&sp=a+b&flag", headers, b"some text");
    assert_eq!((&event["version"], &event["rawPath"]), (&json!("2.0"), &json!("/a%2Fb/x%20y")));
    assert_eq!(event["rawQueryString"], "k=1&k=2&sp=a+b&flag");
    assert_eq!(event["cookies"], json!(["hen=1", "egg=2", "owl=3"]));
    let fields = &event["headers"];
    assert_eq!((&fields["x-twice"], &fields["content-length"]), (&json!("one,two"), &json!("9")));
    assert!(fields.get("connection").is_none(), "{fields}");
    assert_eq!(event["queryStringParameters"], json!({"flag": "", "k": "1,2", "sp": "a b"}));
    let context = &event["requestContext"];
    assert_eq!((&context["http"]["method"], &context["http"]["path"]), (&json!("POST"), &json!("/a/b/x y")));
    assert_eq!(
        (&context["http"]["sourceIp"], &context["http"]["userAgent"]),
        (&json!("127.0.0.1"), &json!("probe/1"))
    );
    assert_eq!((&context["domainName"], &context["accountId"]), (&json!("test"), &json!("anonymous")));
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("some text"), &json!(false)));
}

#[test]
fn the_invoke_api_passes_events_unchanged_in_every_format() {
    let shim = start("function-url");
    let answer =
        http::send(shim.port(), "/2015-03-31/functions/stork/invocations", "", br#"{"body":"say 7"}"#);
    assert_eq!((answer.status, answer.text()), (200, "7"));
}

#[test]
fn ht_09_ids_and_traces() {
    let shim = start("apigateway-v2");
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let headers = format!("X-Amzn-Trace-Id: {root};Sampled=1\r\n");
    let answer = http::send(shim.port(), "/", &headers, b"");
    assert_eq!(answer.header("x-amzn-trace-id"), Some(root));
    let event = answer.json();
    assert_eq!(event["requestContext"]["requestId"], answer.id());
    assert_eq!(event["headers"]["x-amzn-trace-id"], root);
    let minted = say(&shim, "1");
    assert!(minted.header("x-amzn-trace-id").unwrap().starts_with("Root=1-"));
}

#[test]
fn ht_12_addresses_come_from_trusted_proxies() {
    let chain =
        "X-Forwarded-For: 6.6.6.6, 198.51.100.7\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n";
    for (hops, address) in [("0", "127.0.0.1"), ("1", "10.0.0.1"), ("2", "198.51.100.7"), ("9", "6.6.6.6")] {
        let shim = setup("function-url").env("TM_TRUSTED_PROXIES", hops).start();
        let event = event(&shim, "/", chain, b"");
        assert_eq!(event["requestContext"]["http"]["sourceIp"], address, "{hops} hops");
        assert_eq!(
            event["headers"]["x-forwarded-for"], "6.6.6.6, 198.51.100.7,10.0.0.1",
            "the chain is kept"
        );
        assert_eq!(event["headers"]["x-forwarded-proto"], "https");
    }
}

#[test]
fn ht_47_binary_bodies_in_both_directions() {
    let png = b"\x89PNG\r\n\x1a\n\0\xff";
    for format in ["function-url", "apigateway-v2", "apigateway-v1", "alb"] {
        let shim = start(format);
        let event = event(&shim, "/", "Content-Type: image/png\r\n", png);
        assert_eq!(
            (&event["isBase64Encoded"], &event["body"]),
            (&json!(true), &json!("iVBORw0KGgoA/w==")),
            "{format}"
        );
        let answer = say(
            &shim,
            r#"{"statusCode":200,"headers":{"Content-Type":"image/png"},"isBase64Encoded":true,"body":"iVBORw0KGgoA/w=="}"#,
        );
        assert_eq!(
            (answer.header("content-type"), &answer.body[..]),
            (Some("image/png"), &png[..]),
            "{format}"
        );
    }
}

#[test]
fn ht_20_ht_25_answers_with_status_headers_and_cookies() {
    let v2 = start("apigateway-v2");
    let answer = say(
        &v2,
        r#"{"statusCode":"418","headers":{"X-One":1,"Connection":"x","Content-Length":"9","x-amzn-RequestId":"mine"},"cookies":["a=1","b=2; Secure"],"body":"tea"}"#,
    );
    assert_eq!((answer.status, answer.text(), answer.header("x-one")), (418, "tea", Some("1")));
    assert!(
        answer.head.contains("set-cookie: a=1") && answer.head.contains("set-cookie: b=2; Secure"),
        "{}",
        answer.head
    );
    assert_eq!((answer.header("content-length"), answer.header("connection")), (Some("3"), Some("close")));
    assert_eq!((answer.id().len(), answer.header("content-type")), (36, Some("application/json")));
    let v1 = start("apigateway-v1");
    let answer = say(
        &v1,
        r#"{"statusCode":200,"multiValueHeaders":{"Set-Cookie":["a=1","b=2"]},"headers":{"X-One":true}}"#,
    );
    assert!(
        answer.head.contains("set-cookie: a=1") && answer.head.contains("set-cookie: b=2"),
        "{}",
        answer.head
    );
    assert_eq!((answer.header("x-one"), answer.text()), (Some("true"), ""));
    let alb = start("alb-multi-value");
    let answer = say(
        &alb,
        r#"{"statusCode":200,"statusDescription":"200 OK","isBase64Encoded":false,"multiValueHeaders":{"Set-Cookie":["a=1","b=2"]},"body":"x"}"#,
    );
    assert!(
        answer.head.contains("set-cookie: a=1") && answer.head.contains("set-cookie: b=2"),
        "{}",
        answer.head
    );
}

#[test]
fn ht_22_answers_without_a_body() {
    let shim = start("function-url");
    assert_eq!(say(&shim, r#"{"statusCode":204}"#).header("content-length"), None);
    let head = http::request(shim.port(), "HEAD", "/", "");
    assert_eq!((head.status, head.text()), (200, ""));
    assert!(head.header("content-length").is_some_and(|length| length != "0"), "{}", head.head);
}

#[test]
fn ht_15_ht_16_ht_17_inferred_answers() {
    let shim = start("function-url");
    for (result, body) in
        [("{\"a\": 1}", "{\"a\":1}"), ("\"text\"", "text"), ("7", "7"), ("null", "null"), ("[1, 2]", "[1,2]")]
    {
        let answer = say(&shim, result);
        assert_eq!(
            (answer.status, answer.text(), answer.header("content-type")),
            (200, body, Some("application/json"))
        );
    }
}

#[test]
fn ht_14_ht_23_ht_43_ht_48_ht_49_ht_54_failures_have_the_texts_of_their_fronts() {
    for (format, status, text, error_type) in [
        ("function-url", 502, "Internal Server Error", None),
        ("apigateway-v2", 500, r#"{"message":"Internal Server Error"}"#, None),
        (
            "apigateway-v1",
            502,
            r#"{"message":"Internal server error"}"#,
            Some("InternalServerErrorException"),
        ),
        ("alb", 502, "", None),
    ] {
        let shim = setup(format).env("INVOKER_COUNT", "1").start();
        for body in ["raise", "exit", "say {", "say {\"statusCode\":700}"] {
            let answer = http::send(shim.port(), "/", "Content-Type: text/plain\r\n", body.as_bytes());
            assert_eq!(answer.status, status, "{format} {body}");
            assert!(answer.text() == text || format == "alb", "{format} {body}: {}", answer.text());
            assert_eq!(answer.header("x-amzn-errortype"), error_type, "{format} {body}");
            assert_eq!(answer.id().len(), 36);
        }
    }
    let v1 = start("apigateway-v1");
    for result in ["\"x\"", r#"{"statusCode":200,"cookies":[]}"#] {
        assert_eq!(say(&v1, result).status, 502, "{result}");
    }
}

#[test]
fn ht_24_ht_54_lm_25_lm_26_lm_27_what_is_too_much() {
    let url = setup("function-url").env("TM_QUEUE_LENGTH", "1").start();
    let large = http::send(url.port(), "/", "", &vec![b'x'; 6_291_457]);
    assert_eq!((large.status, large.header("content-type")), (413, Some("application/json")));
    let alb = start("alb");
    assert_eq!(http::send(alb.port(), "/", "", &vec![b'x'; 1_048_577]).status, 413);
    let result = format!("{{\"statusCode\":200,\"body\":\"{}\"}}", "x".repeat(1_040_000));
    assert_eq!(say(&alb, &result).body.len(), 1_040_000);
}

#[test]
fn ht_24_lm_25_lm_26_results_and_heads_that_are_too_much() {
    let large = r#"size {"statusCode":200,"body":""#;
    for (format, status, text) in [
        ("function-url", 502, "Internal Server Error"),
        ("apigateway-v1", 502, r#"{"message":"Internal server error"}"#),
        ("apigateway-v2", 500, r#"{"message":"Internal Server Error"}"#),
    ] {
        let shim = start(format);
        let head = "Content-Type: text/plain\r\n";
        let answer = http::send(shim.port(), "/", head, large.as_bytes());
        assert_eq!((answer.status, answer.text()), (status, text), "{format}");
        let body = vec![b'x'; 6_291_457];
        assert_eq!(http::send(shim.port(), "/", head, &body).status, 413, "{format}");
        let long = format!("{head}X-Long: {}\r\n", "v".repeat(10_240));
        let expected = if format == "function-url" { 200 } else { 431 };
        assert_eq!(http::send(shim.port(), "/", &long, b"1").status, expected, "{format}");
    }
}

#[test]
fn lm_26_apis_give_up_and_the_function_goes_on() {
    for (format, status, text) in [
        ("apigateway-v1", 504, r#"{"message":"Endpoint request timed out"}"#),
        ("apigateway-v2", 503, r#"{"message":"Service Unavailable"}"#),
    ] {
        let shim = setup(format).env("TM_API_TIMEOUT", "300ms").env("INVOKER_COUNT", "1").start();
        let answer = http::send(shim.port(), "/", "Content-Type: text/plain\r\n", b"wait");
        assert_eq!((answer.status, answer.text()), (status, text), "{format}");
        shim.touch("go");
        let log = shim.wait_log("REPORT", 1);
        assert!(!log.contains("Status:"), "it ended well: {log}");
    }
}

/// HTTP/2 is offered by clients as a matter of course, and an offer may be ignored.
#[test]
fn ht_54_load_balancers_refuse_web_sockets() {
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n";
    for format in ["alb", "alb-multi-value"] {
        let shim = start(format);
        let refused = http::request(shim.port(), "GET", "/", upgrade);
        assert_eq!(
            (refused.status, refused.header("content-type")),
            (400, Some("text/html")),
            "{}",
            refused.head
        );
        let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Type: text/plain\r\n";
        let answer = http::send(shim.port(), "/", offer, b"say {\"statusCode\":200}");
        assert_eq!(answer.status, 200, "{}", answer.head);
        let log = shim.wait_log("REPORT", 1);
        assert_eq!(log.matches("\nSTART").count(), 1, "the function has not run for the first: {log}");
    }
}

#[test]
fn ht_25_refusals_and_preflights_carry_the_trace() {
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let traced = format!("X-Amzn-Trace-Id: {root};Sampled=1\r\n");
    let shim = setup("function-url").env("TM_CORS_ALLOW_ORIGINS", "*").env("FUNCTION_TTL", "2s").start();
    let large = http::send(shim.port(), "/", &traced, &vec![b'x'; 6_291_457]);
    assert_eq!((large.status, large.header("x-amzn-trace-id")), (413, Some(root)), "{}", large.head);
    let preflight =
        format!("{traced}Origin: https://stork.example\r\nAccess-Control-Request-Method: PUT\r\n");
    let preflight = http::request(shim.port(), "OPTIONS", "/", &preflight);
    assert!(preflight.header("access-control-allow-origin").is_some(), "{}", preflight.head);
    assert_eq!((preflight.status, preflight.header("x-amzn-trace-id")), (200, Some(root)));
    let slow = http::request(shim.port(), "POST", "/", &format!("{traced}Content-Length: 1\r\n"));
    assert_eq!((slow.status, slow.header("x-amzn-trace-id")), (400, Some(root)), "{}", slow.head);
    let minted = http::request(shim.port(), "POST", "/", "Content-Length: 1\r\n");
    assert!(minted.header("x-amzn-trace-id").unwrap().starts_with("Root=1-"), "{}", minted.head);
}

#[test]
fn ht_01_old_variables_choose_the_rest_api() {
    let shim = Setup::python(PROGRAM).env("RESPONSE_FORMAT", "API_GATEWAY").start();
    let event = event(&shim, "/x?a=1", "", b"");
    assert_eq!((&event["resource"], &event["httpMethod"]), (&json!("/{proxy+}"), &json!("POST")));
}

#[test]
fn ht_29_ht_30_ht_31_streaming_urls_and_results_that_are_no_streams() {
    let shim = setup("function-url").env("TM_INVOKE_MODE", "RESPONSE_STREAM").start();
    let whole = r#"{"statusCode":203,"headers":{"x-a":"1"},"cookies":["c=1"],"body":"b"}"#;
    let answer = say(&shim, whole);
    assert_eq!(
        (answer.status, answer.header("x-a"), answer.text()),
        (203, Some("1"), whole),
        "HT-29: the whole JSON"
    );
    assert_eq!(say(&shim, "\"x\"").text(), "\"x\"");
    let failed = http::send(shim.port(), "/", "Content-Type: text/plain\r\n", b"raise");
    assert_eq!((failed.status, failed.text()), (200, r#"{"errorMessage":"no","errorType":"Oops"}"#), "HT-31");
    let exit = http::send(shim.port(), "/", "Content-Type: text/plain\r\n", b"exit");
    assert_eq!(exit.status, 502);
}

#[test]
fn ht_27_ht_33_ht_34_streams_through_every_front() {
    let prelude = "{\"statusCode\":201,\"headers\":{\"x-a\":\"1\",\"content-type\":\"text/css\"},\"cookies\":[\"c=1\"]}";
    let program = format!(
        "
while True:
    id, body, headers = next_event()
    text = json.loads(body).get('body') or ''
    mode = {{'Lambda-Runtime-Function-Response-Mode': 'streaming'}}
    if text == 'raw':
        respond(id, b'raw', {{**mode, 'Content-Type': 'text/css'}})
    elif text == 'empty':
        respond(id, b'', {{**mode, 'Content-Type': 'application/vnd.awslambda.http-integration-response'}})
    elif text == 'broken':
        respond(id, b'{{\"statusCode\":', {{**mode, 'Content-Type': 'application/vnd.awslambda.http-integration-response'}})
    else:
        respond(id, b'{prelude}' + bytes(8) + b'page', {{**mode, 'Content-Type': 'application/vnd.awslambda.http-integration-response'}})
"
    );
    for (format, mode) in [
        ("function-url", "RESPONSE_STREAM"),
        ("function-url", "BUFFERED"),
        ("apigateway-v1", "RESPONSE_STREAM"),
        ("plain", "RESPONSE_STREAM"),
    ] {
        let shim = Setup::python(&program).env("TM_EVENT_FORMAT", format).env("TM_INVOKE_MODE", mode).start();
        let send = |body: &str| {
            let body = if format == "plain" { json!({ "body": body }).to_string() } else { body.to_owned() };
            http::send(shim.port(), "/", "Content-Type: text/plain\r\n", body.as_bytes())
        };
        let page = send("page");
        assert_eq!(
            (page.status, page.header("x-a"), page.header("set-cookie")),
            (201, Some("1"), Some("c=1")),
            "{format} {mode}"
        );
        assert!(
            page.text().contains("page") && page.header("content-type") == Some("text/css"),
            "{format} {mode}"
        );
        let raw = send("raw");
        assert_eq!(raw.status, 200);
        assert!(raw.text().contains("raw"), "{}", raw.text());
        let kind = if mode == "BUFFERED" { "application/octet-stream" } else { "text/css" };
        assert_eq!(raw.header("content-type"), Some(kind), "{format} {mode}");
        assert_eq!(send("empty").status, 200, "{format} {mode}");
        assert!(send("broken").status >= 500, "{format} {mode}: a prelude that is none");
    }
}

#[test]
fn ht_11_ht_25_strict_follows_aws_in_small_things() {
    let shim = setup("function-url").env("TM_STRICT", "true").start();
    let form = event(&shim, "/", "Content-Type: application/x-www-form-urlencoded\r\n", b"a=1");
    assert_eq!((&form["isBase64Encoded"], &form["body"]), (&json!(true), &json!("YT0x")));
    let answer = say(&shim, r#"{"statusCode":401,"headers":{"WWW-Authenticate":"Basic","Server":"mine"}}"#);
    assert_eq!(answer.header("x-amzn-remapped-www-authenticate"), Some("Basic"));
    assert_eq!(
        (answer.header("x-amzn-remapped-server"), answer.header("www-authenticate")),
        (Some("mine"), None)
    );
}

/// HT-55: with next to no headers, and invoking the function like anything else.
#[test]
fn ht_55_health_checks_of_load_balancers() {
    for (format, fields) in [("alb", "headers"), ("alb-multi-value", "multiValueHeaders")] {
        let shim = start(format);
        let answer = http::request(shim.port(), "GET", "/up", "User-Agent: ELB-HealthChecker/2.0\r\n");
        let event = answer.json();
        assert_eq!((&event["httpMethod"], &event["path"]), (&json!("GET"), &json!("/up")));
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!(""), &json!(false)));
        let agent = json!("ELB-HealthChecker/2.0");
        let expected = if format == "alb" { agent } else { json!([agent]) };
        assert_eq!(event[fields]["user-agent"], expected, "{event}");
        let failed = http::send(shim.port(), "/up", "User-Agent: ELB-HealthChecker/2.0\r\n", b"raise");
        assert_eq!(failed.status, 502, "a function that fails is not well");
    }
}

/// HT-26: preflights are answered without the function, and only pages that may call are told so.
#[test]
fn ht_26_pages_of_others() {
    let shim = setup("function-url")
        .env("TM_CORS_ALLOW_ORIGINS", "https://zoo.example")
        .env("TM_CORS_ALLOW_METHODS", "GET,PUT")
        .env("TM_CORS_EXPOSE_HEADERS", "x-seen")
        .start();
    let preflight = |origin: &str| {
        let headers = format!("Origin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n");
        http::request(shim.port(), "OPTIONS", "/any", &headers)
    };
    let allowed = preflight("https://zoo.example");
    assert_eq!((allowed.status, allowed.text()), (200, ""));
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://zoo.example"));
    assert_eq!(allowed.header("access-control-allow-methods"), Some("GET,PUT"));
    let refused = preflight("https://other.example");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (200, None));
    assert!(!shim.stdout().contains("\nSTART"), "the function was not asked: {}", shim.stdout());

    let result = r#"{"statusCode":200,"headers":{"access-control-expose-headers":"x-own"},"body":"x"}"#;
    let body = format!("say {result}");
    let call = |origin: &str| {
        http::send(
            shim.port(),
            "/",
            &format!("Content-Type: text/plain\r\nOrigin: {origin}\r\n"),
            body.as_bytes(),
        )
    };
    let answer = call("https://zoo.example");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://zoo.example"), "{}", answer.head);
    assert_eq!(answer.header("access-control-expose-headers"), Some("x-seen,x-own"));
    assert_eq!(call("https://other.example").header("access-control-allow-origin"), None);
    let own = http::request(shim.port(), "OPTIONS", "/", "Origin: https://zoo.example\r\n");
    assert_eq!(own.json()["requestContext"]["http"]["method"], "OPTIONS", "no preflight is the function's");
}
