//! A workspace, a registry on a free port, and the binary.

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use fs_err as fs;
use tm_engine::registry::{Storage, router};
use tm_oci::{
    Digest, Reference,
    manifest::{ImageConfig, Manifest},
    unpack::unpack_image,
};

/// The engine's registry, listening.
pub(crate) struct Registry {
    pub(crate) storage: Storage,
    pub(crate) address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path().join("registry")).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(storage.clone());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { storage, address, _runtime: runtime, _dir: dir }
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub(crate) fn read(&self, image: &str) -> (Digest, Manifest, ImageConfig) {
        self.storage.image(&image.parse::<Reference>().unwrap()).unwrap()
    }
}

/// A build's workspace.
pub(crate) struct Workspace {
    dir: tempfile::TempDir,
    pub(crate) cache: Option<PathBuf>,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("src")).unwrap();
        Self { dir, cache: None }
    }

    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let workspace = Self::new();
        for (name, text) in files {
            workspace.write(name, text);
        }
        workspace
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path("src").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap()
    }

    pub(crate) fn lang(&self, language: &str, stage: &str, env: &[(&str, &str)]) -> Output {
        let mut command = binary(&["lang", language, stage, "--workspace"]);
        command.arg(self.dir.path()).envs(env.iter().copied());
        if let Some(cache) = &self.cache {
            command.env("TM_BUILD_CACHE", cache);
        }
        command.output().unwrap()
    }

    /// Both stages of a language.
    pub(crate) fn build(&self, language: &str, env: &[(&str, &str)]) {
        for stage in ["deps", "build"] {
            let output = self.lang(language, stage, env);
            assert!(output.status.success(), "{language} {stage}: {}", text(&output));
        }
    }

    pub(crate) fn assemble(&self, base: &str, image: &str) -> Output {
        self.assemble_command(base, image).output().unwrap()
    }

    pub(crate) fn assemble_command(&self, base: &str, image: &str) -> Command {
        let shim = self.path("shim");
        if !shim.exists() {
            fs::write(&shim, "the shim").unwrap();
        }
        let mut command = binary(&["assemble", "--base", base, "--image", image, "--shim"]);
        command.arg(shim).arg("--config").arg(self.path("out/config.json"));
        for name in ["runtime", "dependencies", "code"] {
            command.arg(format!("--layer={name}={}", self.path("out/layers").join(name).display()));
        }
        command.arg("--result-url").arg(self.path("url")).arg("--result-digest").arg(self.path("digest"));
        if let Some(cache) = &self.cache {
            command.env("TM_BUILD_CACHE", cache);
        }
        command
    }

    /// Pushes, and unpacks what was pushed.
    pub(crate) fn image(&self, registry: &Registry, image: &str) -> (ImageConfig, PathBuf) {
        let output = self.assemble("tm.local/host", image);
        assert!(output.status.success(), "{}", text(&output));
        let (digest, manifest, config) = registry.read(image);
        assert_eq!(self.read("digest"), digest.as_str());
        let to = self.path(&format!("unpacked-{}", digest.hex()));
        unpack_image(
            &manifest.layers,
            |layer| registry.storage.open_blob(&layer.digest).map_err(std::io::Error::other),
            &to,
        )
        .unwrap();
        (config, to)
    }
}

/// The binary with a clean environment for what it reads.
pub(crate) fn binary(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_build-tasks"));
    command.args(args).stdin(Stdio::null());
    for name in
        ["HANDLER", "DIRECTORY", "INVOKER_COUNT", "TM_BUILD_CACHE", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"]
    {
        command.env_remove(name);
    }
    command
}

pub(crate) fn run_with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may refuse and end before everything is written.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
