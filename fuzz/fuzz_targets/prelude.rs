//! Preludes of streams: any cut gives the same as no cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tm_lambda::prelude::Scanner;

fuzz_target!(|input: (&[u8], Vec<u8>)| {
    let (stream, cuts) = input;
    let whole = Scanner::default().push(stream);
    let (mut scanner, mut rest, mut cuts) = (Scanner::default(), stream, cuts.into_iter());
    while !rest.is_empty() {
        let size = cuts.next().map_or(rest.len(), |size| usize::from(size).clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        match scanner.push(piece) {
            Ok(None) => {}
            Ok(Some((prelude, first))) => {
                let (same, body) = whole.expect("it is one in pieces").expect("and complete");
                assert_eq!((prelude, [&first[..], rest].concat()), (same, body.to_vec()));
                return;
            }
            Err(error) => {
                assert_eq!(whole, Err(error));
                return;
            }
        }
    }
    assert_eq!(whole, Ok(None));
});
