//! `Lambda-Runtime-Function-Error-Type`: what a runtime says, reduced to what the platform repeats in logs (section 1.5).

/// A runtime process ended.
pub const EXIT_ERROR: &str = "Runtime.ExitError";
/// There was nothing to start, or it could not be started.
pub const INVALID_ENTRYPOINT: &str = "Runtime.InvalidEntrypoint";
/// The working directory is not there.
pub const INVALID_WORKING_DIR: &str = "Runtime.InvalidWorkingDir";
/// The upload of a result broke off.
pub const TRUNCATED_RESPONSE: &str = "Runtime.TruncatedResponse";
/// A response mode other than `streaming`.
pub const INVALID_RESPONSE_MODE: &str = "Runtime.InvalidResponseModeHeader";
/// A stream for HTTP callers does not begin with its status and headers.
pub const INVALID_PRELUDE: &str = "Runtime.InvalidStreamPrelude";
/// The result should be a CloudEvent and is none.
pub const INVALID_REPLY: &str = "Function.InvalidCloudEvent";
/// The result is larger than a buffered caller may get.
pub const RESPONSE_TOO_LARGE: &str = "Function.ResponseSizeTooLarge";
/// An external extension's process ended while it was needed.
pub const EXTENSION_CRASH: &str = "Extension.Crash";
/// An extension reported that its init failed.
pub const EXTENSION_INIT_ERROR: &str = "Extension.InitError";
/// An extension reported that it gives up.
pub const EXTENSION_EXIT_ERROR: &str = "Extension.ExitError";
/// An external extension could not be started.
pub const EXTENSION_LAUNCH_ERROR: &str = "Extension.LaunchError";
/// The function timeout passed.
pub const TIMED_OUT: &str = "Sandbox.Timedout";
/// The platform could not do its part.
pub const SANDBOX_FAILURE: &str = "Sandbox.Failure";
/// Said by nobody, or in a form nobody knows.
pub const UNKNOWN: &str = "Runtime.Unknown";

/// Keeps `Runtime.Xyz` and `Function.Xyz` (anywhere in the text), maps other `Function.*` to `Function.Unknown` and
/// everything else to `Runtime.Unknown`.
pub fn classify(header: &str) -> String {
    if let Some(known) = find(header, "Runtime.").or_else(|| find(header, "Function.")) {
        return known.to_owned();
    }
    if header.starts_with("Function.") { "Function.Unknown" } else { UNKNOWN }.to_owned()
}

/// The first `prefix[A-Z][a-zA-Z]+` in the text.
fn find<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.match_indices(prefix).find_map(|(at, _)| {
        let name = &text[at + prefix.len()..];
        let length = name.bytes().take_while(u8::is_ascii_alphabetic).count();
        let starts_upper = name.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        (starts_upper && length >= 2).then(|| &text[at..at + prefix.len() + length])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lc_16_known_forms_stay_and_others_become_unknown() {
        for (said, kept) in [
            ("Runtime.UserException", "Runtime.UserException"),
            ("xx Runtime.ExitError!", "Runtime.ExitError"),
            ("Function.TooBig", "Function.TooBig"),
            ("Function.x", "Function.Unknown"),
            ("Runtime.X", "Runtime.Unknown"),
            ("unhandled", "Runtime.Unknown"),
            ("", "Runtime.Unknown"),
        ] {
            assert_eq!(classify(said), kept, "{said}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_word(text in "\\PC*") {
            prop_assert!(classify(&text).bytes().all(|b| b.is_ascii_alphabetic() || b == b'.'));
        }
    }
}
