//! `unpack`: an archive from stdin into a folder that appears only when everything was right.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use fs_err as fs;
use tm_oci::{
    Digest,
    digest::DigestReader,
    extract::{ExtractError, Kind, Limits, Stats, extract},
};

use super::{
    input::Input,
    state::{self, Done},
};
use crate::{
    cli::UnpackArgs,
    error::{Code, Failure},
    output,
};

/// Reads, checks and unpacks the archive; writes `done.json` last.
pub(crate) fn unpack(args: &UnpackArgs) -> Result<(), Failure> {
    let want: Digest = format!("sha256:{}", args.sha256)
        .parse()
        .map_err(|_| Failure::because("--sha256 is not 64 lower-case hex digits"))?;
    // Not dropped: the lock goes with the process.
    std::mem::forget(state::hold(&args.state)?);
    if let Some(done) = state::read(&args.state, &args.token)? {
        return already(&done, args);
    }
    let parent = args.dir.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let staging = tempfile::Builder::new().prefix(".upload-").tempdir_in(parent)?;
    let stats = read(args, &want, staging.path())?;
    publish(staging, &args.dir)?;
    let done = Done {
        token: args.token.clone(),
        sha256: args.sha256.clone(),
        bytes: args.bytes,
        entries: stats.entries,
    };
    state::write(&args.state, &done)?;
    output::line(&format!("unpacked {} entries, {} bytes", stats.entries, stats.bytes));
    Ok(())
}

/// A repeated upload after one that arrived: the build may be reading the source already.
fn already(done: &Done, args: &UnpackArgs) -> Result<(), Failure> {
    if done.sha256 == args.sha256 && done.bytes == args.bytes {
        output::line("the source is here already");
        return Ok(());
    }
    Err(Failure::because("another source arrived before with this token").code(Code::Refused))
}

fn read(args: &UnpackArgs, want: &Digest, dest: &Path) -> Result<Stats, Failure> {
    let input = Input::new(io::stdin(), args.bytes, args.idle_timeout);
    let limits = Limits { entries: args.max_entries, bytes: args.max_bytes };
    let (stats, input, got) = unpack_stream(input, dest, limits);
    // An archive that broke off looks damaged too; that it broke off says more.
    if input.left() > 0 {
        let missing = format!("the upload broke off: {} of {} bytes are missing", input.left(), args.bytes);
        return Err(Failure::because(missing).code(Code::Incomplete));
    }
    if got != *want {
        let wrong = format!("the archive has digest {got}, not {want}");
        return Err(Failure::because(wrong).code(Code::Mismatch));
    }
    stats.map_err(|error| match error {
        ExtractError::Io(error) => Failure::new("failed to write the source", error),
        error => Failure::new("the archive is refused", error).code(Code::Refused),
    })
}

/// Unpacks and reads to the announced end, so that length and digest are known whatever the archive is.
fn unpack_stream(input: Input, dest: &Path, limits: Limits) -> (Result<Stats, ExtractError>, Input, Digest) {
    let mut reader = BufReader::with_capacity(64 * 1024, DigestReader::new(input));
    let zipped = reader.fill_buf().is_ok_and(|start| start.starts_with(&[0x1f, 0x8b]));
    let stats = if zipped {
        extract(flate2::bufread::MultiGzDecoder::new(&mut reader), dest, Kind::Source, limits)
    } else {
        extract(&mut reader, dest, Kind::Source, limits)
    };
    let _ = io::copy(&mut reader.by_ref(), &mut io::sink());
    let (input, got, _) = reader.into_inner().finish();
    (stats, input, got)
}

/// Puts the finished folder in place of what is there.
fn publish(staging: tempfile::TempDir, dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(staging.path(), PermissionsExt::from_mode(0o755))?;
    let parent = dir.parent().unwrap_or(Path::new("."));
    let old = tempfile::Builder::new().prefix(".replaced-").tempdir_in(parent)?;
    match fs::rename(dir, old.path().join("old")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fs::rename(staging.keep(), dir)?;
    Ok(())
}
