//! The client against Docker's own registry, as Debian packages it: with a password, and with TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use fs_err as fs;
use tm_oci::{
    Digest, Reference,
    auth::Keychain,
    layer::LayerBuilder,
    manifest::{self, Descriptor, ImageConfig, Manifest, Platform},
    media_type,
    registry::{Access, BlobEvent, Client, ClientOptions, Content, Outcome, Progress, RegistryError},
};

const USER: &str = "tester";
const PASSWORD: &str = "correct horse";

/// A registry of Docker's, ended with the test.
struct DockerRegistry {
    process: Child,
    host: String,
    dir: tempfile::TempDir,
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl DockerRegistry {
    /// Nothing when the programs are not installed.
    async fn start(tls: bool) -> Option<Self> {
        for program in ["docker-registry", "htpasswd"] {
            if !tm_testkit::tools::has(program) {
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        // The port is free now and may be taken by another test in a moment: then the next one is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            write_config(dir.path(), port, tls);
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(dir.path().join("config.yml"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            if answers(port, &mut process).await {
                return Some(Self { process, host: format!("127.0.0.1:{port}"), dir });
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("docker-registry does not answer");
    }

    fn client(&self, password: Option<&str>) -> Client {
        let file = self.dir.path().join("config.json");
        let auths = match password {
            Some(password) => {
                format!(r#"{{"{}":{{"username":"{USER}","password":"{password}"}}}}"#, self.host)
            }
            None => "{}".into(),
        };
        fs::write(&file, format!(r#"{{"auths":{auths}}}"#)).unwrap();
        Client::new(ClientOptions { keychain: Keychain::of([file]), attempts: 2, ..ClientOptions::default() })
    }

    fn image(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host).parse().unwrap()
    }
}

fn write_config(dir: &Path, port: u16, tls: bool) {
    let passwords = Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]).output().unwrap();
    fs::write(dir.join("htpasswd"), passwords.stdout).unwrap();
    let dir_text = dir.display();
    let tls = if tls {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        format!("\n  tls:\n    certificate: {dir_text}/cert.pem\n    key: {dir_text}/key.pem")
    } else {
        String::new()
    };
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {dir_text}/data\n\
         http:\n  addr: 127.0.0.1:{port}{tls}\nauth:\n  htpasswd:\n    realm: test\n    path: {dir_text}/htpasswd\n"
    );
    fs::write(dir.join("config.yml"), config).unwrap();
}

async fn answers(port: u16, process: &mut Child) -> bool {
    for _ in 0..200 {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    false
}

fn quiet() -> Progress {
    Arc::new(|_, _| {})
}

/// A layer on disk and an image of it.
struct Image {
    layer: Descriptor,
    file: tempfile::NamedTempFile,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

fn image() -> Image {
    let mut builder = LayerBuilder::new();
    builder.add_bytes("var/task/data", (0..200_000u32).flat_map(u32::to_le_bytes).collect(), false).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let blob = builder.write_blob(file.as_file_mut()).unwrap();
    let mut config =
        ImageConfig { os: "linux".into(), architecture: Platform::host().architecture, ..Default::default() };
    config.rootfs.diff_ids.push(blob.diff_id);
    let config = manifest::to_bytes(&config).unwrap();
    let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), vec![blob.descriptor.clone()]);
    Image { layer: blob.descriptor, file, config, manifest: manifest::to_bytes(&manifest).unwrap() }
}

#[tokio::test]
async fn push_pull_mount() {
    let Some(registry) = DockerRegistry::start(false).await else { return };
    let client = registry.client(Some(PASSWORD));
    let image = image();
    let at = registry.image("team/app:v1");
    let repository = client.repository(&at, Access::Push).unwrap();
    repository.check_push().await.unwrap();

    let sent = Arc::new(Mutex::new(0));
    let seen = sent.clone();
    let progress: Progress = Arc::new(move |_, event| {
        if let BlobEvent::Sending { sent, total } = event {
            assert!(sent <= total);
            *seen.lock().unwrap() = sent;
        }
    });
    let file = Content::File(image.file.path().to_owned());
    let outcome = repository.put_blob(&image.layer, &file, None, &progress).await.unwrap();
    assert_eq!(outcome, Outcome::Sent(image.layer.size));
    assert_eq!(*sent.lock().unwrap(), image.layer.size);
    let again = repository.put_blob(&image.layer, &file, None, &quiet()).await.unwrap();
    assert_eq!(again, Outcome::Exists);
    let config = Descriptor::of(media_type::CONFIG, &image.config);
    repository.put_blob(&config, &Content::Bytes(image.config.clone().into()), None, &quiet()).await.unwrap();
    for identifier in ["v1", Digest::of(&image.manifest).as_str()] {
        let bytes = image.manifest.clone().into();
        repository.put_manifest(identifier, media_type::MANIFEST, bytes).await.unwrap();
    }
    let bytes = image.manifest.clone().into();
    let (_, again) = repository.ensure_manifest("v1", media_type::MANIFEST, bytes).await.unwrap();
    assert_eq!(again, Outcome::Exists);

    let pulled = client.pull_image(&at, &Platform::host()).await.unwrap();
    assert_eq!(pulled.digest, Digest::of(&image.manifest));
    assert_eq!(pulled.manifest.layers, std::slice::from_ref(&image.layer));
    let bytes = repository.small_blob(&image.layer).await.unwrap();
    assert_eq!(Digest::of(&bytes), image.layer.digest);

    let other = client.repository(&registry.image("team/other"), Access::Push).unwrap();
    other.also_read("team/app");
    let outcome = other.put_blob(&image.layer, &file, Some("team/app"), &quiet()).await.unwrap();
    assert_eq!(outcome, Outcome::Mounted);

    let carried = client.repository(&registry.image("elsewhere"), Access::Push).unwrap();
    let outcome = carried.put_blob(&image.layer, &Content::Remote(repository), None, &quiet()).await.unwrap();
    assert_eq!(outcome, Outcome::Sent(image.layer.size));
}

#[tokio::test]
async fn an_image_from_nothing() {
    let Some(registry) = DockerRegistry::start(false).await else { return };
    let client = registry.client(Some(PASSWORD));
    let mut layer = LayerBuilder::new();
    layer.add_folder("tmp", 0o1777).unwrap();
    let image = tm_oci::image::Image::build(Default::default(), [("tmp".to_owned(), layer)]).unwrap();
    let at = registry.image("made/here:1");
    assert!(image.push(&client, &at, &quiet()).await.unwrap() > 0);
    assert_eq!(image.push(&client, &at, &quiet()).await.unwrap(), 0);
    assert_eq!(&client.pull_image(&at, &Platform::host()).await.unwrap().digest, image.digest());
}

#[tokio::test]
async fn a_copy_keeps_its_digest() {
    let (Some(one), Some(two)) = (DockerRegistry::start(false).await, DockerRegistry::start(false).await)
    else {
        return;
    };
    let mut layer = LayerBuilder::new();
    layer.add_bytes("var/task/data", (0..200_000u32).flat_map(u32::to_le_bytes).collect(), false).unwrap();
    let image = tm_oci::image::Image::build(Default::default(), [("data".to_owned(), layer)]).unwrap();
    let (from, to) = (one.image("made/here:1"), two.image("copied/here:2"));
    let client = one.client(Some(PASSWORD));
    image.push(&client, &from, &quiet()).await.unwrap();

    let original = client.original(&from, &Platform::host()).await.unwrap();
    let target = two.client(Some(PASSWORD));
    assert_eq!(original.copy(&target, &to, &quiet()).await.unwrap(), original.bytes());
    assert_eq!(original.copy(&target, &to, &quiet()).await.unwrap(), 0);
    assert_eq!(&target.pull_image(&to, &Platform::host()).await.unwrap().digest, image.digest());
    let blob = target.repository(&to, Access::Pull).unwrap().small_blob(image.layers().next().unwrap()).await;
    assert!(blob.is_ok(), "{blob:?}");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let Some(registry) = DockerRegistry::start(false).await else { return };
    let at = registry.image("team/app:v1");
    let check = async |password| {
        registry.client(password).repository(&at, Access::Push).unwrap().check_push().await.unwrap_err()
    };
    let wrong = check(Some("wrong horse")).await;
    assert!(matches!(wrong, RegistryError::WrongCredentials { .. }), "{wrong}");
    assert!(wrong.to_string().contains("config.json") && !wrong.to_string().contains("horse"));
    assert!(matches!(check(None).await, RegistryError::NoCredentials { .. }));
    let client = registry.client(Some(PASSWORD));
    let missing = client.pull_image(&at, &Platform::host()).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    let repository = client.repository(&at, Access::Push).unwrap();
    let image = image();
    let refused =
        repository.put_manifest("v1", media_type::MANIFEST, image.manifest.into()).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Refused { status: 400 | 404, .. }), "{refused}");
}

#[tokio::test]
async fn tls_with_an_authority_of_our_own() {
    let Some(registry) = DockerRegistry::start(true).await else { return };
    let at = registry.image("team/app:v1");
    let keychain = || {
        registry.client(Some(PASSWORD));
        Keychain::of([registry.dir.path().join("config.json")])
    };
    let options = ClientOptions { keychain: keychain(), attempts: 1, ..ClientOptions::default() };
    let strange = Client::new(options.clone()).repository(&at, Access::Push).unwrap().check_push().await;
    let strange = strange.unwrap_err();
    assert!(matches!(strange, RegistryError::Unreachable { .. }), "{strange}");
    for options in [
        ClientOptions { authorities: vec![registry.dir.path().join("cert.pem")], ..options.clone() },
        ClientOptions { insecure: true, ..options },
    ] {
        Client::new(options).repository(&at, Access::Push).unwrap().check_push().await.unwrap();
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at: Reference = format!("127.0.0.1:{port}/x").parse().unwrap();
    let client = Client::new(ClientOptions { attempts: 2, ..ClientOptions::default() });
    let error = client.repository(&at, Access::Push).unwrap().check_push().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}
