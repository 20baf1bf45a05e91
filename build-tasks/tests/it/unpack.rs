//! `receive` and `unpack`, with honest and hostile uploads.

use std::{
    io::Write,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

use crate::fixture::{binary, run_with_input, text};

fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sha(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn unpack_command(root: &Path, sha256: &str, bytes: usize) -> std::process::Command {
    let mut command = binary(&["unpack", "--token", "t", "--sha256", sha256, "--idle-timeout", "1s"]);
    command.arg("--dir").arg(root.join("src")).arg("--state").arg(root.join(".tm/upload"));
    command.args(["--bytes", &bytes.to_string()]);
    command
}

fn unpack(root: &Path, archive: &[u8]) -> Output {
    run_with_input(unpack_command(root, &sha(archive), archive.len()), archive)
}

fn receive(root: &Path, timeout: &str) -> std::process::Command {
    let mut command = binary(&["receive", "--token", "t", "--timeout", timeout]);
    command.arg("--dir").arg(root.join("src")).arg("--state").arg(root.join(".tm/upload"));
    command
}

fn assert_nothing_arrived(root: &Path) {
    assert!(!root.join(".tm/upload/done.json").exists());
    let names: Vec<_> = fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == ".tm" || name == "src"), "{names:?}");
}

#[test]
fn the_source_arrives_and_the_build_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = receive(dir.path(), "30s").stdout(Stdio::piped()).spawn().unwrap();
    let archive = gzip(&tar_of(&[("main.py", b"print(1)"), ("pkg/a.txt", b"a")]));
    let output = unpack(dir.path(), &archive);
    assert!(output.status.success(), "{}", text(&output));
    assert!(waiting.wait_with_output().unwrap().status.success());
    assert_eq!(fs::read_to_string(dir.path().join("src/pkg/a.txt")).unwrap(), "a");
    // Sent again: fine, and nothing changes.
    assert!(unpack(dir.path(), &archive).status.success());
    let other = unpack(dir.path(), &tar_of(&[("x", b"other")]));
    assert_eq!(other.status.code(), Some(5), "{}", text(&other));
}

#[test]
fn end_of_input_is_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let archive = tar_of(&[("a", b"1")]);
    let mut child = unpack_command(dir.path(), &sha(&archive), archive.len())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&archive).unwrap();
    stdin.flush().unwrap();
    assert!(child.wait().unwrap().success());
    drop(stdin);
}

#[test]
fn a_broken_upload_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let archive = gzip(&tar_of(&[("a", &[7; 5000])]));
    let command = unpack_command(dir.path(), &sha(&archive), archive.len());
    let output = run_with_input(command, &archive[..archive.len() - 3]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("broke off"));
    assert_nothing_arrived(dir.path());
    assert!(unpack(dir.path(), &archive).status.success());
}

#[test]
fn an_upload_that_stands_still_ends() {
    let dir = tempfile::tempdir().unwrap();
    let archive = tar_of(&[("a", b"1")]);
    let started = tokio::time::Instant::now();
    let mut child = unpack_command(dir.path(), &sha(&archive), archive.len())
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&archive[..100]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_nothing_arrived(dir.path());
}

#[test]
fn a_wrong_digest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let archive = tar_of(&[("a", b"1")]);
    let command = unpack_command(dir.path(), &sha(b"something else"), archive.len());
    let output = run_with_input(command, &archive);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert_nothing_arrived(dir.path());
}

#[test]
fn hostile_archives_are_refused() {
    let outside = |name: &str| tar_of(&[("ok", b"1"), (name, b"evil")]);
    let mut bomb = tar::Header::new_gnu();
    bomb.set_path("bomb").unwrap();
    bomb.set_size(1 << 40);
    bomb.set_cksum();
    for archive in [outside("../evil"), outside("/tmp/evil"), bomb.as_bytes().to_vec(), vec![0xff; 2048]] {
        let dir = tempfile::tempdir().unwrap();
        let output = unpack(dir.path(), &archive);
        assert_eq!(output.status.code(), Some(5), "{}", text(&output));
        assert_nothing_arrived(dir.path());
    }
}

#[test]
fn a_gzip_bomb_stops_at_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let archive = gzip(&tar_of(&[("zeros", &vec![0; 20 << 20])]));
    let mut command = unpack_command(dir.path(), &sha(&archive), archive.len());
    command.args(["--max-bytes", "1000000"]);
    let output = run_with_input(command, &archive);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("unpacks to more than 1000000 bytes"));
    assert_nothing_arrived(dir.path());
}

#[test]
fn waiting_ends_at_the_deadline_and_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let output = receive(dir.path(), "1s").output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output).contains("no source arrived within 1 s"));
    let mut child = receive(dir.path(), "60s").stderr(Stdio::null()).spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    // Until it listens for the signal, the signal ends it in its own way.
    wait_for_handler(child.id(), nix::sys::signal::Signal::SIGTERM);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// Waits until a process handles a signal.
fn wait_for_handler(pid: u32, signal: nix::sys::signal::Signal) {
    let bit = 1u64 << (signal as i32 - 1);
    let mut caught = String::new();
    for _ in 0..6000 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        if u64::from_str_radix(&caught, 16).unwrap() & bit != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no handler for {signal} in a minute: SigCgt is {caught}");
}

#[test]
fn help_and_version() {
    for args in
        [&["--help"][..], &["--version"], &["unpack", "--help"], &["lang", "--help"], &["assemble", "--help"]]
    {
        let output = binary(args).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(binary(&["nonsense"]).output().unwrap().status.code(), Some(2));
}
