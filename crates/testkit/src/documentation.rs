//! Parts of the documentation that are made from the code.

use std::path::Path;

/// Set, parts that differ are rewritten instead of complained about.
const UPDATE: &str = "TM_TEST_UPDATE";

/// Asserts that the part `name` of a file of `docs` is `text`. The part is between `<!-- NAME: made from SOURCE -->` and
/// `<!-- NAME: end -->`. With `TM_TEST_UPDATE=1` it is rewritten.
///
/// # Panics
/// When it is not, or has no such marks.
pub fn assert_part(file: &str, name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let whole = std::fs::read_to_string(&path).expect("the documentation can be read");
    let begin = whole.find(&format!("<!-- {name}: made from ")).expect("it has the opening mark");
    let begin = begin + whole[begin..].find('\n').expect("the mark is a line of its own") + 1;
    let end = begin + whole[begin..].find(&format!("<!-- {name}: end -->")).expect("it has the closing mark");
    if std::env::var_os(UPDATE).is_some() {
        let rewritten = [&whole[..begin], text, &whole[end..]].concat();
        std::fs::write(&path, rewritten).expect("the documentation can be written");
        return;
    }
    assert_eq!(&whole[begin..end], text, "docs/{file}: run this test with {UPDATE}=1");
}
