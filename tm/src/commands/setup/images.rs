//! The images that this program makes of itself: the builder, and a base for programs that need nothing.
//!
//! Both are made from nothing, so nothing is downloaded. Same program, same digest.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tm_oci::{
    Reference,
    image::Image,
    layer::LayerBuilder,
    manifest::{Descriptor, RunConfig},
    registry::{BlobEvent, Client, Progress, RegistryError},
};

use crate::{error::HintExt, printer::Printer};

/// User of builds and functions; Kubernetes wants a number to know that it is not root.
const USER: &str = "65532";
/// Where programs look for authorities first (Debian's place; Go, OpenSSL and rustls know it).
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// The image with `build-tasks` and `runtime-shim`; `program` is a statically linked `tm`.
///
/// # Errors
/// When the program cannot be read or does not run on Linux.
pub(super) async fn builder(program: PathBuf, authorities: Option<PathBuf>) -> Result<Image> {
    check(&program)?;
    make(move || {
        let mut programs = LayerBuilder::new();
        programs.add_file("usr/local/bin/build-tasks", &program, true)?;
        // The small shim of a release goes into functions; without it, this program does.
        let shim = program.with_file_name("runtime-shim");
        if shim.is_file() {
            programs.add_file("usr/local/bin/runtime-shim", &shim, true)?;
        }
        let layers =
            vec![("system".to_owned(), system(authorities.as_deref())?), ("tm".to_owned(), programs)];
        let entrypoint = vec!["/usr/local/bin/build-tasks".to_owned()];
        Ok(Image::build(RunConfig { entrypoint, ..run() }, layers)?)
    })
    .await
    .context("failed to make the builder image")
}

/// A base without a shell: users, `/tmp` and authorities. For statically linked programs, such as Go's.
///
/// # Errors
/// When the authorities cannot be read.
pub(super) async fn base(authorities: Option<PathBuf>) -> Result<Image> {
    make(move || Ok(Image::build(run(), [("system".to_owned(), system(authorities.as_deref())?)])?))
        .await
        .context("failed to make the base image")
}

async fn make(work: impl FnOnce() -> Result<Image> + Send + 'static) -> Result<Image> {
    tokio::task::spawn_blocking(work).await?
}

/// Pushes an image and says how far it is. Returns the bytes that were sent.
///
/// # Errors
/// When the registry refuses it.
pub(super) async fn push(image: &Image, client: &Client, at: &Reference, printer: &Printer) -> Result<u64> {
    let push = async |progress| image.push(client, at, &progress).await;
    transfer(format!("Pushing {at}"), image.bytes(), printer, push).await
}

/// Shows how far a transfer of `total` bytes is. Returns the bytes that were sent.
///
/// # Errors
/// When a registry refuses it.
pub(super) async fn transfer(
    title: String,
    total: u64,
    printer: &Printer,
    work: impl AsyncFnOnce(Progress) -> Result<u64, RegistryError>,
) -> Result<u64> {
    let failed = format!("failed: {title}");
    let step = Arc::new(printer.transfer(title, total));
    let (shown, done) = (step.clone(), AtomicU64::new(0));
    let progress = Arc::new(move |blob: &Descriptor, event| match event {
        BlobEvent::Sending { sent, .. } => shown.position(done.load(Relaxed) + sent),
        BlobEvent::Done(_) => shown.position(done.fetch_add(blob.size, Relaxed) + blob.size),
    });
    match work(progress).await {
        Ok(sent) => {
            if let Some(step) = Arc::into_inner(step) {
                step.done();
            }
            Ok(sent)
        }
        Err(error) => {
            let hint = error.hint().unwrap_or("check --registry-host and --registry-secret");
            Err(anyhow::Error::new(error).context(failed)).hint(hint)
        }
    }
}

fn run() -> RunConfig {
    let mut run = RunConfig { user: USER.into(), working_dir: "/".into(), ..RunConfig::default() };
    run.set_env("PATH", "/usr/local/bin:/usr/bin:/bin");
    run
}

/// What every program expects of a system.
fn system(authorities: Option<&Path>) -> Result<LayerBuilder> {
    let mut layer = LayerBuilder::new();
    layer.add_bytes("etc/passwd", PASSWD.into(), false)?;
    layer.add_bytes("etc/group", GROUP.into(), false)?;
    layer.add_folder("tmp", 0o1777)?;
    layer.add_bytes(CERTIFICATES, certificates(authorities)?.into_bytes(), false)?;
    Ok(layer)
}

/// Mozilla's authorities and the operator's own, as PEM.
fn certificates(own: Option<&Path>) -> Result<String> {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    if let Some(path) = own {
        let own = fs_err::read_to_string(path).context("failed to read --registry-ca")?;
        if !own.contains("-----BEGIN CERTIFICATE-----") {
            bail!("`{}` holds no certificate in PEM form", path.display());
        }
        text.push_str(&own);
    }
    Ok(text)
}

/// Only a statically linked Linux program runs in an image without libraries.
fn check(program: &Path) -> Result<()> {
    const LIMIT: u64 = 64 << 10;
    let mut head = Vec::new();
    fs_err::File::open(program)?.take(LIMIT).read_to_end(&mut head)?;
    let problem = if !head.starts_with(b"\x7fELF") {
        "is not a Linux program"
    } else if has_interpreter(&head) {
        "is not statically linked"
    } else {
        return Ok(());
    };
    Err(anyhow::anyhow!("`{}` {problem}, so it cannot be a builder image", program.display()))
        .hint("run `tm setup` with a Linux release of tm, or name an image with --builder-image")
}

/// Whether a 64-bit little-endian ELF file asks for a dynamic loader (`PT_INTERP`).
fn has_interpreter(head: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(head.get(at..at + length)?);
        Some(u64::from_le_bytes(bytes))
    };
    let entries = || {
        let table = usize::try_from(number(0x20, 8)?).ok()?;
        let size = usize::try_from(number(0x36, 2)?).ok()?;
        let count = usize::try_from(number(0x38, 2)?).ok()?;
        Some((0..count).filter_map(move |index| number(table.checked_add(index * size)?, 4)))
    };
    entries().is_some_and(|mut kinds| kinds.any(|kind| kind == u64::from(PT_INTERP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_base_is_always_the_same() {
        let (one, two) = (base(None).await.expect("it is made"), base(None).await.expect("it is made"));
        assert_eq!(one.digest(), two.digest());
    }

    #[tokio::test]
    async fn scripts_and_dynamic_programs_are_no_builder() {
        let script = tempfile::NamedTempFile::new().expect("a file");
        fs_err::write(script.path(), "#!/bin/sh\n").expect("it writes");
        let error = builder(script.path().into(), None).await.expect_err("it is a script");
        assert!(error.to_string().contains("is not a Linux program"), "{error:#}");
        let mut elf = vec![0; 0x80];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[0x20] = 0x40;
        elf[0x36] = 0x38;
        elf[0x38] = 1;
        assert!(!has_interpreter(&elf));
        elf[0x40] = 3;
        assert!(has_interpreter(&elf));
        assert!(!has_interpreter(&elf[..0x30]));
    }

    #[test]
    fn certificates_are_pem() {
        let text = certificates(None).expect("they are there");
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\nMII"), "{}", &text[..80]);
        let nothing = tempfile::NamedTempFile::new().expect("a file");
        assert!(certificates(Some(nothing.path())).is_err());
    }
}
