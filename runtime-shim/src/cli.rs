//! The command line: `--help`, `--version`, or the runtime's command (EN-20). Everything else is environment.

use std::ffi::OsString;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cli {
    /// Print this and end well.
    Say(String),
    /// Print this and end with a usage error.
    Wrong(String),
    /// Serve; an empty command means that the bootstrap is looked up.
    Run {
        /// The runtime's program and arguments.
        command: Vec<OsString>,
    },
}

const HELP: &str = "\
Runs a Lambda runtime and serves it over HTTP

Usage: runtime-shim [--] [COMMAND [ARGUMENT]... [HANDLER]]

Without COMMAND the first of $LAMBDA_TASK_ROOT/bootstrap, /var/task/bootstrap, /opt/bootstrap,
$LAMBDA_RUNTIME_DIR/bootstrap and /var/runtime/bootstrap is started. With two or more words
the last one is also the handler, unless _HANDLER is set.

Options:
  -h, --help     Print this help
  -V, --version  Print the version

All settings are environment variables, among them PORT (8080), INVOKER_COUNT (4),
FUNCTION_TTL (300s), REQUEST_SIZE_LIMIT, INTERNAL_API_PORT; docs/environment.md lists them.

Exit codes: 0 drained after SIGTERM or SIGINT, 1 failed, 64 wrong arguments or environment
";

// === impl Cli ===

impl Cli {
    /// Reads the words after the program's name.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Self {
        let mut command: Vec<OsString> = args.into_iter().collect();
        match command.first().and_then(|word| word.to_str()) {
            Some("-h" | "--help") => Self::Say(HELP.to_owned()),
            Some("-V" | "--version") => Self::Say(format!("runtime-shim {}\n", env!("CARGO_PKG_VERSION"))),
            Some("--") => {
                command.remove(0);
                Self::Run { command }
            }
            Some(word) if word.starts_with('-') => {
                Self::Wrong(format!("error: unknown option `{word}`\nhint: `runtime-shim --help`\n"))
            }
            _ => Self::Run { command },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Cli {
        Cli::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn the_command_is_what_follows() {
        assert_eq!(parse(&[]), Cli::Run { command: Vec::new() });
        let command = ["python3", "-m", "awslambdaric", "app.handler"];
        assert_eq!(parse(&command), Cli::Run { command: command.iter().map(OsString::from).collect() });
        assert_eq!(parse(&["--", "-x"]), Cli::Run { command: vec!["-x".into()] });
    }

    #[test]
    fn options_are_few() {
        assert!(matches!(parse(&["--help"]), Cli::Say(text) if text.contains("Usage:")));
        assert!(matches!(parse(&["-V"]), Cli::Say(text) if text.starts_with("runtime-shim ")));
        assert!(matches!(parse(&["--port"]), Cli::Wrong(text) if text.contains("--port")));
    }
}
