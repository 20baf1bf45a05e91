//! `assemble`: base, shim and the build's layers become an image, and what the registry does not have yet is sent.
//!
//! The base's layers are never downloaded: they are mounted from a sibling repository, or streamed when the base is on
//! another registry. A layer whose uncompressed digest is known needs no compressing to know its blob's digest, so an
//! unchanged one costs reading it once, and the shim not even that.

mod base;
mod config;
mod layers;
mod push;
mod shim;

use fs_err as fs;

use crate::{
    Carrier,
    cache::Cache,
    check_push::{client, reference},
    cli::AssembleArgs,
    error::Failure,
    output,
    workspace::BuildConfig,
};

/// Makes and pushes the image; writes its reference and digest to the result files.
pub(crate) async fn assemble(args: &AssembleArgs, carrier: Carrier) -> Result<(), Failure> {
    let image = reference(&args.image)?;
    let client = client(&args.registry);
    let build = read_config(args)?;
    let base = base::pull(&client, &reference(&args.base)?).await?;
    let cache = Cache::from_environment();
    let shim = shim::find(args.shim.as_deref(), carrier)?;
    let layers = layers::plan(args.layers.clone(), shim, cache).await?;
    let pushed = push::push(&client, &image, &base, layers, &config::settings(args, &build)?).await?;
    output::line(&format!("{}@{}", image, pushed.digest));
    output::line(&format!(
        "pushed {} bytes, {} of {} layers already there",
        pushed.bytes, pushed.there, pushed.layers
    ));
    write_result(args.result_url.as_deref(), &image.to_string())?;
    write_result(args.result_digest.as_deref(), pushed.digest.as_str())
}

fn read_config(args: &AssembleArgs) -> Result<BuildConfig, Failure> {
    let Some(path) = &args.config else { return Ok(BuildConfig::default()) };
    let text = fs::read(path).map_err(|error| Failure::new("the build left no config", error))?;
    serde_json::from_slice(&text).map_err(|error| Failure::new("the build's config is not valid", error))
}

/// Tekton takes a result as it is, so there is no line end.
fn write_result(path: Option<&std::path::Path>, text: &str) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text).map_err(|error| Failure::new("failed to write a result", error))
}
