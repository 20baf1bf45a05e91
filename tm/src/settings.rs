//! What the flags of `tm deploy service` mean: checked, parsed, in one place. Nothing here talks to anybody.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use tm_resources::names;

use crate::{
    cli::DeployService,
    error::{HintExt, UsageError},
};

/// A deployment of one service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSettings {
    /// Name of the Service.
    pub(crate) name: String,
    /// Where the source is, as typed.
    pub(crate) from: From,
    /// Branch, tag or commit of a git source.
    pub(crate) revision: String,
    /// Runtime as typed.
    pub(crate) runtime: Option<String>,
    /// Parameters for the runtime.
    pub(crate) build_arguments: BTreeMap<String, String>,
    /// Longest time of the build.
    pub(crate) build_timeout: Duration,
    /// Longest wait for readiness.
    pub(crate) wait_timeout: Duration,
    /// Build only.
    pub(crate) build_only: bool,
    /// `containerConcurrency`.
    pub(crate) concurrency: Option<i64>,
    /// `timeoutSeconds`.
    pub(crate) timeout: Option<i64>,
    /// Variables.
    pub(crate) env: BTreeMap<String, String>,
    /// Secrets whose keys become variables.
    pub(crate) env_secrets: Vec<String>,
    /// Labels of the Service.
    pub(crate) labels: BTreeMap<String, String>,
    /// Annotations of the Revision.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Revisions to tag, with their tags; a revision may get several.
    pub(crate) tags: Vec<(String, String)>,
    /// Tags to take away.
    pub(crate) untags: Vec<String>,
}

/// Where the source is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// To be found out: a path, a git URL or an image.
    Any(String),
    /// An image, since `--from-image` says so.
    Image(String),
    /// A git repository, since `--from-source` says so.
    Git(String),
}

// === impl ServiceSettings ===

impl ServiceSettings {
    /// Checks and parses.
    pub(crate) fn of(args: DeployService) -> Result<Self> {
        let name = service_name(&args.name)?;
        let from = match (args.from_path, args.from_image, args.from_source) {
            (Some(path), _, _) => From::Any(path),
            (_, Some(image), _) => From::Image(image),
            (_, _, Some(url)) => From::Git(url),
            _ => From::Any(args.from),
        };
        if args.concurrency.is_some_and(|n| !(0..=1000).contains(&n)) {
            return Err(UsageError("--concurrency must be between 0 and 1000".into()).into());
        }
        if args.timeout.is_some_and(|n| !(1..=900).contains(&n)) {
            return Err(UsageError("--timeout must be between 1 and 900 seconds, as AWS's is".into()).into());
        }
        Ok(Self {
            name,
            from,
            revision: args.revision,
            runtime: args.runtime,
            build_arguments: pairs("--build-argument", &args.build_argument)?,
            build_timeout: duration("--build-timeout", &args.build_timeout)?,
            wait_timeout: duration("--wait-timeout", &args.wait_timeout)?,
            build_only: args.build_only,
            concurrency: args.concurrency,
            timeout: args.timeout,
            env: pairs("--env", &args.env)?,
            env_secrets: args.env_secret,
            labels: pairs("--label", &args.label)?,
            annotations: pairs("--annotation", &args.annotation)?,
            tags: tags(&args.tag)?,
            untags: args.untag,
        })
    }
}

/// A name Kubernetes accepts for a Service.
pub(crate) fn service_name(name: &str) -> Result<String> {
    let checked = names::dns1035(name).map(str::to_owned).context("the service's name is refused");
    match names::suggest_dns1035(name) {
        Some(better) => checked.hint(format!("call it `{better}`")),
        None => checked.hint("call it something like `hello`"),
    }
}

/// `KEY=VALUE` words. A value may hold further `=`; of two values for a key the last one counts.
fn pairs(flag: &str, words: &[String]) -> Result<BTreeMap<String, String>> {
    words.iter().map(|word| pair(flag, "KEY=VALUE", word)).collect()
}

fn pair(flag: &str, form: &str, word: &str) -> Result<(String, String)> {
    match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(UsageError(format!("{flag} takes {form}, not `{word}`")).into()),
    }
}

/// `REVISION=TAG` words, in order.
fn tags(words: &[String]) -> Result<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    for word in words {
        let (revision, tag) = pair("--tag", "REVISION=TAG", word)?;
        if tag.is_empty() {
            return Err(UsageError(format!("--tag takes REVISION=TAG, not `{word}`")).into());
        }
        if let Some((first, _)) = all.iter().find(|(_, known)| *known == tag) {
            let text = format!("--tag gives `{tag}` twice, to `{first}` and to `{revision}`");
            return Err(UsageError(text).into());
        }
        all.push((revision, tag));
    }
    Ok(all)
}

/// A duration as the first tm took it (Go's: `10m`, `1h30m`, `90s`); a plain number is seconds.
pub(crate) fn duration(flag: &str, text: &str) -> Result<Duration> {
    let refused = || UsageError(format!("{flag} takes a duration like 10m or 90s, not `{text}`"));
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(refused)?;
        let amount: u32 = rest[..digits].parse().map_err(|_| refused())?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let one = match &rest[digits..unit] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return Err(refused().into()),
        };
        total = one.checked_mul(amount).and_then(|part| total.checked_add(part)).ok_or_else(refused)?;
        rest = &rest[unit..];
    }
    if total.is_zero() { Err(refused().into()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_further_equal_signs() {
        let parsed = pairs("--env", &["A=b=c".into(), "D=".into()]).expect("two pairs");
        assert_eq!(parsed, BTreeMap::from([("A".into(), "b=c".into()), ("D".into(), String::new())]));
        assert!(pairs("--env", &["A".into()]).is_err());
        assert!(pairs("--env", &["=x".into()]).is_err());
    }

    #[test]
    fn a_revision_may_have_several_tags_but_a_tag_one_revision() {
        let parse = |words: &[&str]| tags(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let two = parse(&["hello-00001=old", "hello-00001=stable"]).expect("two tags");
        let owned = |tag: &str| ("hello-00001".to_owned(), tag.to_owned());
        assert_eq!(two, [owned("old"), owned("stable")]);
        let twice = parse(&["a=old", "b=old"]).expect_err("it is refused");
        assert_eq!(twice.to_string(), "--tag gives `old` twice, to `a` and to `b`");
        for bad in ["a", "a=", "=b"] {
            let error = parse(&[bad]).expect_err(bad);
            assert!(error.is::<UsageError>() && error.to_string().contains("REVISION=TAG"), "{error}");
        }
    }

    #[test]
    fn durations() {
        let parse = |text| duration("--build-timeout", text).ok().map(|d| d.as_secs());
        assert_eq!(parse("10m"), Some(600));
        assert_eq!(parse("1h30m"), Some(5400));
        assert_eq!(parse("45"), Some(45));
        for bad in ["", "m", "10", "-1m", "1d", "0s", "99999999999h"] {
            assert_eq!(parse(bad).filter(|_| bad != "10"), None, "{bad}");
        }
    }

    #[test]
    fn a_better_name_is_offered() {
        let error = service_name("My_Func").expect_err("it is refused");
        assert!(format!("{error:#}").contains("DNS-1035"));
    }
}
