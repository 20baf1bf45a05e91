//! The image's config: what runs, as whom, where, and with which variables.

use serde_json::{Map, Value};
use tm_oci::manifest::{EPOCH, History, ImageConfig};

use super::base::Base;
use crate::{cli::AssembleArgs, error::Failure, workspace::BuildConfig};

const USER: &str = "65532";
const SHIM: &str = "/usr/local/bin/runtime-shim";
const TASK: &str = "/var/task";
const RUNTIME: &str = "/var/runtime";
/// Label with the runtime's name.
const RUNTIME_LABEL: &str = "tm.dev/runtime";

/// What the image gets besides its layers.
pub(super) struct Settings {
    runtime: String,
    env: Vec<(String, String)>,
}

/// One of our layers, as the config names it.
pub(super) struct LayerNote {
    pub(super) name: String,
    pub(super) diff_id: tm_oci::Digest,
}

/// Gathers the variables: AWS's names, the language's, the Task's.
pub(super) fn settings(args: &AssembleArgs, build: &BuildConfig) -> Result<Settings, Failure> {
    let mut env: Vec<(String, String)> =
        vec![("LAMBDA_TASK_ROOT".into(), TASK.into()), ("LAMBDA_RUNTIME_DIR".into(), RUNTIME.into())];
    if !build.handler.is_empty() {
        env.push(("_HANDLER".into(), build.handler.clone()));
    }
    env.extend(build.env.clone());
    if !args.invoker_count.is_empty() {
        let count: u32 = args.invoker_count.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
            Failure::because(format!("INVOKER_COUNT `{}` is not a number above 0", args.invoker_count))
        })?;
        env.push(("INVOKER_COUNT".into(), count.to_string()));
    }
    for pair in &args.env {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Failure::because("--env wants KEY=VALUE"))?;
        env.push((key.into(), value.into()));
    }
    Ok(Settings { runtime: build.runtime.clone(), env })
}

/// The config of the whole image. Nothing in it depends on when or where it is made.
pub(super) fn image_config(base: &Base, ours: &[LayerNote], settings: &Settings) -> ImageConfig {
    let mut config = base.config.clone();
    config.created = Some(EPOCH.into());
    config.rootfs.diff_ids.extend(ours.iter().map(|layer| layer.diff_id.clone()));
    complete_history(&mut config, base.manifest.layers.len());
    config.history.extend(ours.iter().map(|layer| History {
        created: Some(EPOCH.into()),
        created_by: Some(format!("build-tasks assemble: {}", layer.name)),
        ..History::default()
    }));
    let run = &mut config.config;
    run.entrypoint = vec![SHIM.into()];
    run.cmd.clear();
    run.user = USER.into();
    run.working_dir = TASK.into();
    run.exposed_ports.insert("8080/tcp".into(), Value::Object(Map::new()));
    for (key, value) in &settings.env {
        run.set_env(key, value);
    }
    if !settings.runtime.is_empty() {
        run.labels.insert(RUNTIME_LABEL.into(), settings.runtime.clone());
    }
    config
}

/// History must have one entry per layer or none at all; some bases have none.
fn complete_history(config: &mut ImageConfig, layers: usize) {
    let told = config.history.iter().filter(|entry| !entry.empty_layer).count();
    for _ in told..layers {
        config.history.push(History {
            created: Some(EPOCH.into()),
            created_by: Some("base".into()),
            ..History::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::AssembleArgs;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        args: AssembleArgs,
    }

    fn args(words: &[&str]) -> AssembleArgs {
        let all = ["x", "--base", "tm.local/host", "--image", "a.io/b"].iter().chain(words);
        Wrapper::parse_from(all).args
    }

    #[test]
    fn variables_in_order() {
        let build = BuildConfig {
            runtime: "python3.12".into(),
            handler: "main.handler".into(),
            env: [("PYTHONPATH".to_owned(), "/var/runtime".to_owned())].into(),
        };
        let settings = settings(&args(&["--env", "A=b=c", "--invoker-count", "2"]), &build).unwrap();
        let keys: Vec<_> = settings.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            keys,
            [
                "LAMBDA_TASK_ROOT=/var/task",
                "LAMBDA_RUNTIME_DIR=/var/runtime",
                "_HANDLER=main.handler",
                "PYTHONPATH=/var/runtime",
                "INVOKER_COUNT=2",
                "A=b=c"
            ]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for words in
            [["--invoker-count", "many"], ["--invoker-count", "0"], ["--env", "novalue"], ["--env", "=x"]]
        {
            assert!(settings(&args(&words), &BuildConfig::default()).is_err(), "{words:?}");
        }
    }
}
