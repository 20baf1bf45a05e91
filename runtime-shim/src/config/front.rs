//! The settings of the front: where it listens, what functions get of requests, what becomes of their results.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tm_lambda::cloud_event::{Replies, ReplyMode};
use tm_lambda::environment as env;
use tm_lambda::http_event::{Api, Cors, HttpFormat};

use super::reader::{self, Reader};
use super::{Compat, Function, Sink, timeout, word};

/// What functions get of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EventFormat {
    /// The body.
    #[default]
    Plain,
    /// The whole of it, as a front of AWS's would pass it on.
    Http(HttpFormat),
    /// The data of a CloudEvent.
    CloudEvents,
}

/// Whom the Invoke API answers for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum InvokeApi {
    /// The function's own names.
    #[default]
    OwnName,
    /// Whatever the name.
    AnyName,
    /// Nobody: its paths are the function's.
    Off,
}

/// Where the function is served.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// Address and port.
    pub(crate) address: SocketAddr,
    /// Gets the port once it accepts.
    pub(crate) port_file: Option<PathBuf>,
    /// Largest request body.
    pub(crate) max_event_bytes: usize,
    /// What functions get of requests.
    pub(crate) format: EventFormat,
    /// How results become CloudEvents.
    pub(crate) replies: Replies,
    /// Where results go instead of to the caller.
    pub(crate) sink: Option<Sink>,
    /// What an API in front would be configured with.
    pub(crate) api: Api,
    /// How long callers wait, where that is not the function's timeout.
    pub(crate) api_timeout: Option<Duration>,
    /// Proxies that add to `X-Forwarded-For`.
    pub(crate) trusted_proxies: usize,
    /// Whether HTTP callers get streams as streams.
    pub(crate) streams: bool,
    /// Who may call from pages of others.
    pub(crate) cors: Option<Cors>,
    /// Whom the Invoke API answers for.
    pub(crate) invoke_api: InvokeApi,
    /// Whether there is nothing else: so it is in the emulator's place, unless a format is asked for.
    pub(crate) invokes_alone: bool,
}

/// Reads them; `given` is the command line's address.
pub(super) fn front(
    reader: &mut Reader<'_>,
    function: &Function,
    strict: bool,
    compat: Compat,
    given: Option<SocketAddr>,
) -> Front {
    let address: IpAddr = reader
        .read(env::TM_BIND_ADDRESS, |text| text.parse().map_err(|_| "expected an IP address".to_owned()))
        .unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let old_port = reader.read(env::EXTERNAL_API_PORT, reader::port);
    let port = reader.read(env::PORT, reader::port).or(old_port).unwrap_or(8080);
    let format = format(reader, compat);
    let megabytes = reader.read(env::REQUEST_SIZE_LIMIT, |text| reader::number(text, 1..=100_000));
    Front {
        address: given.unwrap_or(SocketAddr::new(address, port)),
        port_file: reader.path(env::TM_PORT_FILE),
        max_event_bytes: megabytes.map_or(compat.defaults().max_event_bytes, |mb| mb * 1_000_000),
        format,
        cors: cors(reader).filter(|_| format == EventFormat::Http(HttpFormat::FunctionUrl)),
        replies: replies(reader, compat),
        sink: reader.read(env::K_SINK, Sink::parse),
        api: api(reader, function, strict),
        api_timeout: api_timeout(reader, format),
        trusted_proxies: reader
            .read(env::TM_TRUSTED_PROXIES, |text| reader::number(text, 0..=100))
            .unwrap_or(1),
        streams: reader.read(env::TM_INVOKE_MODE, invoke_mode).unwrap_or_default(),
        invoke_api: reader.read(env::TM_INVOKE_API, invoke_api).unwrap_or_default(),
        invokes_alone: compat.is_emulator() && reader.raw(env::TM_EVENT_FORMAT).is_none(),
    }
}

/// Our variable, or the first of aws-custom-runtime's, whose other values all meant plain.
fn format(reader: &mut Reader<'_>, compat: Compat) -> EventFormat {
    let old = |text: &str| match text {
        "API_GATEWAY" => Ok(EventFormat::Http(HttpFormat::ApiGatewayV1)),
        "CLOUDEVENTS" => Ok(EventFormat::CloudEvents),
        _ => Ok(EventFormat::Plain),
    };
    // The versions that know the newest name had lost the mode for API Gateway.
    let lost = |format: &EventFormat| compat.is_custom_runtime() && matches!(format, EventFormat::Http(_));
    let newest = reader
        .read(env::RESPONSE_FORMAT, old)
        .map(|format| if lost(&format) { EventFormat::Plain } else { format });
    let old = newest.or(reader.first(&[env::RESPONSE_WRAPPER, env::EVENT_TYPE], old));
    reader.read(env::TM_EVENT_FORMAT, event_format).or(old).unwrap_or_default()
}

fn event_format(text: &str) -> Result<EventFormat, String> {
    Ok(match text {
        "plain" => EventFormat::Plain,
        "apigateway-v1" => EventFormat::Http(HttpFormat::ApiGatewayV1),
        "apigateway-v2" => EventFormat::Http(HttpFormat::ApiGatewayV2),
        "function-url" => EventFormat::Http(HttpFormat::FunctionUrl),
        "alb" => EventFormat::Http(HttpFormat::Alb),
        "alb-multi-value" => EventFormat::Http(HttpFormat::AlbMultiValue),
        "cloudevents" => EventFormat::CloudEvents,
        _ => {
            let fronts = "`apigateway-v1`, `apigateway-v2`, `function-url`, `alb`, `alb-multi-value`";
            return Err(format!("expected `plain`, {fronts} or `cloudevents`"));
        }
    })
}

/// aws-custom-runtime's variables; any mode but `event` meant `data`. Its oldest names mean anything elsewhere, so they
/// are read in its place only.
fn replies(reader: &mut Reader<'_>, compat: Compat) -> Replies {
    let oldest = if compat.is_custom_runtime() { 3 } else { 2 };
    let text = |text: &str| Ok(text.to_owned());
    let mode = |text: &str| Ok(if text == "event" { ReplyMode::Event } else { ReplyMode::Data });
    let emptied = reader.is_emptied(env::CE_OVERRIDES_TYPE);
    let event_type =
        reader.first(&[env::CE_OVERRIDES_TYPE, env::CE_TYPE, env::TYPE][..oldest], text).filter(|_| !emptied);
    let default_type = if emptied { "" } else { "ce.klr.triggermesh.io" };
    let source = reader.first(&[env::CE_OVERRIDES_SOURCE, env::CE_SOURCE, env::SOURCE][..oldest], text);
    Replies {
        mode: reader
            .first(&[env::CE_FUNCTION_RESPONSE_MODE, env::FUNCTION_RESPONSE_MODE], mode)
            .unwrap_or_default(),
        event_type: event_type.unwrap_or_else(|| default_type.to_owned()),
        source: source.unwrap_or_else(|| "knative-lambda-runtime".to_owned()),
        subject: reader.first(&[env::CE_OVERRIDES_SUBJECT, env::CE_SUBJECT, env::SUBJECT][..oldest], text),
    }
}

fn api(reader: &mut Reader<'_>, function: &Function, strict: bool) -> Api {
    let stage = |text: &str| if text == "$default" { Ok(text.to_owned()) } else { word(text) };
    let types = |text: &str| Ok(text.split(',').map(|part| part.trim().to_owned()).collect());
    Api {
        account: function.arn.account().to_owned(),
        region: function.region.clone(),
        name: function.name.to_string(),
        stage: reader.read(env::TM_API_STAGE, stage).unwrap_or_else(|| "$default".to_owned()),
        binary_types: reader.read(env::TM_BINARY_MEDIA_TYPES, types).unwrap_or_default(),
        strict,
    }
}

/// That of the API, where the front is one that has one of its own.
fn api_timeout(reader: &mut Reader<'_>, format: EventFormat) -> Option<Duration> {
    let given = reader.read(env::TM_API_TIMEOUT, timeout);
    let EventFormat::Http(format) = format else { return None };
    format.timeout().map(|default| given.unwrap_or(default))
}

/// The settings of a Function URL; there are none where no origin may call.
fn cors(reader: &mut Reader<'_>) -> Option<Cors> {
    let origins = reader.read(env::TM_CORS_ALLOW_ORIGINS, reader::words);
    let methods = reader.read(env::TM_CORS_ALLOW_METHODS, reader::words);
    let headers = reader.read(env::TM_CORS_ALLOW_HEADERS, reader::words);
    let exposed = reader.read(env::TM_CORS_EXPOSE_HEADERS, reader::words);
    // AWS's limit: a day.
    let max_age = reader.read(env::TM_CORS_MAX_AGE, |text| reader::number(text, 0..=86_400));
    let credentials = reader.read(env::TM_CORS_ALLOW_CREDENTIALS, reader::boolean);
    Some(Cors {
        origins: origins?,
        methods: methods.unwrap_or_else(|| vec!["*".to_owned()]),
        headers: headers.unwrap_or_default(),
        exposed: exposed.unwrap_or_default(),
        max_age: max_age.and_then(|seconds| u32::try_from(seconds).ok()),
        credentials: credentials.unwrap_or_default(),
    })
}

/// AWS's words for the modes of a Function URL.
fn invoke_mode(text: &str) -> Result<bool, String> {
    match text.to_ascii_uppercase().as_str() {
        "BUFFERED" => Ok(false),
        "RESPONSE_STREAM" => Ok(true),
        _ => Err("expected `BUFFERED` or `RESPONSE_STREAM`".to_owned()),
    }
}

fn invoke_api(text: &str) -> Result<InvokeApi, String> {
    match text {
        "on" => Ok(InvokeApi::OwnName),
        "any-name" => Ok(InvokeApi::AnyName),
        "off" => Ok(InvokeApi::Off),
        _ => Err("expected `on`, `any-name` or `off`".to_owned()),
    }
}
