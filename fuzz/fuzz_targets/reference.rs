//! Image references: what is understood is understood again when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tm_oci::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let again: Reference = reference.to_string().parse().expect("what we write can be read");
        assert_eq!(reference, again);
    }
});
