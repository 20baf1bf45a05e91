//! Hostile archives: nothing may appear outside the root, whatever the archive says.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { entries: 1000, bytes: 1 << 20 };

/// One entry, with names as raw as an attacker writes them.
#[derive(Clone, Debug)]
struct Raw {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    data: Vec<u8>,
}

fn raw(kind: u8, name: &str, link: &str, data: &[u8]) -> Raw {
    Raw { name: name.into(), kind, link: link.into(), data: data.to_vec() }
}

fn file(name: &str, data: &str) -> Raw {
    raw(b'0', name, "", data.as_bytes())
}

fn archive(entries: &[Raw]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        let name = &entry.name[..entry.name.len().min(100)];
        let link = &entry.link[..entry.link.len().min(100)];
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(EntryType::new(entry.kind));
        header.set_mode(0o4755);
        header.set_size(entry.data.len() as u64);
        header.set_cksum();
        tar.append(&header, entry.data.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A root inside a folder whose other content must not change.
struct Jail {
    outer: tempfile::TempDir,
}

impl Jail {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        fs::create_dir(outer.path().join("beside")).unwrap();
        fs::write(outer.path().join("beside/secret"), "secret").unwrap();
        Self { outer }
    }

    fn root(&self) -> PathBuf {
        self.outer.path().join("root")
    }

    fn extract(&self, kind: Kind, entries: &[Raw]) -> Result<Stats, ExtractError> {
        extract(archive(entries).as_slice(), &self.root(), kind, LIMITS)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn assert_outside_untouched(&self) {
        let names = |dir: PathBuf| {
            let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.outer.path().to_owned()), ["beside", "root"]);
        assert_eq!(names(self.outer.path().join("beside")), ["secret"]);
        assert_eq!(fs::read_to_string(self.outer.path().join("beside/secret")).unwrap(), "secret");
    }
}

/// No link in a source leads out of the root, followed for real.
fn assert_links_stay(root: &Path) {
    let real_root = fs::canonicalize(root).unwrap();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else if let Ok(real) = fs::canonicalize(entry.path()) {
                assert!(real.starts_with(&real_root), "{} -> {}", entry.path().display(), real.display());
            }
        }
    }
}

#[test]
fn an_ordinary_source() {
    let jail = Jail::new();
    let entries = [
        raw(b'5', "./", "", b""),
        raw(b'5', "./pkg/", "", b""),
        file("./pkg/a.py", "a"),
        file("deep/er/b", "b"),
        raw(b'2', "pkg/link", "../deep/er/b", b""),
        raw(b'1', "hard", "pkg/a.py", b""),
    ];
    let stats = jail.extract(Kind::Source, &entries).unwrap();
    assert_eq!((stats.entries, stats.bytes), (6, 2));
    assert_eq!((jail.read("pkg/link"), jail.read("hard")), ("b".into(), "a".into()));
    let mode = fs::metadata(jail.root().join("pkg/a.py")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o755, "the executable bit stays, set-user-id goes");
}

#[test]
fn names_that_leave_are_refused() {
    for name in ["/etc/passwd", "../x", "a/../../x", "..", "a/..", "a/../b"] {
        let jail = Jail::new();
        let error = jail.extract(Kind::Source, &[file(name, "x")]).unwrap_err();
        assert!(matches!(error, ExtractError::BadPath(_)), "{name}: {error}");
        jail.assert_outside_untouched();
    }
}

#[test]
fn links_that_leave_are_refused() {
    for target in ["/etc/passwd", "../x", "a/../../x", "d/..", "../../beside/secret", "", "/"] {
        let jail = Jail::new();
        let error = jail.extract(Kind::Source, &[raw(b'2', "l", target, b"")]).unwrap_err();
        assert!(matches!(error, ExtractError::LinkLeaves { .. }), "{target}: {error}");
    }
}

#[test]
fn a_link_to_here_cannot_smuggle_a_climb() {
    let jail = Jail::new();
    let entries = [raw(b'2', "d", ".", b""), raw(b'2', "x", "d/../beside", b"")];
    assert!(matches!(jail.extract(Kind::Source, &entries), Err(ExtractError::LinkLeaves { .. })));
}

#[test]
fn nothing_is_written_through_a_link() {
    for last in [file("l/f", "x"), raw(b'5', "l/d/", "", b""), raw(b'2', "l/s", "x", b"")] {
        let jail = Jail::new();
        let entries = [raw(b'5', "real/", "", b""), raw(b'2', "l", "real", b""), last];
        let error = jail.extract(Kind::Source, &entries).unwrap_err();
        assert!(matches!(error, ExtractError::ThroughLink(_)), "{error}");
    }
}

#[test]
fn hard_links_reach_only_files_of_the_archive() {
    for target in ["/etc/passwd", "../beside/secret", "missing", "dir", "soft", "soft/x", ""] {
        let jail = Jail::new();
        let entries =
            [raw(b'5', "dir/", "", b""), raw(b'2', "soft", "dir", b""), raw(b'1', "h", target, b"")];
        let error = jail.extract(Kind::Source, &entries).unwrap_err();
        assert!(matches!(error, ExtractError::LinkLeaves { .. }), "{target}: {error}");
        jail.assert_outside_untouched();
    }
}

#[test]
fn devices_and_pipes_are_refused_in_sources() {
    for kind in [b'3', b'4', b'6', b'S', b'V', b'Z'] {
        let error = Jail::new().extract(Kind::Source, &[raw(kind, "dev", "", b"")]).unwrap_err();
        assert!(matches!(error, ExtractError::Special(_)), "{}: {error}", kind as char);
    }
}

#[test]
fn limits_hold() {
    let many: Vec<_> = (0..1001).map(|n| file(&format!("f{n}"), "")).collect();
    assert!(matches!(Jail::new().extract(Kind::Source, &many), Err(ExtractError::TooMany(1000))));
    let big = raw(b'0', "big", "", &vec![0; (1 << 20) + 1]);
    assert!(matches!(Jail::new().extract(Kind::Source, &[big]), Err(ExtractError::TooBig(_))));
}

#[test]
fn a_size_that_lies_is_damage_or_too_big() {
    for size in [1_000, u64::from(u32::MAX), 1 << 62] {
        let mut header = tar::Header::new_gnu();
        header.set_path("f").unwrap();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend([b'x'; 100]);
        let jail = Jail::new();
        let error = extract(bytes.as_slice(), &jail.root(), Kind::Source, LIMITS).unwrap_err();
        assert!(matches!(error, ExtractError::Damaged(_) | ExtractError::TooBig(_)), "{size}: {error}");
    }
}

#[test]
fn long_headers_do_not_fill_memory() {
    for kind in *b"LKx" {
        let entries = [raw(kind, "x", "", &vec![b'a'; 600 * 1024]), file("f", "")];
        let error = Jail::new().extract(Kind::Source, &entries).unwrap_err();
        assert!(matches!(error, ExtractError::Header(_)), "{error}");
    }
}

#[test]
fn long_names_are_read() {
    let name = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let jail = Jail::new();
    jail.extract(Kind::Source, &[raw(b'L', "x", "", name.as_bytes()), file("short", "x")]).unwrap();
    assert_eq!(jail.read(&name), "x");
    let record = |text: String| format!("{} {text}\n", text.len() + 5);
    let jail = Jail::new();
    let pax = record(format!("path={name}"));
    jail.extract(Kind::Source, &[raw(b'x', "x", "", pax.as_bytes()), file("short", "y")]).unwrap();
    assert_eq!(jail.read(&name), "y");
}

#[test]
fn a_long_name_cannot_leave_either() {
    let jail = Jail::new();
    let entries = [raw(b'L', "x", "", b"../beside/evil\0"), file("short", "x")];
    assert!(matches!(jail.extract(Kind::Source, &entries), Err(ExtractError::BadPath(_))));
    jail.assert_outside_untouched();
}

#[test]
fn layers_follow_links_inside_the_root_only() {
    let jail = Jail::new();
    let entries = [
        raw(b'5', "usr/lib/", "", b""),
        raw(b'2', "lib", "usr/lib", b""),
        file("lib/libc.so", "c"),
        raw(b'2', "abs", "/usr/lib", b""),
        file("abs/abs.so", "a"),
        raw(b'2', "up", "../../../../beside", b""),
        file("up/evil", "x"),
        file("/rooted", "r"),
    ];
    jail.extract(Kind::Layer, &entries).unwrap();
    assert_eq!((jail.read("usr/lib/libc.so"), jail.read("usr/lib/abs.so")), ("c".into(), "a".into()));
    assert_eq!((jail.read("beside/evil"), jail.read("rooted")), ("x".into(), "r".into()));
    jail.assert_outside_untouched();
}

#[test]
fn layers_with_link_circles_are_refused() {
    let entries = [raw(b'2', "a", "b", b""), raw(b'2', "b", "a", b""), file("a/f", "x")];
    assert!(matches!(Jail::new().extract(Kind::Layer, &entries), Err(ExtractError::ThroughLink(_))));
}

#[test]
fn layers_leave_devices_out_and_drop_set_user_id() {
    let jail = Jail::new();
    let stats = jail.extract(Kind::Layer, &[raw(b'3', "dev/null", "", b""), file("su", "x")]).unwrap();
    assert_eq!(stats.skipped, 1);
    assert_eq!(fs::metadata(jail.root().join("su")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn layers_keep_the_time_of_files() {
    for (mtime, kept) in [(1_600_000_000, true), (0, true), (u64::MAX >> 1, false)] {
        let mut header = tar::Header::new_gnu();
        header.set_path("f").unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_mtime(mtime);
        header.set_cksum();
        let jail = Jail::new();
        extract(&header.as_bytes()[..], &jail.root(), Kind::Layer, LIMITS).unwrap();
        if kept {
            let modified = fs::metadata(jail.root().join("f")).unwrap().modified().unwrap();
            assert_eq!(modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), mtime);
        }
    }
}

#[test]
fn whiteouts_delete_from_lower_layers_only() {
    let jail = Jail::new();
    jail.extract(Kind::Layer, &[file("a/old", "1"), file("a/gone", "2"), file("b/x", "3")]).unwrap();
    let upper = [file("a/new", "4"), raw(b'0', "a/.wh..wh..opq", "", b""), raw(b'0', ".wh.b", "", b"")];
    jail.extract(Kind::Layer, &upper).unwrap();
    assert_eq!(jail.read("a/new"), "4");
    for gone in ["a/old", "a/gone", "b"] {
        assert!(!jail.root().join(gone).exists(), "{gone}");
    }
}

#[test]
fn whiteouts_cannot_climb() {
    for name in [".wh...", ".wh..", "a/.wh..."] {
        let jail = Jail::new();
        let _ = jail.extract(Kind::Layer, &[raw(b'0', name, "", b"")]);
        jail.assert_outside_untouched();
        assert!(jail.root().exists(), "{name}");
    }
}

#[test]
fn a_layer_may_replace_a_folder_by_a_link_and_back() {
    let jail = Jail::new();
    jail.extract(Kind::Layer, &[file("d/f", "1")]).unwrap();
    jail.extract(Kind::Layer, &[raw(b'2', "d", "/etc", b"")]).unwrap();
    jail.extract(Kind::Layer, &[raw(b'5', "d/", "", b""), file("d/g", "2")]).unwrap();
    assert_eq!(jail.read("d/g"), "2");
    assert!(!jail.root().join("etc").exists());
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof!["[a-c]", Just("..".to_owned()), Just(".".to_owned()), Just(String::new())];
    (any::<bool>(), prop::collection::vec(part, 1..5)).prop_map(|(rooted, parts)| {
        format!("{}{}", if rooted { "/" } else { "" }, parts.join("/")).into_bytes()
    })
}

fn any_entry() -> impl Strategy<Value = Raw> {
    let kind = prop::sample::select(b"0001112225LKx3".to_vec());
    (kind, any_name(), any_name(), prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, name, link, data)| Raw { kind, name, link, data })
}

proptest! {
    #[test]
    fn no_archive_reaches_outside(entries in prop::collection::vec(any_entry(), 0..12), layer in any::<bool>()) {
        let jail = Jail::new();
        let kind = if layer { Kind::Layer } else { Kind::Source };
        let _ = jail.extract(kind, &entries);
        jail.assert_outside_untouched();
        if !layer {
            assert_links_stay(&jail.root());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let jail = Jail::new();
        let _ = extract(bytes.as_slice(), &jail.root(), Kind::Layer, LIMITS);
        jail.assert_outside_untouched();
    }
}
