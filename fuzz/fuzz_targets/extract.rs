//! Archives: whatever the entries are, nothing appears outside the root.
//!
//! The input is a list of entries and not an archive: a header's checksum would keep random bytes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tm_oci::extract::{Kind, Limits, extract};

const LIMITS: Limits = Limits { entries: 200, bytes: 1 << 20 };

type Entry<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, name, link, data) in entries {
        let mut header = tar::Header::new_ustar();
        let old = header.as_old_mut();
        let (name, link) = (&name[..name.len().min(100)], &link[..link.len().min(100)]);
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        // Mostly kinds that mean something.
        let kinds = b"0012225LKxg3";
        header.set_entry_type(tar::EntryType::new(*kinds.get(*kind as usize % 16).unwrap_or(kind)));
        header.set_mode(u32::from(*kind) * 37);
        header.set_size(data.len() as u64);
        header.set_cksum();
        tar.append(&header, *data).expect("memory can be written");
    }
    tar.into_inner().expect("memory can be written")
}

fuzz_target!(|input: (bool, Vec<Entry<'_>>)| {
    let (layer, entries) = input;
    let outer = tempfile::tempdir().expect("temporary folders can be made");
    let root = outer.path().join("root");
    std::fs::create_dir(&root).expect("the root can be made");
    let kind = if layer { Kind::Layer } else { Kind::Source };
    let _ = extract(archive(&entries).as_slice(), &root, kind, LIMITS);
    let names = std::fs::read_dir(outer.path()).expect("the folder is still there").count();
    assert_eq!(names, 1);
});
