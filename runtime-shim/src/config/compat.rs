//! Programs whose place the shim can take in an image that is there already: how they are recognised, and which of the
//! shim's defaults give way to theirs (section 9 of the contract, and its notes on the emulator).

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use tm_lambda::environment as env;
use tm_lambda::{arn, limits};

/// Whose place the shim takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compat {
    /// Nobody's.
    #[default]
    None,
    /// AWS's Runtime Interface Emulator.
    Emulator,
    /// TriggerMesh's aws-custom-runtime.
    CustomRuntime,
}

/// What holds where nothing is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) function_name: &'static str,
    pub(crate) account: &'static str,
    pub(crate) memory_size: u32,
    pub(crate) workers: usize,
    pub(crate) function_timeout: Duration,
    pub(crate) max_event_bytes: usize,
    /// A Runtime API port beside the workers' own, for images that hard-code it.
    pub(crate) fixed_api_port: Option<u16>,
    pub(crate) metrics_port: Option<u16>,
}

/// The emulator's file name.
const EMULATOR: &str = "aws-lambda-rie";

/// aws-custom-runtime's file name.
const CUSTOM_RUNTIME: &str = "aws-custom-runtime";

/// The shim's own.
const OWN: Defaults = Defaults {
    function_name: "function",
    account: arn::DEFAULT_ACCOUNT,
    memory_size: 128,
    workers: 4,
    function_timeout: limits::DEFAULT_FUNCTION_TIMEOUT,
    max_event_bytes: limits::MAX_EVENT_BYTES,
    fixed_api_port: None,
    metrics_port: None,
};

// === impl Compat ===

impl Compat {
    /// What `TM_COMPAT` says, else what the program's name does. Release files of the emulator end in `-x86_64` or `-arm64`.
    pub(crate) fn of(program: &OsStr, variable: Option<&OsStr>) -> Result<Self, String> {
        if let Some(value) = variable.filter(|value| !value.is_empty()) {
            return match value.to_str() {
                Some("none") => Ok(Self::None),
                Some(EMULATOR) => Ok(Self::Emulator),
                Some(CUSTOM_RUNTIME) => Ok(Self::CustomRuntime),
                _ => Err(format!(
                    "error: {}=`{}`: expected `none`, `{EMULATOR}` or `{CUSTOM_RUNTIME}`\n",
                    env::TM_COMPAT,
                    value.to_string_lossy()
                )),
            };
        }
        let name = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
        let name = name.trim_end_matches("-x86_64").trim_end_matches("-arm64");
        Ok(match name {
            EMULATOR => Self::Emulator,
            CUSTOM_RUNTIME => Self::CustomRuntime,
            _ => Self::None,
        })
    }

    pub(crate) fn is_emulator(self) -> bool {
        self == Self::Emulator
    }

    pub(crate) fn is_custom_runtime(self) -> bool {
        self == Self::CustomRuntime
    }

    pub(crate) fn defaults(self) -> Defaults {
        match self {
            Self::None => OWN,
            Self::Emulator => Defaults {
                function_name: "test_function",
                account: "012345678912",
                memory_size: 3008,
                // Its images were written for one process.
                workers: 1,
                ..OWN
            },
            Self::CustomRuntime => Defaults {
                function_timeout: Duration::from_secs(10),
                max_event_bytes: 5_000_000,
                fixed_api_port: Some(80),
                metrics_port: Some(9092),
                ..OWN
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/environment.md`.
    fn markdown() -> String {
        let columns = [Compat::None, Compat::Emulator, Compat::CustomRuntime].map(Compat::defaults);
        let port = |port: Option<u16>| port.map_or("-".to_owned(), |port| format!("`{port}`"));
        let row = |name: &str, cell: &dyn Fn(&Defaults) -> String| {
            format!("| `{name}` | {} |\n", columns.each_ref().map(cell).join(" | "))
        };
        let seconds = |defaults: &Defaults| defaults.function_timeout.as_secs();
        [
            format!("| Variable | own name | `{EMULATOR}` | `{CUSTOM_RUNTIME}` |\n|---|---|---|---|\n"),
            row(env::AWS_LAMBDA_FUNCTION_NAME, &|defaults| format!("`{}`", defaults.function_name)),
            row(env::AWS_ACCOUNT_ID, &|defaults| format!("`{}`", defaults.account)),
            row(env::AWS_LAMBDA_FUNCTION_MEMORY_SIZE, &|defaults| format!("`{}`", defaults.memory_size)),
            row(env::INVOKER_COUNT, &|defaults| format!("`{}`", defaults.workers)),
            row(env::FUNCTION_TTL, &|defaults| format!("`{}s`", seconds(defaults))),
            row(env::REQUEST_SIZE_LIMIT, &|defaults| format!("{} bytes", defaults.max_event_bytes)),
            row(env::INTERNAL_API_PORT, &|defaults| port(defaults.fixed_api_port)),
            row(env::METRICS_PROMETHEUS_PORT, &|defaults| port(defaults.metrics_port)),
        ]
        .concat()
    }

    /// `TM_TEST_UPDATE=1` rewrites the table instead of complaining.
    #[test]
    fn the_documentation_has_these_defaults() {
        tm_testkit::documentation::assert_part("environment.md", "defaults", &markdown());
    }

    #[test]
    fn the_name_decides_unless_the_variable_does() {
        let of =
            |program: &str, variable: Option<&str>| Compat::of(OsStr::new(program), variable.map(OsStr::new));
        for (program, compat) in [
            ("/usr/local/bin/aws-lambda-rie", Compat::Emulator),
            ("aws-lambda-rie-arm64", Compat::Emulator),
            ("/opt/aws-custom-runtime", Compat::CustomRuntime),
            ("/usr/bin/runtime-shim", Compat::None),
            ("", Compat::None),
        ] {
            assert_eq!(of(program, None), Ok(compat), "{program}");
            assert_eq!(of(program, Some("")), Ok(compat), "empty is not set");
            assert_eq!(of(program, Some("none")), Ok(Compat::None));
            assert_eq!(of(program, Some("aws-lambda-rie")), Ok(Compat::Emulator));
        }
        assert!(of("x", Some("rie")).unwrap_err().contains("TM_COMPAT=`rie`"));
    }
}
