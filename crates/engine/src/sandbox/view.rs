//! What a container sees: the machine's own folders read-only, the image's layers over them, the pod's folders over
//! both.
//!
//! The root is a fresh tmpfs and everything is bound into it, as bubblewrap does (an overlay with `/` below is refused by
//! the kernel). A folder that both the machine and the image have is made anew and filled with the entries of both,
//! the image's first; every other entry is bound whole.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::FileType,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use fs_err as fs;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root},
};

use super::{Mount, SandboxError, Spec, io, system};

/// Folders that belong to the image alone as soon as it has them.
const IMAGE_ONLY: &[&str] = &["var/task", "var/runtime", "var/lang"];

/// Top-level entries that are made anew instead of being taken from the machine.
const MADE_ANEW: &[&str] = &["proc", "dev", "tmp", "sys"];

/// Devices a program may expect, all harmless.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

const NONE: Option<&str> = None;

/// Builds the view and makes it the root of this process.
pub(super) fn enter(spec: &Spec) -> Result<(), SandboxError> {
    let root = spec.root.as_path();
    system("keep mounts private", mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    system("mount the root", mount(Some("tm"), root, Some("tmpfs"), flags, Some("mode=0755,size=4m")))?;
    match &spec.image {
        Some(image) if !spec.host => {
            merge(image, None, root, Path::new(""))?;
            names_of_the_network(root)?;
        }
        image => merge(Path::new("/"), image.as_deref(), root, Path::new(""))?,
    }
    devices(root)?;
    system_folders(root)?;
    let mut writable = Vec::new();
    for mount in &spec.mounts {
        writable.extend(place(root, mount)?);
    }
    read_only(root, &writable)?;
    for path in &spec.masked {
        mask(root, path)?;
    }
    pivot(root)
}

/// Fills `root/relative` with the entries of the machine's folder and of the image's.
fn merge(host: &Path, image: Option<&Path>, root: &Path, relative: &Path) -> Result<(), SandboxError> {
    let mut entries = listing(host)?;
    if relative.as_os_str().is_empty() {
        entries.retain(|name, _| !MADE_ANEW.iter().any(|made| name == made));
    }
    let from_image = image.map(listing).transpose()?.unwrap_or_default();
    for (name, host_type) in &entries {
        let inner = relative.join(name);
        match from_image.get(name) {
            Some(image_type) if host_type.is_dir() && image_type.is_dir() && !image_only(&inner) => {
                io("make a folder", make_dir(&root.join(&inner)))?;
                merge(&host.join(name), image.map(|image| image.join(name)).as_deref(), root, &inner)?;
            }
            Some(_) => {}
            None => bind_entry(&host.join(name), *host_type, &root.join(&inner))?,
        }
    }
    for (name, image_type) in &from_image {
        let inner = relative.join(name);
        let merged = entries.get(name).is_some_and(|host| host.is_dir() && image_type.is_dir());
        if let Some(image) = image
            && (!merged || image_only(&inner))
        {
            bind_entry(&image.join(name), *image_type, &root.join(&inner))?;
        }
    }
    Ok(())
}

/// Name resolution works in an image of its own as on the machine, as every container engine sees to.
fn names_of_the_network(root: &Path) -> Result<(), SandboxError> {
    for file in ["etc/resolv.conf", "etc/hosts"] {
        let (source, target) = (Path::new("/").join(file), root.join(file));
        if source.is_file() && target.is_file() {
            bind(&source, &target, false)?;
        }
    }
    Ok(())
}

fn image_only(relative: &Path) -> bool {
    IMAGE_ONLY.iter().any(|path| relative == Path::new(path))
}

/// Names and types of a folder's entries; a folder that may not be read has none.
fn listing(folder: &Path) -> Result<BTreeMap<OsString, FileType>, SandboxError> {
    let mut entries = BTreeMap::new();
    let reading = match std::fs::read_dir(folder) {
        Ok(reading) => reading,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(entries),
        Err(source) => return Err(SandboxError::Io { what: format!("list `{}`", folder.display()), source }),
    };
    for entry in reading {
        let entry = io("list a folder", entry)?;
        // An entry that vanished since is not there.
        if let Ok(file_type) = entry.file_type() {
            entries.insert(entry.file_name(), file_type);
        }
    }
    Ok(entries)
}

/// Brings one entry into the view.
fn bind_entry(source: &Path, file_type: FileType, target: &Path) -> Result<(), SandboxError> {
    if file_type.is_symlink() {
        let link = io("read a link", fs::read_link(source))?;
        return io(format!("link `{}`", target.display()), symlink(link, target));
    }
    if !file_type.is_dir() && !file_type.is_file() {
        return Ok(());
    }
    bind(source, target, file_type.is_dir())
}

/// Binds a file or folder, with what is mounted inside it. A file that is gone or may not be bound is left out: the
/// machine's own files come and go.
fn bind(source: &Path, target: &Path, is_dir: bool) -> Result<(), SandboxError> {
    if is_dir {
        io("make a mount point", make_dir(target))?;
    } else {
        io("make a mount point", make_file(target))?;
    }
    match mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE) {
        Err(nix::Error::ENOENT) => Ok(()),
        result => system(format!("bind `{}`", source.display()), result),
    }
}

/// One that is there may be the machine's own: it is left as it is.
fn make_file(path: &Path) -> std::io::Result<()> {
    match fs::File::create_new(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn make_dir(path: &Path) -> std::io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// `/proc` of the new PID namespace; the machine's own where the kernel refuses that (nested containers).
fn system_folders(root: &Path) -> Result<(), SandboxError> {
    let proc = root.join("proc");
    io("make /proc", make_dir(&proc))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if mount(Some("proc"), &proc, Some("proc"), flags, NONE).is_err() {
        bind(Path::new("/proc"), &proc, true)?;
    }
    if Path::new("/sys").is_dir() {
        bind(Path::new("/sys"), &root.join("sys"), true)?;
    }
    let tmp = root.join("tmp");
    io("make /tmp", make_dir(&tmp))?;
    io("open /tmp", fs::set_permissions(&tmp, PermissionsExt::from_mode(0o1777)))
}

/// A small `/dev`.
fn devices(root: &Path) -> Result<(), SandboxError> {
    let dev = root.join("dev");
    io("make /dev", make_dir(&dev))?;
    for name in DEVICES {
        let source = Path::new("/dev").join(name);
        if source.exists() {
            bind(&source, &dev.join(name), false)?;
        }
    }
    let shm = dev.join("shm");
    io("make /dev/shm", make_dir(&shm))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    system("mount /dev/shm", mount(Some("shm"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=64m")))?;
    for (name, link) in
        [("fd", "self/fd"), ("stdin", "self/fd/0"), ("stdout", "self/fd/1"), ("stderr", "self/fd/2")]
    {
        io("link a device", symlink(Path::new("/proc").join(link), dev.join(name)))?;
    }
    Ok(())
}

/// Mounts one of the pod's folders; returns its place when it may be written.
fn place(root: &Path, wanted: &Mount) -> Result<Option<PathBuf>, SandboxError> {
    let target = inside(root, &wanted.target);
    let is_dir = wanted.source.is_dir();
    let folder = if is_dir { Some(target.as_path()) } else { target.parent() };
    if let Some(folder) = folder {
        io(format!("make `{}`", wanted.target.display()), fs::create_dir_all(folder))?;
    }
    bind(&wanted.source, &target, is_dir)?;
    Ok(wanted.writable.then_some(target))
}

/// The place of an absolute path inside the new root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Makes every mount of the view read-only but the writable ones, and those the kernel made (`/proc`, `/dev/shm`).
fn read_only(root: &Path, writable: &[PathBuf]) -> Result<(), SandboxError> {
    let table = io("read the mount table", fs::read_to_string("/proc/self/mountinfo"))?;
    let kept = [root.join("proc"), root.join("dev/shm"), root.join("tmp")];
    for (path, flags) in table.lines().filter_map(mount_line) {
        let free = kept.iter().chain(writable).any(|open| path.starts_with(open));
        if path.starts_with(root) && !free && !flags.contains(MsFlags::MS_RDONLY) {
            let all = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            // A device node needs no protection, and a mount that an outer namespace locked is as it is.
            let _ = mount(NONE, &path, NONE, all, NONE);
        }
    }
    Ok(())
}

/// Mount point and flags of a line of `/proc/self/mountinfo` (proc(5)).
fn mount_line(line: &str) -> Option<(PathBuf, MsFlags)> {
    let mut words = line.split(' ').skip(4);
    let path = unescape(words.next()?);
    let flags = words.next()?.split(',').fold(MsFlags::empty(), |flags, option| flags | option_flag(option));
    Some((PathBuf::from(path), flags))
}

fn option_flag(option: &str) -> MsFlags {
    match option {
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        _ => MsFlags::empty(),
    }
}

/// Undoes the octal escapes of the mount table (`\040` is a space).
fn unescape(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

/// Covers a folder of the machine with an empty one.
fn mask(root: &Path, path: &Path) -> Result<(), SandboxError> {
    let target = inside(root, path);
    if !target.is_dir() {
        return Ok(());
    }
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let what = format!("hide `{}`", path.display());
    system(what, mount(Some("tm"), &target, Some("tmpfs"), flags, Some("mode=0555,size=4k")))
}

/// Makes `root` the root and lets go of the old one.
fn pivot(root: &Path) -> Result<(), SandboxError> {
    system("enter the new root", chdir(root))?;
    system("change the root", pivot_root(".", "."))?;
    system("leave the old root", umount2(".", MntFlags::MNT_DETACH))?;
    system("enter the new root", chdir("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_keeps_its_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("hosts");
        fs::write(&file, "text").expect("it writes");
        make_file(&file).expect("it is there");
        assert_eq!(fs::read_to_string(&file).expect("it reads"), "text");
        make_file(&folder.path().join("new")).expect("it is made");
    }

    #[test]
    fn mount_lines() {
        let line =
            "36 35 98:0 /mnt1 /mnt/a\\040b rw,nosuid,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let (path, flags) = mount_line(line).expect("it is a line");
        assert_eq!(path, Path::new("/mnt/a b"));
        assert_eq!(flags, MsFlags::MS_NOSUID | MsFlags::MS_NOATIME);
        assert_eq!(mount_line("36 35"), None);
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape("a\\040b\\134c"), "a b\\c");
        assert_eq!(unescape("tail\\"), "tail\\");
        assert_eq!(unescape("\\0ä0"), "\\0ä0");
    }

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inside(Path::new("/r"), Path::new("/a/b")), Path::new("/r/a/b"));
    }
}
