//! The Invoke API's names and headers: any text is read or refused, and refusals are JSON.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use tm_lambda::invoke::{self, InvokeError, Operation, Target};
use tm_lambda::{FunctionArn, FunctionName};

fuzz_target!(|input: (&str, &str, Option<&str>, &str)| {
    let (path, name, qualifier, header) = input;
    let own = FunctionArn::new("eu-west-1", "111122223333", FunctionName::parse("stork").expect("it is a name"));
    let _ = check(Operation::of(&Method::POST, path));
    if let Ok(target) = check(Target::parse(name, qualifier)) {
        let _ = check(target.check(&own, false));
    }
    if let Ok(context) = check(invoke::client_context(header)) {
        assert!(context.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    }
    let _ = check(invoke::tenant_id(header));
});

fn check<T>(result: Result<T, InvokeError>) -> Result<T, InvokeError> {
    if let Err(error) = &result {
        serde_json::from_str::<serde_json::Value>(&error.body()).expect("a refusal is JSON");
    }
    result
}
