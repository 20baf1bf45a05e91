//! The TaskRun of a build: the runtime's Task inline, our receiving step in front, credentials where they are needed.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use k8s_openapi::api::core::v1::{EnvVar, SecretVolumeSource, Volume, VolumeMount};
use kube::api::ObjectMeta;
use serde_json::Map;
use tm_resources::{
    labels,
    target::param_override,
    tekton::{
        Param, ParamSpec, Step, Task, TaskRun, TaskRunSpec, TaskSpec, WorkspaceBinding, WorkspaceDeclaration,
    },
};

use crate::{registry::Destination, runtime::Runtime, settings::ServiceSettings};

/// Name of the receiving step (the first tm's).
pub(crate) const RECEIVER: &str = "sources-receiver";
/// Parameter with the image that is pushed.
const IMAGE: &str = "IMAGE";
/// Parameter with the image of the receiving step.
const BUILDER_IMAGE: &str = "BUILDER_IMAGE";
/// Its value when neither Task nor target names one.
const DEFAULT_BUILDER: &str = concat!("ghcr.io/tm-functions/builder:", env!("CARGO_PKG_VERSION"));
/// Workspace that holds the source.
const WORKSPACE: &str = "source";
/// Where Tasks without that workspace expect the source (the Knative Lambda Runtime's).
const OLD_FOLDER: &str = "/workspace/workspace";
/// Step that pushes, in our Tasks.
pub(crate) const PUSHING_STEP: &str = "assemble";
/// Step that asks the registry whether we may push, before anything is uploaded.
const CHECK_STEP: &str = "check-push";
/// Steps of ours that see credentials.
const NEED_CREDENTIALS: [&str; 2] = [PUSHING_STEP, CHECK_STEP];
/// Volume of the registry secret.
const SECRET_VOLUME: &str = "tm-registry-secret";

/// A build to be run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Name of the service.
    pub(crate) service: String,
    /// Runtime, for people.
    pub(crate) runtime: String,
    /// Where the image goes.
    pub(crate) destination: Destination,
    /// Longest time of the build.
    pub(crate) timeout: Duration,
    namespace: String,
    task: TaskSpec,
    params: Vec<Param>,
    folder: String,
    state: String,
    /// Steps before the receiver.
    before: usize,
}

// === impl Plan ===

impl Plan {
    /// Puts the Task, the user's arguments and the target's settings together.
    pub(crate) fn new(
        settings: &ServiceSettings,
        namespace: &str,
        runtime: Runtime,
        destination: Destination,
        config: &BTreeMap<String, String>,
        insecure: bool,
    ) -> Result<Self> {
        let Runtime { name, task: Task { spec: mut task, .. } } = runtime;
        let destination = match settings.build_arguments.get(IMAGE) {
            Some(image) => destination.renamed(image)?,
            None => destination,
        };
        let (folder, state) = folders(&mut task);
        if !task.params.iter().any(|param| param.name == BUILDER_IMAGE) {
            let default = Some(DEFAULT_BUILDER.into());
            task.params.push(ParamSpec { name: BUILDER_IMAGE.into(), default, ..ParamSpec::default() });
        }
        let mut given = settings.build_arguments.clone();
        given.entry(IMAGE.into()).or_insert_with(|| destination.push.clone());
        let params = params(&task, &name, &given, config);
        task.steps.insert(0, receiver(&folder, &state, settings.build_timeout));
        if task.params.iter().any(|param| param.name == IMAGE) {
            task.steps.insert(0, push_check(&destination.push));
        }
        let before = task.steps.iter().position(|step| step.name == RECEIVER).unwrap_or(0);
        if let Some(secret) = &destination.secret {
            mount_secret(&mut task, secret);
        }
        if insecure {
            for step in &mut task.steps {
                step.env.push(variable("TM_REGISTRY_INSECURE", "true"));
            }
        }
        Ok(Self {
            service: settings.name.clone(),
            runtime: name,
            destination,
            timeout: settings.build_timeout,
            namespace: namespace.into(),
            task,
            params,
            folder,
            state,
            before,
        })
    }

    /// Containers of the build's steps, without the receiver's, in order.
    pub(crate) fn step_containers(&self) -> Vec<String> {
        self.task.steps.iter().skip(self.before + 1).map(|step| format!("step-{}", step.name)).collect()
    }

    /// Steps that must have ended well before the source is sent.
    pub(crate) fn steps_before(&self) -> impl Iterator<Item = &str> {
        self.task.steps.iter().take(self.before).map(|step| step.name.as_str())
    }

    /// The command that takes the source; digest and length are added per upload.
    pub(crate) fn unpack_command(&self, uid: &str) -> Vec<String> {
        let resolve = |text: &str| text.replace("$(workspaces.source.path)", "/workspace/source");
        [
            "build-tasks",
            "unpack",
            "--dir",
            &resolve(&self.folder),
            "--state",
            &resolve(&self.state),
            "--token",
            uid,
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// Where the source goes and where the upload's state is kept. A Task that declares no workspace `source` gets one.
fn folders(task: &mut TaskSpec) -> (String, String) {
    let ours = task.workspaces.iter().any(|workspace| workspace.name == WORKSPACE);
    if !ours {
        let workspace = WorkspaceDeclaration { name: WORKSPACE.into(), ..WorkspaceDeclaration::default() };
        task.workspaces.push(workspace);
    }
    let root = format!("$(workspaces.{WORKSPACE}.path)");
    let folder = if ours { format!("{root}/src") } else { OLD_FOLDER.into() };
    (folder, format!("{root}/.tm/upload"))
}

/// The target's builder image.
pub(crate) fn builder_image(config: &BTreeMap<String, String>) -> String {
    config.get(BUILDER_IMAGE).cloned().unwrap_or_else(|| DEFAULT_BUILDER.to_owned())
}

/// Values for the declared parameters: the user's, else the target's own for images.
fn params(
    task: &TaskSpec,
    name: &str,
    given: &BTreeMap<String, String>,
    config: &BTreeMap<String, String>,
) -> Vec<Param> {
    let value = |declared: &str| {
        given.get(declared).map(String::as_str).or_else(|| param_override(config, name, declared))
    };
    task.params.iter().filter_map(|spec| Some(Param::string(&spec.name, value(&spec.name)?))).collect()
}

fn receiver(folder: &str, state: &str, limit: Duration) -> Step {
    let args = [
        "receive",
        "--dir",
        folder,
        "--state",
        state,
        "--token",
        "$(context.taskRun.uid)",
        "--timeout",
        &format!("{}s", limit.as_secs()),
    ];
    Step {
        name: RECEIVER.into(),
        image: Some(format!("$(params.{BUILDER_IMAGE})")),
        command: vec!["build-tasks".into()],
        args: args.map(str::to_owned).to_vec(),
        security_context: Some(confined()),
        ..Step::default()
    }
}

/// Registry down, wrong password, no right to push: better known before the build than after it. It is asked from the
/// build pod, since that is where the push comes from.
fn push_check(image: &str) -> Step {
    Step {
        name: CHECK_STEP.into(),
        image: Some(format!("$(params.{BUILDER_IMAGE})")),
        command: vec!["build-tasks".into()],
        args: ["check-push", "--image", image].map(str::to_owned).to_vec(),
        security_context: Some(confined()),
        ..Step::default()
    }
}

/// Rights that also a namespace with the `restricted` Pod Security Standard accepts.
pub(crate) fn confined() -> k8s_openapi::api::core::v1::SecurityContext {
    use k8s_openapi::api::core::v1::{Capabilities, SeccompProfile, SecurityContext};
    SecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(65532),
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

/// Credentials for the step that pushes; for every step of a Task that is not ours. A build step runs other people's code
/// (package scripts) and must not see them.
pub(crate) fn mount_secret(task: &mut TaskSpec, secret: &str) {
    let source = SecretVolumeSource { secret_name: Some(secret.into()), ..SecretVolumeSource::default() };
    task.volumes.push(Volume { name: SECRET_VOLUME.into(), secret: Some(source), ..Volume::default() });
    let ours = task.steps.iter().any(|step| step.name == PUSHING_STEP);
    for step in task.steps.iter_mut().filter(|step| !ours || NEED_CREDENTIALS.contains(&step.name.as_str())) {
        let path = format!("/{secret}");
        step.volume_mounts.push(VolumeMount {
            name: SECRET_VOLUME.into(),
            mount_path: path.clone(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
        step.env.push(variable("DOCKER_CONFIG", &path));
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), ..EnvVar::default() }
}

/// The object to create.
pub(crate) fn object(plan: &Plan) -> TaskRun {
    let labels = BTreeMap::from([(labels::tm::SERVICE.to_owned(), plan.service.clone())]);
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", plan.service)),
        namespace: Some(plan.namespace.clone()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let workspace = WorkspaceBinding {
        name: WORKSPACE.into(),
        empty_dir: Some(Map::new()),
        ..WorkspaceBinding::default()
    };
    let spec = TaskRunSpec {
        task_spec: Some(plan.task.clone()),
        params: plan.params.clone(),
        workspaces: vec![workspace],
        timeout: Some(format!("{}s", plan.timeout.as_secs())),
        ..TaskRunSpec::default()
    };
    TaskRun { metadata, spec, status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{printer::Printer, runtime::builtin};

    fn plan(secret: Option<&str>) -> Plan {
        let runtime = builtin("python", &Printer::new(false)).expect("it parses").expect("it is there");
        let destination = Destination {
            push: "127.0.0.1:3002/default/a:t".into(),
            reference: "tm.local/default/a".into(),
            secret: secret.map(str::to_owned),
        };
        let args =
            crate::cli::command().try_get_matches_from(["tm", "deploy", "service", "a"]).expect("it parses");
        let cli = <crate::cli::Cli as clap::FromArgMatches>::from_arg_matches(&args).expect("it parses");
        let crate::cli::Command::Deploy(crate::cli::Deploy::Service(args)) = cli.command else {
            panic!("deploy")
        };
        let settings = ServiceSettings::of(*args).expect("it is sound");
        let config = BTreeMap::from([("BASE_IMAGE".to_owned(), "tm.local/host".to_owned())]);
        Plan::new(&settings, "default", runtime, destination, &config, false).expect("it is sound")
    }

    #[test]
    fn the_receiver_comes_first_and_images_come_from_the_target() {
        let run = object(&plan(None));
        let task = run.spec.task_spec.expect("it is inline");
        assert_eq!([task.steps[0].name.as_str(), task.steps[1].name.as_str()], [CHECK_STEP, RECEIVER]);
        let value =
            |name: &str| run.spec.params.iter().find(|param| param.name == name).map(|param| &param.value);
        assert_eq!(value("BASE_IMAGE"), Some(&"tm.local/host".into()));
        assert_eq!(value("IMAGE"), Some(&"127.0.0.1:3002/default/a:t".into()));
        assert_eq!(value("HANDLER"), None);
    }

    #[test]
    fn only_steps_that_talk_to_the_registry_see_credentials() {
        let task = object(&plan(Some("s"))).spec.task_spec.expect("it is inline");
        let with: Vec<_> =
            task.steps.iter().filter(|step| !step.volume_mounts.is_empty()).map(|s| &s.name).collect();
        assert_eq!(with, [CHECK_STEP, PUSHING_STEP]);
    }
}
