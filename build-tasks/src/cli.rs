//! What can be typed: the commands of a build's steps.

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::output;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; a tool's own exit code is passed on
  2    wrong usage
  3    the upload broke off: send it again
  4    the upload is not what was announced: send it again
  5    the archive is refused
  6    nothing came in time
  7    the registry refused or cannot be reached
  143  stopped by a signal";

#[derive(Debug, Parser)]
#[command(name = "build-tasks", version, about = "Steps of a function's build", after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Wait until `unpack` has brought the source
    #[command(after_help = EXIT_CODES)]
    Receive(ReceiveArgs),
    /// Read an archive from stdin, check it and put it where the build looks for it
    #[command(after_help = EXIT_CODES)]
    Unpack(UnpackArgs),
    /// Copy this program to where the other steps find it
    Prepare(PrepareArgs),
    /// Build with a language's own tools
    Lang(LangArgs),
    /// Make an image of the build's layers and push it
    Assemble(Box<AssembleArgs>),
    /// Ask the registry whether a push would be allowed
    CheckPush(CheckPushArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// Where the source will be
    #[arg(long)]
    pub dir: PathBuf,
    /// State that `receive` and `unpack` share
    #[arg(long)]
    pub state: PathBuf,
    /// Which upload to wait for
    #[arg(long)]
    pub token: String,
    /// How long to wait
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct UnpackArgs {
    /// Where to put the source; replaced as a whole
    #[arg(long)]
    pub dir: PathBuf,
    /// State that `receive` and `unpack` share
    #[arg(long)]
    pub state: PathBuf,
    /// Which upload this is
    #[arg(long)]
    pub token: String,
    /// SHA-256 of the archive, 64 hex digits
    #[arg(long)]
    pub sha256: String,
    /// Length of the archive; no more is read
    #[arg(long)]
    pub bytes: u64,
    /// Most entries the archive may have
    #[arg(long, default_value_t = 1_000_000)]
    pub max_entries: u64,
    /// Most bytes the archive may unpack to
    #[arg(long, default_value_t = 8 << 30)]
    pub max_bytes: u64,
    /// How long the input may stand still
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub idle_timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct PrepareArgs {
    /// The file to make
    #[arg(long)]
    pub to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LangArgs {
    /// The language
    pub language: Language,
    /// What to do
    pub stage: Stage,
    /// The workspace: the source is in `src`, layers go to `out/layers`
    #[arg(long)]
    pub workspace: PathBuf,
    /// Subdirectory of the source
    #[arg(long, env = "DIRECTORY", default_value = "")]
    pub directory: String,
    /// The function's handler
    #[arg(long, env = "HANDLER", default_value = "")]
    pub handler: String,
    /// How long the tools may take
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Go, or a ready `bootstrap`
    Go,
    /// Python with `requirements.txt`
    Python,
    /// Node.js with `package.json`; TypeScript by its `build` script
    Node,
    /// A ready `bootstrap`
    Custom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Fetch dependencies
    Deps,
    /// Compile, and write the layers
    Build,
}

#[derive(Debug, Args)]
pub(crate) struct AssembleArgs {
    /// Image to build on; `tm.local/host` is this machine
    #[arg(long)]
    pub base: String,
    /// Where to push
    #[arg(long)]
    pub image: String,
    /// A layer and the folder it is made of; in order, missing and empty folders are left out
    #[arg(long = "layer", value_name = "NAME=DIR", value_parser = layer)]
    pub layers: Vec<(String, PathBuf)>,
    /// What the language step wrote for the image's config
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// File for the image's reference
    #[arg(long)]
    pub result_url: Option<PathBuf>,
    /// File for the image's digest
    #[arg(long)]
    pub result_digest: Option<PathBuf>,
    /// The shim to put in; else `runtime-shim` beside this program
    #[arg(long)]
    pub shim: Option<PathBuf>,
    /// Workers per container, put into the image
    #[arg(long, env = "INVOKER_COUNT", default_value = "")]
    pub invoker_count: String,
    /// A variable to put into the image
    #[arg(long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckPushArgs {
    /// Where a push would go
    #[arg(long)]
    pub image: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// Docker `config.json` to look into first
    #[arg(long)]
    pub auth_file: Option<PathBuf>,
    /// Accept any certificate, or none
    #[arg(long, env = "TM_REGISTRY_INSECURE", value_parser = switch)]
    pub insecure: bool,
    /// PEM file of an authority to trust
    #[arg(long = "tls-ca")]
    pub authorities: Vec<PathBuf>,
}

/// Reads the command line, or says what is wrong with it.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Command, ExitCode> {
    match Cli::try_parse_from(words) {
        Ok(cli) => Ok(cli.command),
        Err(error) => {
            let text = error.render().to_string();
            if error.use_stderr() {
                output::error(text.trim_end());
                Err(ExitCode::from(2))
            } else {
                output::line(text.trim_end());
                Err(ExitCode::SUCCESS)
            }
        }
    }
}

fn layer(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !dir.is_empty() => Ok((name.into(), dir.into())),
        _ => Err("want NAME=DIR".into()),
    }
}

/// What a switch's variable says; empty is not set. Nonsense must not turn a check off.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("want true or false".into()),
    }
}

/// `90`, `90s`, `10m`, `1h30m`: whole seconds as Go writes durations.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "want a duration such as 90s, 10m or 1h30m".to_owned();
    let (mut total, mut number, mut rest) = (0u64, String::new(), text.chars().peekable());
    if text.is_empty() {
        return Err(wrong());
    }
    while let Some(c) = rest.next() {
        if c.is_ascii_digit() {
            number.push(c);
            if rest.peek().is_some() {
                continue;
            }
        }
        let value: u64 = number.parse().map_err(|_| wrong())?;
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' | '0'..='9' => 1,
            _ => return Err(wrong()),
        };
        total = value.checked_mul(unit).and_then(|seconds| total.checked_add(seconds)).ok_or_else(wrong)?;
        number.clear();
    }
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn switches() {
        for (text, on) in
            [("1", true), ("True", true), ("yes", true), ("0", false), ("", false), ("off", false)]
        {
            assert_eq!(switch(text), Ok(on), "{text}");
        }
        assert!(switch("perhaps").is_err());
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("10m", 600), ("1h30m", 5400), ("90s", 90), ("90", 90), ("1m5", 65)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "10x", "-1s", "99999999999999999999h", "1.5h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
