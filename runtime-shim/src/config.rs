//! The configuration: read from the environment once, whole, before anything is bound or started.
//!
//! [`Config::read`] takes the variables as values, so tests feed their own. Names and defaults are those of
//! [`tm_lambda::environment`].

mod compat;
mod front;
mod reader;
mod sink;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tm_lambda::log::{ApplicationLevel, ApplicationLog, SystemLevel, SystemLog};
use tm_lambda::log_tail::LogFormat;
use tm_lambda::{FunctionArn, FunctionName, FunctionVersion, environment as env, limits};
use tracing::level_filters::LevelFilter;

use crate::cli;
pub(crate) use compat::Compat;
use compat::Defaults;
pub(crate) use front::{EventFormat, Front, InvokeApi};
pub(crate) use reader::Mistakes;
use reader::Reader;
pub(crate) use sink::Sink;

/// Everything the shim is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the function is served.
    pub(crate) front: Front,
    /// A Runtime API for all workers, beside or instead of each one's own.
    pub(crate) shared_api: Option<SharedAddress>,
    /// Whose place the shim takes.
    pub(crate) compat: Compat,
    /// Most bootstrap processes, where the deployment says so.
    workers: Option<usize>,
    /// Most invokes that one process takes at a time.
    pub(crate) concurrency: usize,
    /// Most requests that wait.
    pub(crate) queue_length: usize,
    /// Time of one invoke, from arrival.
    pub(crate) function_timeout: Duration,
    /// Time of one init.
    pub(crate) init_timeout: Duration,
    /// Time of running requests after the signal.
    pub(crate) drain_timeout: Duration,
    /// Who the function is.
    pub(crate) function: Arc<Function>,
    /// What is started.
    pub(crate) launch: Launch,
    /// How much the shim says about itself.
    pub(crate) log_level: LevelFilter,
    /// The platform's own lines in the function's log.
    pub(crate) system_log: SystemLog,
    /// The function's own lines in its log.
    pub(crate) application_log: ApplicationLog,
    /// Follow AWS also where it hides something.
    pub(crate) strict: bool,
    /// Where metrics are served, if anywhere.
    pub(crate) metrics_port: Option<u16>,
}

/// What the shim was started with, besides its environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    /// Whose place it takes.
    pub(crate) compat: Compat,
    /// The explicit command.
    pub(crate) command: Vec<OsString>,
    /// What the command line says.
    pub(crate) options: Options,
}

/// What a command line can say; each of these beats its variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// How much the shim says about itself.
    pub(crate) log_level: Option<LevelFilter>,
    /// Where the function is served.
    pub(crate) front: Option<SocketAddr>,
    /// The Runtime API of all workers.
    pub(crate) runtime_api: Option<SocketAddr>,
}

/// Where all workers find one Runtime API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedAddress {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Workers are told of their own instead; this one is for those who never ask, and need not be there.
    pub(crate) beside: bool,
}

/// Who the function is.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: FunctionName,
    /// Its version.
    pub(crate) version: FunctionVersion,
    /// Its memory in MB.
    pub(crate) memory_size: u32,
    /// Its region.
    pub(crate) region: String,
    /// Its ARN.
    pub(crate) arn: FunctionArn,
    /// Its handler, as extensions are told.
    pub(crate) handler: String,
}

/// What is started, and what it is told.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The explicit command; empty to look for a bootstrap.
    pub(crate) command: Vec<OsString>,
    /// `LAMBDA_TASK_ROOT`.
    pub(crate) task_root: PathBuf,
    /// Whether the deployment named the task root; then it must be there.
    pub(crate) task_root_given: bool,
    /// `LAMBDA_RUNTIME_DIR`.
    pub(crate) runtime_dir: PathBuf,
    /// Where external extensions are.
    pub(crate) extensions_dir: PathBuf,
    /// `_HANDLER`.
    pub(crate) handler: OsString,
    /// The deployment's own variables.
    pub(crate) deployment: Vec<(OsString, OsString)>,
    /// Whose place the shim takes.
    pub(crate) compat: Compat,
    /// How many invokes the runtime may ask for at a time.
    pub(crate) concurrency: usize,
}

/// As many `next` as wait at a time leave room on a listener for their answers.
const MAX_CONCURRENCY: usize = 100;

/// The longest function timeout: longer ones are mistakes of a unit.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Extensions, and the web servers that adapters among them stand in front of, mostly listen on fixed ports, of which a
/// container has one each.
const WORKERS_WITH_EXTENSIONS: usize = 1;

// === impl Config ===

impl Config {
    /// Reads the variables, or says everything that is wrong with them.
    pub(crate) fn read(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        start: impl Into<Start>,
    ) -> Result<Self, Mistakes> {
        let Start { compat, command, options } = start.into();
        let defaults = compat.defaults();
        let deployment: Vec<(OsString, OsString)> = variables.into_iter().collect();
        let mut reader = Reader::new(&deployment);
        let function_timeout = function_timeout(&mut reader, compat);
        let function = function(&mut reader, &defaults);
        let concurrency = reader
            .read(env::TM_MAX_CONCURRENCY, |text| reader::number(text, 1..=MAX_CONCURRENCY))
            .unwrap_or(1);
        let launch = launch(&reader, compat, command, deployment.clone());
        let system_log = system_log(&mut reader);
        let strict = reader.read(env::TM_STRICT, reader::boolean).unwrap_or_default();
        let config = Self {
            front: front::front(&mut reader, &function, strict, compat, options.front),
            shared_api: shared_api(&mut reader, &defaults, options.runtime_api),
            compat,
            workers: reader.read(env::INVOKER_COUNT, |text| reader::number(text, 1..=1000)),
            concurrency,
            queue_length: reader
                .read(env::TM_QUEUE_LENGTH, |text| reader::number(text, 1..=100_000))
                .unwrap_or(100),
            function_timeout,
            init_timeout: reader.read(env::TM_INIT_TIMEOUT, timeout).unwrap_or(limits::INIT_TIMEOUT),
            drain_timeout: reader.read(env::TM_DRAIN_TIMEOUT, timeout).unwrap_or(function_timeout),
            function: Arc::new(Function {
                handler: launch.handler.to_string_lossy().into_owned(),
                ..function
            }),
            log_level: log_level(&mut reader, compat, options.log_level),
            application_log: application_log(&reader, system_log.format),
            system_log,
            strict,
            metrics_port: reader
                .read(env::METRICS_PROMETHEUS_PORT, reader::port)
                .or(defaults.metrics_port)
                .filter(|port| *port != 0),
            launch: Launch { concurrency, ..launch },
        };
        reader.finish(config)
    }

    /// Most bootstrap processes, of an image with external extensions or without.
    pub(crate) fn workers(&self, extensions: bool) -> usize {
        let default = if extensions { WORKERS_WITH_EXTENSIONS } else { self.compat.defaults().workers };
        self.workers.unwrap_or(default)
    }
}

/// The command line's, else the variable's, else one beside the workers' own where the shim stands in for somebody.
fn shared_api(
    reader: &mut Reader<'_>,
    defaults: &Defaults,
    given: Option<SocketAddr>,
) -> Option<SharedAddress> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let port = reader.read(env::INTERNAL_API_PORT, reader::port);
    let address = given.or(port.filter(|port| *port != 0).map(at));
    let fixed = defaults.fixed_api_port.filter(|_| port.is_none()).map(at);
    let beside = |address| SharedAddress { address, beside: true };
    address.map(|address| SharedAddress { address, beside: false }).or(fixed.map(beside))
}

/// The emulator knows no upper limit.
fn function_timeout(reader: &mut Reader<'_>, compat: Compat) -> Duration {
    let lambdas = *limits::FUNCTION_TIMEOUT_SECONDS.end();
    let most = if compat.is_emulator() { MAX_TIMEOUT.as_secs() } else { lambdas };
    let seconds = |text: &str| {
        reader::number(text, 1..=usize::MAX)
            .ok()
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|seconds| (1..=most).contains(seconds))
            .map(Duration::from_secs)
            .ok_or_else(|| format!("expected whole seconds from 1 to {most}"))
    };
    let lambda = reader.read(env::AWS_LAMBDA_FUNCTION_TIMEOUT, seconds);
    let ttl = reader.read(env::FUNCTION_TTL, timeout);
    ttl.or(lambda).unwrap_or(compat.defaults().function_timeout)
}

fn timeout(text: &str) -> Result<Duration, String> {
    let duration = tm_lambda::duration::parse(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > MAX_TIMEOUT {
        return Err("expected a duration above 0 and of at most 24 hours".to_owned());
    }
    Ok(duration)
}

fn function(reader: &mut Reader<'_>, defaults: &Defaults) -> Function {
    let parse_name = |text: &str| FunctionName::parse(text).map_err(|error| error.to_string());
    let parse_version = |text: &str| FunctionVersion::parse(text).map_err(|error| error.to_string());
    let name = reader
        .first(&[env::AWS_LAMBDA_FUNCTION_NAME, env::K_SERVICE], parse_name)
        .unwrap_or_else(|| FunctionName::parse(defaults.function_name).expect("the default name is legal"));
    let region = reader
        .first(&[env::AWS_REGION, env::AWS_DEFAULT_REGION], word)
        .unwrap_or_else(|| "us-east-1".to_owned());
    let account = reader.read(env::AWS_ACCOUNT_ID, word);
    Function {
        arn: FunctionArn::new(&region, account.as_deref().unwrap_or(defaults.account), name.clone()),
        name,
        version: reader
            .first(&[env::AWS_LAMBDA_FUNCTION_VERSION, env::K_REVISION], parse_version)
            .unwrap_or_else(FunctionVersion::latest),
        memory_size: reader
            .read(env::AWS_LAMBDA_FUNCTION_MEMORY_SIZE, |text| reader::number(text, 1..=1 << 30))
            .map_or(defaults.memory_size, |mb| u32::try_from(mb).unwrap_or(u32::MAX)),
        region,
        handler: String::new(),
    }
}

/// One word that is safe in an ARN and in a header.
fn word(text: &str) -> Result<String, String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if text.len() <= 64 && text.bytes().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("expected at most 64 letters, digits and `-`".to_owned())
    }
}

/// AWS's words, in any case. A format that nobody knows is the runtime client's business, and text here.
fn system_log(reader: &mut Reader<'_>) -> SystemLog {
    let format = |text: &str| match text.to_ascii_uppercase().as_str() {
        "JSON" => Ok(LogFormat::Json),
        _ => Ok(LogFormat::Text),
    };
    let level = |text: &str| match text.to_ascii_uppercase().as_str() {
        "DEBUG" => Ok(SystemLevel::Debug),
        "INFO" => Ok(SystemLevel::Info),
        "WARN" => Ok(SystemLevel::Warn),
        _ => Err("expected `DEBUG`, `INFO` or `WARN`".to_owned()),
    };
    SystemLog {
        format: reader.read(env::AWS_LAMBDA_LOG_FORMAT, format).unwrap_or_default(),
        level: reader.read(env::TM_SYSTEM_LOG_LEVEL, level).unwrap_or_default(),
    }
}

/// What the platform keeps of the function's lines. The variable is the runtime client's first, so no value of it is wrong.
fn application_log(reader: &Reader<'_>, format: LogFormat) -> ApplicationLog {
    let level =
        reader.raw(env::AWS_LAMBDA_LOG_LEVEL).and_then(|level| ApplicationLevel::parse(level.to_str()?));
    ApplicationLog { format, level: level.unwrap_or_default() }
}

/// The command line's, else the variable's. The emulator's variable is also many a function's, so no value of it is wrong.
fn log_level(reader: &mut Reader<'_>, compat: Compat, given: Option<LevelFilter>) -> LevelFilter {
    let own = reader.read(env::TM_LOG, cli::log_level);
    let emulators = reader
        .raw(env::LOG_LEVEL)
        .filter(|_| compat.is_emulator())
        .and_then(|value| cli::log_level(value.to_str()?).ok());
    given.or(own).or(emulators).unwrap_or(LevelFilter::WARN)
}

fn launch(
    reader: &Reader<'_>,
    compat: Compat,
    command: Vec<OsString>,
    deployment: Vec<(OsString, OsString)>,
) -> Launch {
    // Absolute, as the runtime is started in another directory.
    let path = |name| reader.path(name).map(|path| std::path::absolute(&path).unwrap_or(path));
    let task_root = path(env::LAMBDA_TASK_ROOT);
    // The emulator's rule: of two or more words the last one is the handler, and still an argument.
    let last_word = command.get(1..).and_then(<[OsString]>::last).cloned();
    let handler = reader.raw(env::HANDLER).or_else(|| reader.raw(env::AWS_LAMBDA_FUNCTION_HANDLER));
    Launch {
        task_root_given: task_root.is_some(),
        task_root: task_root.unwrap_or_else(|| PathBuf::from("/var/task")),
        runtime_dir: path(env::LAMBDA_RUNTIME_DIR).unwrap_or_else(|| PathBuf::from("/var/runtime")),
        extensions_dir: path(env::TM_EXTENSIONS_DIR).unwrap_or_else(|| PathBuf::from("/opt/extensions")),
        handler: handler.map(OsString::from).or(last_word).unwrap_or_default(),
        command,
        deployment,
        compat,
        concurrency: 1,
    }
}

// === impl Start ===

impl From<Vec<OsString>> for Start {
    fn from(command: Vec<OsString>) -> Self {
        Self { command, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use tm_lambda::cloud_event::ReplyMode;
    use tm_lambda::http_event::HttpFormat;

    use super::*;

    fn read_as(compat: Compat, variables: &[(&str, &str)]) -> Config {
        let variables = variables.iter().map(|(k, v)| (k.into(), v.into()));
        Config::read(variables, Start { compat, ..Start::default() }).unwrap()
    }

    fn read(variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
        Config::read(variables.iter().map(|(k, v)| (k.into(), v.into())), Vec::new())
    }

    #[test]
    fn defaults() {
        let config = read(&[]).unwrap();
        assert_eq!(config.front.address.to_string(), "0.0.0.0:8080");
        assert_eq!(config.front.max_event_bytes, 6_291_456);
        assert_eq!((config.workers(false), config.queue_length, config.shared_api), (4, 100, None));
        assert_eq!(config.workers(true), 1);
        assert_eq!(config.function_timeout, Duration::from_secs(300));
        assert_eq!(config.init_timeout, Duration::from_secs(10));
        assert_eq!(
            config.function.arn.to_string(),
            "arn:aws:lambda:us-east-1:123456789012:function:function"
        );
        assert_eq!(config.function.version.as_str(), "$LATEST");
    }

    #[test]
    fn the_emulators_defaults() {
        let config = read_as(Compat::Emulator, &[]);
        assert_eq!(
            config.function.arn.to_string(),
            "arn:aws:lambda:us-east-1:012345678912:function:test_function"
        );
        assert_eq!((config.function.memory_size, config.workers(false)), (3008, 1));
        assert_eq!(config.function_timeout, Duration::from_secs(300));
        assert_eq!((config.shared_api, config.metrics_port), (None, None));
        let set = [("AWS_LAMBDA_FUNCTION_TIMEOUT", "3600"), ("LOG_LEVEL", "warning"), ("INVOKER_COUNT", "2")];
        let config = read_as(Compat::Emulator, &set);
        assert_eq!((config.function_timeout, config.workers(true)), (Duration::from_secs(3600), 2));
        let level = |text| read_as(Compat::Emulator, &[("LOG_LEVEL", text)]).log_level;
        assert_eq!((level("debug"), level("a function's own")), (LevelFilter::DEBUG, LevelFilter::WARN));
        assert_eq!(read(&[("LOG_LEVEL", "debug")]).unwrap().log_level, LevelFilter::WARN);
    }

    #[test]
    fn ce_27_lm_28_the_defaults_of_aws_custom_runtime() {
        let config = read_as(Compat::CustomRuntime, &[]);
        assert_eq!(
            (config.front.max_event_bytes, config.workers(false), config.queue_length),
            (5_000_000, 4, 100)
        );
        assert_eq!((config.function_timeout, config.metrics_port), (Duration::from_secs(10), Some(9092)));
        let address = ([127, 0, 0, 1], 80).into();
        assert_eq!(config.shared_api, Some(SharedAddress { address, beside: true }));
        let replies = |variables: &[(&str, &str)]| read_as(Compat::CustomRuntime, variables).front.replies;
        let old = replies(&[("TYPE", "t"), ("SOURCE", "s"), ("SUBJECT", "u")]);
        assert_eq!((old.event_type.as_str(), old.source.as_str()), ("t", "s"));
        assert_eq!(old.subject.as_deref(), Some("u"));
        assert_eq!(read(&[("TYPE", "t")]).unwrap().front.replies.event_type, "ce.klr.triggermesh.io");
        let set = [("INTERNAL_API_PORT", "8088"), ("METRICS_PROMETHEUS_PORT", "0"), ("FUNCTION_TTL", "3s")];
        let config = read_as(Compat::CustomRuntime, &set);
        let address = ([127, 0, 0, 1], 8088).into();
        assert_eq!(config.shared_api, Some(SharedAddress { address, beside: false }));
        assert_eq!((config.metrics_port, config.function_timeout), (None, Duration::from_secs(3)));
    }

    #[test]
    fn the_command_line_beats_the_environment() {
        let options = Options {
            log_level: Some(LevelFilter::DEBUG),
            front: Some(([127, 0, 0, 1], 8081).into()),
            runtime_api: Some(([127, 0, 0, 1], 9001).into()),
        };
        let variables = [("PORT", "1"), ("INTERNAL_API_PORT", "2"), ("TM_LOG", "off")];
        let variables = variables.iter().map(|(k, v)| (k.into(), v.into()));
        let config = Config::read(variables, Start { options: options.clone(), ..Start::default() }).unwrap();
        assert_eq!(Some(config.front.address), options.front);
        assert_eq!(config.shared_api.map(|api| api.address), options.runtime_api);
        assert_eq!(config.log_level, LevelFilter::DEBUG);
    }

    #[test]
    fn knative_names_the_function_and_the_deployment_wins() {
        let knative = [("K_SERVICE", "crow"), ("K_REVISION", "crow-00002")];
        let config = read(&knative).unwrap();
        assert_eq!((config.function.name.as_str(), config.function.version.as_str()), ("crow", "crow-00002"));
        let given = [knative[0], knative[1], ("AWS_LAMBDA_FUNCTION_NAME", "rook")];
        assert_eq!(read(&given).unwrap().function.name.as_str(), "rook");
    }

    #[test]
    fn ce_26_ce_27_old_forms_are_read() {
        let config =
            read(&[("INVOKER_COUNT", "0x2"), ("REQUEST_SIZE_LIMIT", "5"), ("FUNCTION_TTL", "10")]).unwrap();
        assert_eq!((config.workers(false), config.front.max_event_bytes), (2, 5_000_000));
        assert_eq!(config.function_timeout, Duration::from_secs(10));
        assert_eq!(read(&[("EXTERNAL_API_PORT", "9")]).unwrap().front.address.port(), 9);
        assert_eq!(read(&[("PORT", "")]).unwrap().front.address.port(), 8080, "empty is not set");
    }

    #[test]
    fn ht_01_ce_27_formats_have_old_names() {
        let format = |variables: &[(&str, &str)]| read(variables).unwrap().front.format;
        let v1 = EventFormat::Http(HttpFormat::ApiGatewayV1);
        for name in ["RESPONSE_FORMAT", "RESPONSE_WRAPPER", "EVENT_TYPE"] {
            assert_eq!(format(&[(name, "API_GATEWAY")]), v1, "{name}");
            assert_eq!(format(&[(name, "")]), EventFormat::Plain);
            assert_eq!(format(&[(name, "other")]), EventFormat::Plain);
            assert_eq!(format(&[(name, "CLOUDEVENTS")]), EventFormat::CloudEvents);
            assert_eq!(format(&[(name, "API_GATEWAY"), ("TM_EVENT_FORMAT", "plain")]), EventFormat::Plain);
        }
        let place = |variables: &[(&str, &str)]| read_as(Compat::CustomRuntime, variables).front.format;
        assert_eq!(place(&[("RESPONSE_FORMAT", "API_GATEWAY")]), EventFormat::Plain, "as its last versions");
        assert_eq!(place(&[("RESPONSE_FORMAT", "CLOUDEVENTS")]), EventFormat::CloudEvents);
        assert_eq!(place(&[("EVENT_TYPE", "API_GATEWAY")]), v1);
        let url = EventFormat::Http(HttpFormat::FunctionUrl);
        assert_eq!(format(&[("TM_EVENT_FORMAT", "function-url")]), url);
    }

    #[test]
    fn ce_27_replies_have_old_names_and_may_be_silent() {
        let replies = |variables: &[(&str, &str)]| read(variables).unwrap().front.replies;
        let default = replies(&[("CE_FUNCTION_RESPONSE_MODE", "")]);
        assert_eq!((default.event_type.as_str(), default.mode), ("ce.klr.triggermesh.io", ReplyMode::Data));
        assert_eq!((default.source.as_str(), default.subject), ("knative-lambda-runtime", None));
        assert_eq!(replies(&[("CE_OVERRIDES_TYPE", "")]).event_type, "", "CE-14");
        let old = replies(&[("CE_TYPE", "t"), ("CE_SOURCE", "s"), ("FUNCTION_RESPONSE_MODE", "event")]);
        assert_eq!((old.event_type.as_str(), old.source.as_str(), old.mode), ("t", "s", ReplyMode::Event));
        assert_eq!(replies(&[("CE_TYPE", "t"), ("CE_OVERRIDES_TYPE", "u")]).event_type, "u");
    }

    #[test]
    fn the_handler_is_the_last_of_several_words() {
        let command =
            |words: &[&str]| Config::read([], words.iter().map(OsString::from).collect::<Vec<_>>()).unwrap();
        assert_eq!(command(&["python3"]).launch.handler, "");
        assert_eq!(command(&["python3", "-m", "app.handler"]).launch.handler, "app.handler");
    }

    #[test]
    fn the_handler_has_a_name_of_the_emulators() {
        let handler = |variables: &[(&str, &str)]| read(variables).unwrap().launch.handler;
        assert_eq!(handler(&[("AWS_LAMBDA_FUNCTION_HANDLER", "a.b")]), "a.b");
        assert_eq!(handler(&[("AWS_LAMBDA_FUNCTION_HANDLER", "a.b"), ("_HANDLER", "c.d")]), "c.d");
    }

    #[test]
    fn en_13_lm_07_all_mistakes_at_once() {
        let error = read(&[
            ("PORT", "70000"),
            ("INVOKER_COUNT", "0"),
            ("FUNCTION_TTL", "soon"),
            ("AWS_LAMBDA_FUNCTION_TIMEOUT", "901"),
            ("AWS_LAMBDA_FUNCTION_NAME", "a b"),
            ("TM_LOG", "loud"),
            ("TM_STRICT", "perhaps"),
            ("TM_INVOKE_MODE", "both"),
            ("TM_MAX_CONCURRENCY", "0"),
            ("TM_CORS_MAX_AGE", "90000"),
            ("TM_CORS_ALLOW_ORIGINS", "https://a.example, b c"),
            ("TM_INVOKE_API", "maybe"),
            ("TM_EVENT_FORMAT", "xml"),
            ("TM_API_STAGE", "a/b"),
            ("K_SINK", "https://broker/x"),
            ("TM_TRUSTED_PROXIES", "-1"),
        ]);
        let text = error.unwrap_err().to_string();
        for name in [
            "PORT",
            "INVOKER_COUNT",
            "FUNCTION_TTL",
            "_TIMEOUT",
            "_NAME",
            "TM_LOG",
            "TM_STRICT",
            "_MODE",
            "_CONCURRENCY",
            "_MAX_AGE",
            "_ORIGINS",
            "_INVOKE_API",
            "_FORMAT",
            "_STAGE",
            "K_SINK",
            "_PROXIES",
        ] {
            assert!(text.contains(name), "{name} is missing in {text}");
        }
    }
}
