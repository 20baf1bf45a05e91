//! Results of any form become answers, or are refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tm_lambda::http_event::HttpFormat;

fuzz_target!(|result: &[u8]| {
    for format in HttpFormat::ALL {
        if let Ok(answer) = format.answer(result) {
            assert!((200..600).contains(&answer.status.as_u16()));
        }
        let _ = format.answer_as_stream(&result.to_vec().into());
    }
});
