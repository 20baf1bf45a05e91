//! CloudEvents: whatever is received fits into headers, whatever is replied can be received.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tm_lambda::cloud_event::{Received, Replies, ReplyMode, STRUCTURED, receive};

type Headers<'a> = Vec<(&'a str, &'a [u8])>;

fuzz_target!(|input: (Headers<'_>, &[u8], bool)| {
    let (lines, body, whole) = input;
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let mut structured = HeaderMap::new();
    structured.insert("content-type", HeaderValue::from_static(STRUCTURED));
    for headers in [&headers, &structured] {
        if let Ok(Received::One(event)) = receive(headers, body) {
            let (client, context) = event.contexts();
            HeaderValue::try_from(client).expect("a client context is a header");
            assert!(context.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        }
    }
    let mode = if whole { ReplyMode::Event } else { ReplyMode::Data };
    let replies = Replies { mode, event_type: "t".to_owned(), source: "s".to_owned(), subject: None };
    if let Ok(Some(reply)) = replies.reply(body, jiff::Timestamp::UNIX_EPOCH)
        && mode == ReplyMode::Data
    {
        assert!(matches!(receive(&structured, &reply), Ok(Received::One(_))));
    }
});
