//! The runner the settings ask for, and the images of builds that go with it.

use std::{collections::BTreeMap, sync::Arc};

use tm_resources::target::HOST_IMAGE;

use super::{
    EngineError,
    settings::{RunnerKind, Settings},
};
use crate::{
    engine::lock::Running,
    paths::Paths,
    registry::Storage,
    runner::{Runner, docker::DockerRunner, process::ProcessRunner},
};

/// Image parameters of our Tasks.
const BUILDER_IMAGE: &str = "BUILDER_IMAGE";
const ALL_IMAGES: [&str; 3] = [BUILDER_IMAGE, "BUILD_IMAGE", "BASE_IMAGE"];

/// What the steps of tm itself run on in Docker when no base image is given: certificates and nothing else, since
/// `build-tasks` is mounted into every step. For the languages' own images the defaults of the Tasks hold.
const DOCKER_BUILDER: &str = "gcr.io/distroless/static-debian12";

/// A runner, and image parameters of the Tasks by name.
pub(super) struct Chosen {
    pub(super) runner: Arc<dyn Runner>,
    pub(super) images: BTreeMap<String, String>,
}

/// The process runner, when it is asked for. Finding out what the kernel allows takes two programs' starts, so it is begun
/// before what needs the answer.
pub(super) async fn process(
    settings: &Settings,
    paths: &Paths,
) -> Result<Option<ProcessRunner>, EngineError> {
    if settings.runner != RunnerKind::Process {
        return Ok(None);
    }
    let masked = vec![paths.state.clone(), paths.runtime.clone()];
    let exe = "/proc/self/exe".into();
    Ok(Some(ProcessRunner::choose(settings.isolation, exe, masked, &paths.pods()).await?))
}

/// Makes the runner, if it is not `process`. The engine's registry must be answering: Docker pushes the base image into it.
pub(super) async fn choose(
    settings: &Settings,
    paths: &Paths,
    running: &Running,
    storage: &Storage,
    process: Option<ProcessRunner>,
) -> Result<Chosen, EngineError> {
    if let Some(runner) = process {
        return Ok(Chosen { runner: Arc::new(runner), images: all(HOST_IMAGE) });
    }
    let runner = DockerRunner::connect(&paths.state, running.registry).await?;
    let images = match &settings.docker_base_image {
        Some(base) => all(&runner.publish_base(base, storage).await?),
        None => BTreeMap::from([(BUILDER_IMAGE.into(), DOCKER_BUILDER.into())]),
    };
    Ok(Chosen { runner: Arc::new(runner), images })
}

fn all(image: &str) -> BTreeMap<String, String> {
    ALL_IMAGES.map(|name| (name.to_owned(), image.to_owned())).into()
}
