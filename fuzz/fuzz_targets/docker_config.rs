//! `config.json` of Docker: any text, any image.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tm_oci::{Reference, auth::DockerConfig};

fuzz_target!(|input: (&str, &[u8])| {
    let (image, text) = input;
    let image: Reference = image.parse().unwrap_or_else(|_| "a.io/b/c".parse().expect("this is a reference"));
    if let Ok(config) = DockerConfig::parse(text) {
        let _ = config.lookup(&image);
    }
});
