//! The environment of the runtime process (section 3): the deployment's variables, Lambda's where those are silent.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use jiff::Timestamp;
use tm_lambda::environment::{self as env, Kind};
use uuid::Uuid;

use crate::config::{Compat, Function, Launch};

/// Lambda's own search path; the odd `/usr/bin/:` is AWS's.
const DEFAULT_PATH: &str = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin";

type Variables = BTreeMap<OsString, OsString>;

/// Everything that does not differ between workers.
pub(crate) fn of(launch: &Launch, function: &Function) -> Vec<(OsString, OsString)> {
    let mut variables: Variables =
        launch.deployment.iter().filter(|(name, _)| passes(name, launch.compat)).cloned().collect();
    identity(&mut variables, function);
    places(&mut variables, launch);
    loops(&mut variables, launch.concurrency);
    default(&mut variables, env::AWS_XRAY_CONTEXT_MISSING, "LOG_ERROR");
    default(&mut variables, env::LANG, "en_US.UTF-8");
    default(&mut variables, env::TZ, ":UTC");
    variables.into_iter().collect()
}

/// Neither the shim's own business nor something that the function must not have.
fn passes(name: &OsStr, compat: Compat) -> bool {
    let row = env::TABLE.iter().find(|row| OsStr::new(row.name) == name);
    row.is_none_or(|row| row.kind == Kind::Both) && !(compat.is_emulator() && is_private(name))
}

/// EN-15: the emulator keeps names that begin with `_` from functions, but for these.
fn is_private(name: &OsStr) -> bool {
    let kept = [env::HANDLER, "_AWS_XRAY_DAEMON_ADDRESS", "_AWS_XRAY_DAEMON_PORT"];
    name.as_bytes().starts_with(b"_") && !kept.iter().any(|kept| OsStr::new(kept) == name)
}

/// Who the function is. The configuration has already put the deployment's values first.
fn identity(variables: &mut Variables, function: &Function) {
    let Function { name, version, memory_size, region, .. } = function;
    set(variables, env::AWS_LAMBDA_FUNCTION_NAME, name.as_str());
    set(variables, env::AWS_LAMBDA_FUNCTION_VERSION, version.as_str());
    set(variables, env::AWS_LAMBDA_FUNCTION_MEMORY_SIZE, memory_size.to_string());
    default(variables, env::AWS_REGION, region);
    default(variables, env::AWS_DEFAULT_REGION, region);
    default(variables, env::AWS_LAMBDA_LOG_GROUP_NAME, format!("/aws/lambda/{name}"));
    let day = Timestamp::now().strftime("%Y/%m/%d");
    let stream = format!("{day}/[{version}]{}", Uuid::new_v4().simple());
    default(variables, env::AWS_LAMBDA_LOG_STREAM_NAME, stream);
}

/// RT-41: only where the deployment wants it, as clients start several loops wherever the second one is there.
fn loops(variables: &mut Variables, concurrency: usize) {
    if concurrency == 1 {
        return set(variables, env::AWS_LAMBDA_INITIALIZATION_TYPE, "on-demand");
    }
    set(variables, env::AWS_LAMBDA_INITIALIZATION_TYPE, "lambda-managed-instances");
    set(variables, env::AWS_LAMBDA_MAX_CONCURRENCY, concurrency.to_string());
}

/// Where things are.
fn places(variables: &mut Variables, launch: &Launch) {
    let Launch { task_root, runtime_dir, handler, .. } = launch;
    let (task, runtime) = (task_root.display(), runtime_dir.display());
    let libraries = format!("/lib64:/usr/lib64:{runtime}:{runtime}/lib:{task}:{task}/lib:/opt/lib");
    set(variables, env::LAMBDA_TASK_ROOT, task_root);
    set(variables, env::LAMBDA_RUNTIME_DIR, runtime_dir);
    set(variables, env::HANDLER, handler);
    if launch.compat.is_custom_runtime() {
        let given = variables.get(OsStr::new(env::LD_LIBRARY_PATH)).cloned().unwrap_or_default();
        let mut all = OsString::from(libraries + ":");
        all.push(given);
        set(variables, env::LD_LIBRARY_PATH, all);
    } else {
        default(variables, env::LD_LIBRARY_PATH, format!("/var/lang/lib:{libraries}"));
    }
    let path = variables.get(OsStr::new(env::PATH)).filter(|path| !path.is_empty());
    let path = path.map_or_else(|| DEFAULT_PATH.into(), |path| with_opt_bin(path));
    set(variables, env::PATH, path);
}

/// The deployment's search path wins; layers' programs come last, as on Lambda.
fn with_opt_bin(path: &OsStr) -> OsString {
    let mut path = path.to_owned();
    if !std::env::split_paths(&path).any(|folder| folder.as_os_str() == "/opt/bin") {
        path.push(":/opt/bin");
    }
    path
}

fn set(variables: &mut Variables, name: &str, value: impl AsRef<OsStr>) {
    variables.insert(name.into(), value.as_ref().to_owned());
}

fn default(variables: &mut Variables, name: &str, value: impl AsRef<OsStr>) {
    variables.entry(name.into()).or_insert_with(|| value.as_ref().to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Start};

    fn of_deployment(deployment: &[(&str, &str)]) -> BTreeMap<String, String> {
        let variables = deployment.iter().map(|(k, v)| (k.into(), v.into()));
        let config = Config::read(variables, Vec::new()).unwrap();
        let text = |value: OsString| value.into_string().unwrap();
        of(&config.launch, &config.function).into_iter().map(|(k, v)| (text(k), text(v))).collect()
    }

    #[test]
    fn en_03_en_06_en_09_en_10_en_11_lambdas_variables_are_all_there() {
        let variables = of_deployment(&[]);
        for (name, value) in [
            ("AWS_LAMBDA_FUNCTION_NAME", "function"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/function"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("_HANDLER", ""),
            ("LANG", "en_US.UTF-8"),
            ("TZ", ":UTC"),
            ("PATH", DEFAULT_PATH),
            (
                "LD_LIBRARY_PATH",
                "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
            ),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        let stream = &variables["AWS_LAMBDA_LOG_STREAM_NAME"];
        assert!(
            stream.contains("/[$LATEST]") && stream.len() == "2026/11/23/[$LATEST]".len() + 32,
            "{stream}"
        );
        for name in
            ["AWS_EXECUTION_ENV", "_X_AMZN_TRACE_ID", "AWS_LAMBDA_MAX_CONCURRENCY", "AWS_ACCESS_KEY_ID"]
        {
            assert!(!variables.contains_key(name), "{name}");
        }
    }

    #[test]
    fn rt_41_several_loops_are_asked_for_by_the_deployment_alone() {
        let wanted = of_deployment(&[("TM_MAX_CONCURRENCY", "8"), ("AWS_LAMBDA_MAX_CONCURRENCY", "2")]);
        assert_eq!(wanted["AWS_LAMBDA_MAX_CONCURRENCY"], "8");
        assert_eq!(wanted["AWS_LAMBDA_INITIALIZATION_TYPE"], "lambda-managed-instances");
        for other in ["1", ""] {
            let not = of_deployment(&[("TM_MAX_CONCURRENCY", other), ("AWS_LAMBDA_MAX_CONCURRENCY", "2")]);
            assert!(!not.contains_key("AWS_LAMBDA_MAX_CONCURRENCY"));
        }
    }

    #[test]
    fn en_14_en_15_the_deployment_wins_where_it_may() {
        let variables = of_deployment(&[
            ("AWS_LAMBDA_FUNCTION_NAME", "crow"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "mine"),
            ("PATH", "/x/bin"),
            ("LD_LIBRARY_PATH", "/x/lib"),
            ("TZ", "Europe/Paris"),
            ("SECRET", "a=b=$c"),
        ]);
        for (name, value) in [
            ("AWS_LAMBDA_FUNCTION_NAME", "crow"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "mine"),
            ("PATH", "/x/bin:/opt/bin"),
            ("LD_LIBRARY_PATH", "/x/lib"),
            ("TZ", "Europe/Paris"),
            ("SECRET", "a=b=$c"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn en_10_libraries_in_the_place_of_aws_custom_runtime() {
        let start = || Start { compat: Compat::CustomRuntime, ..Start::default() };
        for given in ["", "/x/lib:/y"] {
            let deployment = [("LD_LIBRARY_PATH", given), ("LAMBDA_TASK_ROOT", "/opt")];
            let config = Config::read(deployment.map(|(k, v)| (k.into(), v.into())), start()).unwrap();
            let variables: Variables = of(&config.launch, &config.function).into_iter().collect();
            let expected =
                format!("/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/opt:/opt/lib:/opt/lib:{given}");
            assert_eq!(variables[OsStr::new("LD_LIBRARY_PATH")], OsStr::new(&expected));
        }
    }

    #[test]
    fn en_15_the_emulator_keeps_private_names() {
        let deployment = ["_MINE", "_AWS_XRAY_DAEMON_PORT", "_HANDLER"].map(|name| (name.into(), "7".into()));
        for (compat, mine) in [(Compat::None, true), (Compat::Emulator, false)] {
            let config = Config::read(deployment.clone(), Start { compat, ..Start::default() }).unwrap();
            let names: Vec<OsString> =
                of(&config.launch, &config.function).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names.contains(&"_MINE".into()), mine, "{compat:?}");
            assert!(names.contains(&"_AWS_XRAY_DAEMON_PORT".into()) && names.contains(&"_HANDLER".into()));
        }
    }

    #[test]
    fn en_05_en_15_reserved_and_private_names_do_not_pass() {
        let variables = of_deployment(&[
            ("_LAMBDA_TELEMETRY_LOG_FD", "62"),
            ("AWS_LAMBDA_MAX_CONCURRENCY", "2"),
            ("_X_AMZN_TRACE_ID", "Root=1"),
            ("PORT", "8080"),
            ("TM_QUEUE_LENGTH", "7"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start"),
        ]);
        for name in ["_LAMBDA_TELEMETRY_LOG_FD", "AWS_LAMBDA_MAX_CONCURRENCY", "_X_AMZN_TRACE_ID", "PORT"] {
            assert!(!variables.contains_key(name), "{name}");
        }
        assert!(!variables.contains_key("TM_QUEUE_LENGTH"));
        assert_eq!(variables["AWS_LAMBDA_INITIALIZATION_TYPE"], "on-demand");
    }
}
