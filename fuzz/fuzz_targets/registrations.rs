//! What extensions send: registrations and subscriptions are read or refused, and refusals are JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tm_lambda::extension;
use tm_lambda::telemetry::{Api, Subscription};

fuzz_target!(|body: &[u8]| {
    if let Err(error) = extension::subscriptions(body) {
        json(&error.body());
    }
    for api in [Api::Telemetry, Api::Logs] {
        if let Err(error) = Subscription::parse(api, body) {
            json(&error.body(api));
        }
    }
});

fn json(text: &str) {
    serde_json::from_str::<serde_json::Value>(text).expect("a refusal is JSON");
}
