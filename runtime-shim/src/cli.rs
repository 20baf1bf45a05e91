//! The command line: options, `--help`, `--version`, and the runtime's command (EN-20). Most settings are environment.
//!
//! The options are those of AWS's Runtime Interface Emulator. They stand ahead of the command; in the emulator's place
//! they may stand anywhere, as it takes them from anywhere.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tracing::level_filters::LevelFilter;

use crate::config::{Compat, Options};

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
        /// What else was said.
        options: Options,
    },
}

/// What one word is.
enum Word {
    /// An option of ours, and its value where it came with it.
    Option(Flag, Option<OsString>),
    /// An option of nobody's.
    Unknown,
    /// Anything else.
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    LogLevel,
    RuntimeApi,
    Front,
    InitCaching,
}

const HELP: &str = "\
Runs a Lambda runtime and serves it over HTTP

Usage: runtime-shim [OPTIONS] [--] [COMMAND [ARGUMENT]... [HANDLER]]

Without COMMAND the first of $LAMBDA_TASK_ROOT/bootstrap, /var/task/bootstrap, /opt/bootstrap,
$LAMBDA_RUNTIME_DIR/bootstrap and /var/runtime/bootstrap is started. With two or more words
the last one is also the handler, unless _HANDLER is set.

Options (those of aws-lambda-rie):
      --log-level LEVEL            What the shim says about itself: trace, debug, info, warn, error, off
      --runtime-interface-emulator-address HOST:PORT
                                   Where the function is served [default: 0.0.0.0:8080]
      --runtime-api-address HOST:PORT
                                   One Runtime API for all workers [default: one each, on free ports]
      --enable-init-caching        Accepted, without effect
  -h, --help                       Print this help
  -V, --version                    Print the version

All other settings are environment variables, among them PORT (8080), INVOKER_COUNT (4),
FUNCTION_TTL (300s), REQUEST_SIZE_LIMIT, INTERNAL_API_PORT; docs/environment.md lists them.
Called aws-lambda-rie or aws-custom-runtime it takes the place of that program, with its defaults.

Exit codes: 0 drained after SIGTERM or SIGINT, 1 failed, 64 wrong arguments or environment
";

// === impl Cli ===

impl Cli {
    /// Reads the words after the program's name.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>, compat: Compat) -> Self {
        let (mut command, mut options) = (Vec::new(), Options::default());
        let mut args = args.into_iter();
        while let Some(word) = args.next() {
            let ahead = command.is_empty();
            match word.to_str() {
                Some("-h" | "--help") if ahead => return Self::Say(HELP.to_owned()),
                Some("-V" | "--version") if ahead => {
                    return Self::Say(format!("runtime-shim {}\n", env!("CARGO_PKG_VERSION")));
                }
                Some("--") if ahead => {
                    command.extend(args);
                    break;
                }
                _ => {}
            }
            match Word::of(&word) {
                Word::Option(flag, value) if ahead || compat.is_emulator() => {
                    if let Err(text) = options.set(flag, value, &mut args) {
                        return Self::Wrong(text);
                    }
                }
                Word::Unknown if ahead => {
                    let word = word.to_string_lossy();
                    return Self::Wrong(format!(
                        "error: unknown option `{word}`\nhint: `runtime-shim --help`\n"
                    ));
                }
                _ => command.push(word),
            }
        }
        Self::Run { command, options }
    }
}

// === impl Word ===

impl Word {
    fn of(word: &OsString) -> Self {
        let Some(text) = word.to_str().filter(|text| text.starts_with('-') && text.len() > 1) else {
            return Self::Plain;
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        match name {
            "--log-level" => Self::Option(Flag::LogLevel, value),
            "--runtime-api-address" => Self::Option(Flag::RuntimeApi, value),
            "--runtime-interface-emulator-address" => Self::Option(Flag::Front, value),
            "--enable-init-caching" => Self::Option(Flag::InitCaching, value),
            _ => Self::Unknown,
        }
    }
}

// === impl Flag ===

impl Flag {
    fn name(self) -> &'static str {
        match self {
            Self::LogLevel => "--log-level",
            Self::RuntimeApi => "--runtime-api-address",
            Self::Front => "--runtime-interface-emulator-address",
            Self::InitCaching => "--enable-init-caching",
        }
    }
}

// === impl Options ===

impl Options {
    /// Takes an option in; its value may be the next word.
    fn set(
        &mut self,
        flag: Flag,
        value: Option<OsString>,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let name = flag.name();
        if flag == Flag::InitCaching {
            return Ok(());
        }
        let value = value.or_else(|| rest.next()).ok_or_else(|| format!("error: {name} needs a value\n"))?;
        let text = value.to_string_lossy();
        let wrong = |reason: String| format!("error: {name} `{text}`: {reason}\n");
        match flag {
            Flag::LogLevel => self.log_level = Some(log_level(&text).map_err(wrong)?),
            Flag::Front => self.front = Some(address(&text).map_err(wrong)?),
            Flag::RuntimeApi => {
                let address = address(&text).map_err(wrong)?;
                if address.is_ipv6() {
                    return Err(wrong("runtime clients know no IPv6".to_owned()));
                }
                self.runtime_api = Some(address);
            }
            Flag::InitCaching => {}
        }
        Ok(())
    }
}

/// A level in our words or in those of the emulator.
pub(crate) fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "warning" => Ok(LevelFilter::WARN),
        "fatal" | "panic" => Ok(LevelFilter::ERROR),
        level => level
            .parse()
            .map_err(|_| "expected `off`, `error`, `warn`, `info`, `debug` or `trace`".to_owned()),
    }
}

/// `HOST:PORT`, where the host is an address, `localhost` or nothing: names would have to be looked up, and may change.
fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = || "expected `ADDRESS:PORT`".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let host: IpAddr = match host {
        "" => Ipv4Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.trim_matches(['[', ']']).parse().map_err(|_| expected())?,
    };
    Ok(SocketAddr::new(host, port.parse().map_err(|_| expected())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_as(compat: Compat, words: &[&str]) -> Cli {
        Cli::parse(words.iter().map(OsString::from), compat)
    }

    fn parse(words: &[&str]) -> Cli {
        parse_as(Compat::None, words)
    }

    fn run(command: &[&str], options: Options) -> Cli {
        Cli::Run { command: command.iter().map(OsString::from).collect(), options }
    }

    #[test]
    fn the_command_is_what_follows() {
        assert_eq!(parse(&[]), run(&[], Options::default()));
        let command = ["python3", "-m", "awslambdaric", "app.handler"];
        assert_eq!(parse(&command), run(&command, Options::default()));
        assert_eq!(parse(&["--", "-x"]), run(&["-x"], Options::default()));
        let own = ["node", "--log-level", "x", "--help", "--", "y"];
        assert_eq!(parse(&own), run(&own, Options::default()), "the command's own options stay");
    }

    #[test]
    fn options_are_the_emulators() {
        let options = Options {
            log_level: Some(LevelFilter::DEBUG),
            front: Some(([0, 0, 0, 0], 8081).into()),
            runtime_api: Some(([127, 0, 0, 1], 9009).into()),
        };
        let ahead = [
            "--log-level=debug",
            "--enable-init-caching",
            "--runtime-interface-emulator-address",
            ":8081",
            "--runtime-api-address",
            "localhost:9009",
            "/entry.sh",
            "app.handler",
        ];
        assert_eq!(parse(&ahead), run(&["/entry.sh", "app.handler"], options.clone()));
        let mut behind = ahead.to_vec();
        behind.rotate_right(2);
        assert_eq!(parse_as(Compat::Emulator, &behind), run(&["/entry.sh", "app.handler"], options));
        assert_eq!(parse(&behind), run(&behind, Options::default()));
        let unknown = ["python", "-m", "awslambdaric", "app.handler"];
        assert_eq!(parse_as(Compat::Emulator, &unknown), run(&unknown, Options::default()));
    }

    #[test]
    fn mistakes_name_the_option() {
        assert!(matches!(parse(&["--help"]), Cli::Say(text) if text.contains("Usage:")));
        assert!(matches!(parse(&["-V"]), Cli::Say(text) if text.starts_with("runtime-shim ")));
        for words in [
            &["--port"][..],
            &["--log-level"],
            &["--log-level", "loud"],
            &["--runtime-api-address", "[::1]:9001"],
            &["--runtime-api-address", "9001"],
            &["--runtime-interface-emulator-address=host.example:80"],
        ] {
            let name = words[0].split('=').next().unwrap();
            assert!(matches!(parse(words), Cli::Wrong(text) if text.contains(name)), "{words:?}");
        }
    }
}
