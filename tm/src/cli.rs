//! What was typed: verbs, nouns and flags, word for word those of the first tm, with kn's where it had none.

mod deploy;
mod environment;
mod local;
mod objects;
mod old;
mod registry_auth;
mod setup;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::{BoolishValueParser, OsStringValueParser, TypedValueParser},
};

pub(crate) use deploy::{Deploy, DeployService, DeployTask};
pub(crate) use local::{Local, LocalLogs, LocalStart};
pub(crate) use objects::{Delete, Kind, Logs, Objects};
pub(crate) use registry_auth::{RegistryAuth, Set};
pub(crate) use setup::{Doctor, Setup, TASKS};

use crate::{commands, error, error::ExitStatus, printer::Printer};

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed (stderr says why), 2 wrong arguments, 130 ended by Ctrl-C or SIGTERM.

Without a kubeconfig that names a cluster, tm uses the engine it brings along and starts it when needed.";

/// Runs AWS Lambda functions on your own machines
#[derive(Debug, Parser)]
#[command(name = "tm", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Kubeconfig; before ~/.tm/config.json, $KUBECONFIG, ~/.kube/config and the pod's own
    #[arg(long, global = true, env = "TM_CONFIG", value_name = "FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) config: Option<PathBuf>,
    /// Context of the kubeconfig; `tm-local` is the embedded engine
    #[arg(long, global = true, env = "TM_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace; the context's when not given, else `default`
    #[arg(short, long, global = true, env = "TM_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Show what is done under the hood, and the whole log of builds
    #[arg(short, long, global = true, env = "TM_DEBUG", value_parser = BoolishValueParser::new())]
    pub(crate) debug: bool,
    /// Registry images are pushed to; the target's own when not given
    #[arg(long, global = true, env = "TM_REGISTRY_HOST", value_name = "HOST[:PORT]")]
    pub(crate) registry_host: Option<String>,
    /// Secret with the registry's credentials, made by `tm set registry-auth`
    #[arg(long, global = true, env = "TM_REGISTRY_SECRET", value_name = "NAME")]
    pub(crate) registry_secret: Option<String>,
    /// Do not check the registry's certificate
    #[arg(long, global = true, env = "TM_REGISTRY_SKIP_TLS", value_parser = BoolishValueParser::new())]
    pub(crate) registry_skip_tls: bool,
    /// Format of objects on stdout
    #[arg(short, long, global = true, env = "TM_OUTPUT", value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    /// Wait until what was deployed is ready
    #[arg(long, global = true, env = "TM_WAIT", value_parser = BoolishValueParser::new())]
    pub(crate) wait: bool,
    /// Print the objects instead of sending them
    #[arg(long, global = true, env = "TM_DRY", visible_alias = "dry-run", value_parser = BoolishValueParser::new())]
    pub(crate) dry: bool,
}

/// Format of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    // Plain comments: doc comments would make clap print every `--help` in its long form.
    Yaml,
    Json,
    // `kind/name` lines.
    Name,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Deploy a service or a task
    #[command(visible_alias = "create", subcommand)]
    Deploy(Deploy),
    /// Show objects: a table, or one object whole
    #[command(visible_alias = "list")]
    Get(Objects),
    /// Show one object whole, how it is isolated and what happened to it
    Describe(Objects),
    /// Delete an object
    Delete(Delete),
    /// Print the log of a service
    Logs(Logs),
    /// Set credentials
    #[command(subcommand)]
    Set(Set),
    /// Prepare a target: push images, install the Tasks, print the rights its users need
    Setup(Setup),
    /// Check a target, and say how to mend what is wrong
    Doctor(Doctor),
    /// Control the engine of this machine
    #[command(subcommand)]
    Local(Local),
    /// Print versions
    Version,
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Parses, runs, reports.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let line: Vec<OsString> = args.collect();
    let cli = match parse(&line) {
        Ok(cli) => cli,
        Err(error) => return refused(&error, &line),
    };
    let printer = Printer::new(cli.global.debug);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.error(&format!("failed to start: {error}"));
            return ExitStatus::Failure.into();
        }
    };
    let result = runtime.block_on(commands::run(cli, &printer));
    // A blocked thread (a prompt, a read from stdin) must not hold the exit up.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitStatus::Success.into(),
        Err(error) => error::report(&error, &printer).into(),
    }
}

/// Says what is wrong with a line, or prints what it asks for (`--help`).
fn refused(error: &clap::Error, line: &[OsString]) -> ExitCode {
    if let Some(answer) = old::answer(error, line) {
        let printer = Printer::new(false);
        printer.error(answer.text);
        printer.hint(answer.hint);
        return ExitStatus::Usage.into();
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// What was typed, or clap's word on what is wrong with it.
pub(crate) fn parse<S>(args: impl IntoIterator<Item = S>) -> Result<Cli, clap::Error>
where
    S: Into<OsString> + Clone,
{
    let matches = command().try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.global.leave_out_empty();
    Ok(cli)
}

/// The command line. A variable that is set but empty counts as not set.
pub(crate) fn command() -> clap::Command {
    environment::without_empty(Cli::command())
}

// === impl Global ===

impl Global {
    /// An empty word counts as not given, as with kubectl: `--context "$CONTEXT"` of a script that has none.
    fn leave_out_empty(&mut self) {
        self.config.take_if(|path| path.as_os_str().is_empty());
        for word in
            [&mut self.context, &mut self.namespace, &mut self.registry_host, &mut self.registry_secret]
        {
            word.take_if(|word| word.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        command().debug_assert();
    }

    #[test]
    fn empty_words_are_not_given() {
        let line =
            ["--config=", "--context=", "--namespace=", "--registry-host=", "--registry-secret=", "version"];
        let global = parse(["tm"].iter().chain(&line)).expect("it parses").global;
        assert_eq!(global.config, None);
        for word in [global.context, global.namespace, global.registry_host, global.registry_secret] {
            assert_eq!(word, None);
        }
    }

    #[test]
    fn words_of_the_first_tm() {
        for line in [
            "tm deploy service a -f . --build-template knative-go-runtime --registry-secret s --wait",
            "tm create svc a --from-path . --runtime go -e A=1 -l x=y -a z=w --build-argument K=V,L=W",
            "tm deploy task -f build-tasks/tasks/go.yaml",
            "tm list services",
            "tm describe svc hello -n ns -o json",
            "tm set registry-auth r --registry h --username u --password p --push",
            "tm delete taskrun x",
        ] {
            command().try_get_matches_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
