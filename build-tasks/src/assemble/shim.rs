//! Which file becomes `/usr/local/bin/runtime-shim`.

use std::path::{Path, PathBuf};

use crate::{Carrier, error::Failure};

/// The given file, else `runtime-shim` beside this program, else the multi-call binary itself.
pub(super) fn find(given: Option<&Path>, carrier: Carrier) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            Err(Failure::because(format!("there is no shim at {}", path.display())))
        };
    }
    let exe = std::env::current_exe().map_err(|error| Failure::new("failed to find this program", error))?;
    let beside = exe.with_file_name("runtime-shim");
    match carrier {
        _ if beside.is_file() => Ok(beside),
        Carrier::MultiCall => Ok(exe),
        Carrier::Alone => Err(Failure::because("there is no `runtime-shim` beside this program")
            .hint("the builder image has both; elsewhere say where it is with --shim")),
    }
}
