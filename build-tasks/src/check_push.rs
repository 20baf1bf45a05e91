//! `check-push`: finds out before a long build that its result could not be pushed.

use tm_oci::{
    Reference,
    auth::Keychain,
    registry::{Access, Client, ClientOptions},
};

use crate::{
    cli::{CheckPushArgs, RegistryArgs},
    error::Failure,
    output,
};

/// Begins an upload to the repository and gives it up.
pub(crate) async fn check_push(args: &CheckPushArgs) -> Result<(), Failure> {
    let image = reference(&args.image)?;
    client(&args.registry).repository(&image, Access::Push)?.check_push().await?;
    output::line(&format!("{} may be pushed to", image.name()));
    Ok(())
}

/// Parses an image reference of the command line.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse().map_err(|error: tm_oci::reference::InvalidReference| Failure::because(error.to_string()))
}

/// A registry client as the flags and the environment say.
pub(crate) fn client(args: &RegistryArgs) -> Client {
    Client::new(ClientOptions {
        keychain: Keychain::from_environment(args.auth_file.clone()),
        insecure: args.insecure,
        authorities: args.authorities.clone(),
        ..ClientOptions::default()
    })
}
