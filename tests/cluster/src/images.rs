//! Images of the components, made from files of this machine and put straight into containerd: no base, no registry.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use fs_err as fs;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tm_oci::{Reference, image, layer::LayerBuilder, manifest::RunConfig};

use crate::{
    command::Program,
    node, packages,
    programs::{self, Programs, Tool},
    settings::Settings,
};

/// Tekton's shell for steps with a script.
pub(crate) const SHELL: &str = "dev.local/shell:1";
/// Kourier's gateway.
pub(crate) const ENVOY: &str = "dev.local/envoy:1";
/// The user that pods with `runAsNonRoot` run as: a number, or kubelet cannot tell.
const NONROOT: &str = "65532";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/ko-app";
const IMPORT_LIMIT: Duration = Duration::from_secs(300);
/// Imports side by side; more only wait for the disk.
const AT_ONCE: usize = 2;

/// An image that has yet to be written.
struct Image {
    name: String,
    run: RunConfig,
    layer: LayerBuilder,
}

/// Names of the components' images that containerd does not have.
pub(crate) async fn missing(settings: &Settings) -> Result<Vec<String>> {
    let have = imported(settings).await?;
    let mut wanted: Vec<String> = programs::in_pods()?.iter().map(Tool::image).collect();
    wanted.extend([node::PAUSE, SHELL, ENVOY].map(String::from));
    wanted.retain(|name| !have.lines().any(|line| line == name));
    Ok(wanted)
}

async fn imported(settings: &Settings) -> Result<String> {
    node::ctr(settings).args(["images", "list", "--quiet"]).text().await
}

/// Makes all images and imports those that containerd does not have.
pub(crate) async fn import(settings: &Settings, programs: &Programs) -> Result<()> {
    let have = imported(settings).await?;
    let mut images = vec![pause(settings, programs).await?, shell().await?, envoy(settings).await?];
    for tool in programs::in_pods()? {
        images.push(go_program(&tool.image(), tool.binary(), &programs.file(&tool))?);
    }
    images.retain(|image| !have.lines().any(|line| line == image.name));
    let imports = images.into_iter().map(|image| import_one(settings, image));
    stream::iter(imports).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

async fn import_one(settings: &Settings, image: Image) -> Result<()> {
    let name = image.name.clone();
    import_and_unpack(settings, image).await.with_context(|| format!("failed to import {name}"))
}

async fn import_and_unpack(settings: &Settings, image: Image) -> Result<()> {
    let (tar, layers) = tokio::task::spawn_blocking(move || archive(image)).await??;
    let import = node::ctr(settings).args(["images", "import", "-"]).input(tar).limit(IMPORT_LIMIT);
    import.run().await?;
    // Unpacked, they are on the disk a second time.
    node::ctr(settings).args(["content", "delete"]).args(layers).run().await?;
    Ok(())
}

/// The image as one tar file, in memory (the largest has 150 MB), and the digests of its layers.
fn archive(image: Image) -> Result<(Vec<u8>, Vec<String>)> {
    let name: Reference = image.name.parse()?;
    let built = image::Image::build_plain(image.run, [("files".to_owned(), image.layer)])?;
    let mut tar = Vec::new();
    built.write_archive(&[&name], &mut tar)?;
    Ok((tar, built.layers().map(|layer| layer.digest.to_string()).collect()))
}

/// As `ko` builds them: the program in `/ko-app`.
fn go_program(name: &str, binary: &str, file: &Path) -> Result<Image> {
    let mut layer = basic_layer()?;
    layer.add_file(&format!("ko-app/{binary}"), file, true)?;
    let run = run_config(vec![format!("/ko-app/{binary}")], NONROOT);
    Ok(Image { name: name.to_owned(), run, layer })
}

/// Kubernetes' own program for it, compiled from the same module as the rest.
async fn pause(settings: &Settings, programs: &Programs) -> Result<Image> {
    let source = programs.module("k8s.io/kubernetes")?.dir().join("build/pause/linux/pause.c");
    let binary = settings.state.join("pause");
    Program::new("cc").args(["-Os", "-static", "-DVERSION=tm", "-o"]).arg(&binary).arg(source).run().await?;
    let mut layer = basic_layer()?;
    layer.add_file("pause", &binary, true)?;
    Ok(Image { name: node::PAUSE.into(), run: run_config(vec!["/pause".into()], "65535"), layer })
}

async fn shell() -> Result<Image> {
    let busybox = which("busybox")?;
    let applets = Program::new(&busybox).arg("--list").text().await?;
    let mut layer = basic_layer()?;
    layer.add_file("bin/busybox", &busybox, true)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        layer.add_link(&format!("bin/{applet}"), Path::new("busybox"))?;
    }
    Ok(Image { name: SHELL.into(), run: run_config(vec!["/bin/sh".into()], ""), layer })
}

/// Envoy needs the C library: the machine's own goes with it.
async fn envoy(settings: &Settings) -> Result<Image> {
    let binary = packages::envoy(settings).await?;
    let libraries = Program::new("ldd").arg(&binary).text().await?;
    let mut layer = basic_layer()?;
    layer.add_file("usr/local/bin/envoy", &binary, true)?;
    for path in shared_objects(&libraries) {
        let real = fs::canonicalize(&path)?;
        layer.add_file(path.trim_start_matches('/'), &real, true)?;
    }
    Ok(Image { name: ENVOY.into(), run: run_config(vec!["/usr/local/bin/envoy".into()], NONROOT), layer })
}

/// Absolute paths in the output of `ldd`.
fn shared_objects(ldd: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(String::from);
    ldd.lines().filter_map(words).collect()
}

fn which(program: &str) -> Result<PathBuf> {
    packages::find(program).with_context(|| format!("`{program}` is not on this machine"))
}

/// What every image has: users and a place for temporary files.
fn basic_layer() -> Result<LayerBuilder> {
    let mut layer = LayerBuilder::new();
    let users =
        "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
    layer.add_bytes("etc/passwd", users.into(), false)?;
    layer.add_bytes("etc/group", "root:x:0:\nnonroot:x:65532:\n".into(), false)?;
    layer.add_folder("tmp", 0o1777)?;
    Ok(layer)
}

fn run_config(entrypoint: Vec<String>, user: &str) -> RunConfig {
    RunConfig { user: user.into(), env: vec![PATH.into()], entrypoint, ..RunConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found() {
        let ldd = "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(shared_objects(ldd), ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn an_image_of_a_go_program_runs_it_as_nobody() {
        let image = go_program("dev.local/x:1", "x", Path::new("/nowhere")).unwrap();
        assert_eq!(image.run.entrypoint, ["/ko-app/x"]);
        assert!(image.run.user.parse::<u32>().is_ok_and(|user| user != 0));
    }
}
