//! `tm deploy …`.

use clap::{Args, Subcommand, builder::BoolishValueParser};

/// What to deploy.
#[derive(Debug, Subcommand)]
pub(crate) enum Deploy {
    /// Build a function and deploy it as a Knative Service
    #[command(visible_aliases = ["services", "svc"])]
    Service(Box<DeployService>),
    /// Install a Tekton Task (a runtime)
    #[command(visible_alias = "tasks")]
    Task(DeployTask),
}

/// Flags of `tm deploy service`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeployService {
    /// Name of the service: a DNS label
    pub(crate) name: String,
    /// Source: a directory, a file, a git URL or an image
    #[arg(short, long, env = "TM_FROM", hide_env_values = true, default_value = ".", value_name = "SOURCE")]
    pub(crate) from: String,
    /// Deprecated: use --from
    #[arg(long, hide = true, conflicts_with = "from")]
    pub(crate) from_path: Option<String>,
    /// Deprecated: use --from
    #[arg(long, hide = true, conflicts_with_all = ["from", "from_path"])]
    pub(crate) from_image: Option<String>,
    /// Deprecated: use --from
    #[arg(long, hide = true, conflicts_with_all = ["from", "from_path", "from_image"])]
    pub(crate) from_source: Option<String>,
    /// Branch, tag or commit of a git source
    #[arg(long, env = "TM_REVISION", default_value = "master", value_name = "REV")]
    pub(crate) revision: String,
    /// Runtime: an installed Task, a built-in one, a path or a URL; found out from the source when not given
    #[arg(
        long,
        env = "TM_RUNTIME",
        hide_env_values = true,
        visible_alias = "build-template",
        value_name = "NAME|PATH|URL"
    )]
    pub(crate) runtime: Option<String>,
    /// Longest time of the build
    #[arg(long, env = "TM_BUILD_TIMEOUT", default_value = "10m", value_name = "DURATION")]
    pub(crate) build_timeout: String,
    /// Requests one instance handles at a time; 0 is no limit
    #[arg(long, env = "TM_CONCURRENCY", visible_alias = "concurrency-limit", value_name = "N")]
    pub(crate) concurrency: Option<i64>,
    /// Parameter of the runtime; may be repeated or a comma list
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub(crate) build_argument: Vec<String>,
    /// Secret whose keys become environment variables; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) env_secret: Vec<String>,
    /// Build and push the image, deploy nothing
    #[arg(long, env = "TM_BUILD_ONLY", value_parser = BoolishValueParser::new())]
    pub(crate) build_only: bool,
    /// Label of the service; may be repeated or a comma list
    #[arg(short, long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub(crate) label: Vec<String>,
    /// Annotation of the revision; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// Environment variable; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Seconds one request may take
    #[arg(long, env = "TM_TIMEOUT", value_name = "SECONDS")]
    pub(crate) timeout: Option<i64>,
    /// Give a revision a host name of its own: TAG-NAME.…; may be repeated
    #[arg(long, value_name = "REVISION=TAG")]
    pub(crate) tag: Vec<String>,
    /// Take a tag away; may be repeated
    #[arg(long, value_name = "TAG")]
    pub(crate) untag: Vec<String>,
    /// Longest wait for readiness, with --wait
    #[arg(long, env = "TM_WAIT_TIMEOUT", default_value = "10m", value_name = "DURATION")]
    pub(crate) wait_timeout: String,
}

/// Flags of `tm deploy task`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeployTask {
    /// Name to install it under; the Task's own when not given
    pub(crate) name: Option<String>,
    /// Path or URL of the Task's YAML, or the name of a built-in one
    #[arg(short, long, env = "TM_FILE", hide_env_values = true, value_name = "PATH|URL|NAME")]
    pub(crate) file: String,
}
