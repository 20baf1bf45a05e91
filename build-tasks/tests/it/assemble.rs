//! `assemble`, `check-push` and `prepare`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use fs_err as fs;
use tm_oci::{
    manifest::{self, Descriptor, ImageConfig, Manifest},
    media_type,
};

use crate::fixture::{Registry, Workspace, binary, text};

fn ready() -> Workspace {
    let workspace = Workspace::with(&[("bootstrap", "#!/bin/sh\n")]);
    assert!(workspace.lang("custom", "build", &[]).status.success());
    workspace
}

#[test]
fn unchanged_images_send_nothing() {
    let registry = Registry::start();
    let image = registry.image("default/hello:v1");
    let cache = tempfile::tempdir().unwrap();
    let mut workspace = ready();
    workspace.cache = Some(cache.path().to_owned());
    let first = workspace.assemble("tm.local/host", &image);
    assert!(first.status.success(), "{}", text(&first));
    assert!(text(&first).contains("0 of 2 layers already there"), "{}", text(&first));
    let (digest, manifest, _) = registry.read(&image);
    assert_eq!(workspace.read("url"), image);
    let again = workspace.assemble("tm.local/host", &image);
    assert!(text(&again).contains("pushed 0 bytes, 2 of 2 layers already there"), "{}", text(&again));
    assert_eq!(workspace.read("digest"), digest.as_str());
    // Another name needs the manifest, and nothing else.
    let second = workspace.assemble("tm.local/host", &registry.image("default/other"));
    let manifest_bytes = manifest::to_bytes(&manifest).unwrap().len();
    let want = format!("pushed {manifest_bytes} bytes, 2 of 2 layers already there");
    assert!(text(&second).contains(&want), "{}", text(&second));
    assert_eq!(workspace.read("digest"), digest.as_str());
}

/// What makes a deploy quick when nothing changed: no layer is made a second time. A new one would be a new entry.
#[test]
fn unchanged_layers_come_from_the_cache() {
    let registry = Registry::start();
    let image = registry.image("default/hello:v1");
    let cache = tempfile::tempdir().unwrap();
    let mut workspace = ready();
    workspace.cache = Some(cache.path().to_owned());
    fs::copy(env!("CARGO_BIN_EXE_build-tasks"), workspace.path("shim")).unwrap();
    // The second time it is known of the shim's file, too, which blob it becomes.
    for _ in 0..2 {
        assert!(workspace.assemble("tm.local/host", &image).status.success());
    }
    let made = entries(cache.path());
    assert_eq!(made.len(), 3, "two layers and a file: {made:?}");
    let again = workspace.assemble("tm.local/host", &image);
    assert!(text(&again).contains("pushed 0 bytes, 2 of 2 layers already there"), "{}", text(&again));
    assert_eq!(entries(cache.path()), made);
}

/// The files under a folder, and when they were written.
fn entries(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(entries(&path));
        } else {
            found.insert(path.clone(), fs::metadata(&path).unwrap().modified().unwrap());
        }
    }
    found
}

/// A layer of 1 GB passes through bounded memory.
#[test]
fn large_layers_do_not_fill_memory() {
    let registry = Registry::start();
    let workspace = ready();
    let large = fs::File::create(workspace.path("out/layers/code/var/task/large")).unwrap();
    large.set_len(1 << 30).unwrap();
    fs::write(workspace.path("shim"), "the shim").unwrap();
    let mut step = workspace.assemble_command("tm.local/host", &registry.image("default/large"));
    let mut step = step.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", step.id());
    let mut peak = 0u64;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = peak.max(line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0));
        if let Some(ended) = step.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(ended.success());
    assert!((1000..80_000).contains(&peak), "{peak} kB");
    let (_, manifest, _) = registry.read(&registry.image("default/large"));
    assert!(manifest.layers[1].size > 1_000_000);
}

#[test]
fn a_base_in_docker_types_becomes_oci_and_stays_where_it_is() {
    let registry = Registry::start();
    let layer = b"a layer that is never looked into";
    let config = br#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
    for bytes in [&layer[..], config] {
        fs::write(registry.storage.blob_path(&tm_oci::Digest::of(bytes)), bytes).unwrap();
    }
    let docker = Manifest {
        media_type: Some(media_type::DOCKER_MANIFEST.into()),
        ..Manifest::new(
            Descriptor::of(media_type::DOCKER_CONFIG, config),
            vec![Descriptor::of(media_type::DOCKER_LAYER_GZIP, layer)],
        )
    };
    let bytes = manifest::to_bytes(&docker).unwrap();
    registry.storage.put_manifest("base/python", Some("3"), None, &bytes).unwrap();

    let workspace = ready();
    let image = registry.image("default/hello");
    let output = workspace.assemble(&registry.image("base/python:3"), &image);
    assert!(output.status.success(), "{}", text(&output));
    let (_, pushed, config): (_, Manifest, ImageConfig) = registry.read(&image);
    assert_eq!(pushed.layers.len(), 3);
    assert_eq!(pushed.layers[0].digest, tm_oci::Digest::of(layer));
    assert!(pushed.layers.iter().all(|layer| layer.media_type == media_type::LAYER_GZIP));
    assert_eq!(config.rootfs.diff_ids.len(), 3);
    assert_eq!(config.history.iter().filter(|entry| !entry.empty_layer).count(), 3);
    assert_eq!(config.config.env("PATH"), Some("/bin"));
    assert!(config.config.cmd.is_empty());

    // Another registry: the base's layer is carried over.
    let other = Registry::start();
    let image = other.image("default/hello");
    let output = workspace.assemble(&registry.image("base/python:3"), &image);
    assert!(output.status.success(), "{}", text(&output));
    assert!(other.storage.open_blob(&tm_oci::Digest::of(layer)).is_ok());
}

#[test]
fn what_is_wrong_with_a_registry_is_said() {
    let registry = Registry::start();
    let image = registry.image("default/hello");
    let output = binary(&["check-push", "--image", &image]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let output = ready().assemble(&registry.image("no/such:base"), &image);
    assert_eq!(output.status.code(), Some(7));
    assert!(text(&output).contains("does not have no/such:base"), "{}", text(&output));
    let output = ready().assemble("tm.local/host", "Not/An/Image");
    assert!(text(&output).contains("is not an image reference"), "{}", text(&output));
}

#[test]
fn prepare_copies_itself() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join(".tm/bin/build-tasks");
    let output = binary(&["prepare", "--to"]).arg(&to).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let output = std::process::Command::new(to).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("build-tasks "));
}

/// The Tasks are what Tekton takes: known fields only, each step confined and with a command.
#[test]
fn the_tasks_follow_the_rules() {
    for task in build_tasks::tasks::all().filter(|task| task.name == task.alias_of) {
        let yaml = task.yaml.unwrap();
        let value: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(
            (value["apiVersion"].as_str(), value["kind"].as_str()),
            (Some("tekton.dev/v1"), Some("Task"))
        );
        assert_eq!(value["metadata"]["name"], task.name);
        let names = |list: &serde_json::Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(
            names(&value["spec"]["params"]),
            ["IMAGE", "HANDLER", "DIRECTORY", "BUILDER_IMAGE", "BUILD_IMAGE", "BASE_IMAGE", "INVOKER_COUNT"]
        );
        assert_eq!(names(&value["spec"]["results"]), ["IMAGE_URL", "IMAGE_DIGEST"]);
        let steps = value["spec"]["steps"].as_array().unwrap();
        assert_eq!(
            (&steps[0]["name"], &steps[steps.len() - 1]["name"]),
            (&"prepare".into(), &"assemble".into())
        );
        for step in steps {
            assert!(step["command"].is_array() && step.get("script").is_none());
            let context = &step["securityContext"];
            assert_eq!((&context["runAsUser"], &context["runAsNonRoot"]), (&65532.into(), &true.into()));
            assert_eq!(context["capabilities"]["drop"][0], "ALL");
            assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
        }
        assert!(!yaml.contains("script:"));
    }
}
