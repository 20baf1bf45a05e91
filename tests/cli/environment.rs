//! Variables in the place of flags, as scripts and CI set them.

use crate::target::{NAMESPACE, SERVICES, asked, target};

/// Those of switches.
const SWITCHES: [&str; 5] = ["TM_DEBUG", "TM_REGISTRY_SKIP_TLS", "TM_WAIT", "TM_DRY", "TM_BUILD_ONLY"];

/// Variables of `tm get` and `tm deploy service`.
const VARIABLES: [&str; 18] = [
    "TM_CONFIG",
    "TM_CONTEXT",
    "TM_NAMESPACE",
    "TM_DEBUG",
    "TM_REGISTRY_HOST",
    "TM_REGISTRY_SECRET",
    "TM_REGISTRY_SKIP_TLS",
    "TM_OUTPUT",
    "TM_WAIT",
    "TM_DRY",
    "TM_FROM",
    "TM_REVISION",
    "TM_RUNTIME",
    "TM_BUILD_TIMEOUT",
    "TM_CONCURRENCY",
    "TM_BUILD_ONLY",
    "TM_TIMEOUT",
    "TM_WAIT_TIMEOUT",
];

#[tokio::test]
async fn an_empty_variable_is_not_set() {
    let (server, mut machine) = target().await;
    for variable in VARIABLES {
        machine = machine.with_env(variable, "");
    }
    let ran = machine.tm(["get", "services"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "No services found\n"), "{ran:?}");
    assert_eq!(asked(&server).await, [format!("GET {SERVICES}")], "the context's namespace");
    fs_err::write(machine.path().join("main.py"), "def handler(e, c): return e\n").expect("it writes");
    let from = machine.path().join("main.py").display().to_string();
    let ran = machine.tm(["deploy", "service", "a", "-f", &from, "--dry"]).await;
    let image = format!("knative.registry.svc.cluster.local/{NAMESPACE}/a:");
    assert!(ran.code == 0 && ran.stdout.contains(&image), "{ran:?}");
}

#[tokio::test]
async fn an_empty_flag_is_not_given() {
    let (server, machine) = target().await;
    let ran = machine.tm(["--config=", "--context=", "--namespace=", "get", "services"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "No services found\n"), "{ran:?}");
    assert_eq!(asked(&server).await, [format!("GET {SERVICES}")]);
}

#[tokio::test]
async fn switches_say_yes_and_no() {
    for value in ["1", "0", "", "true", "false", "yes", "no", "on", "off", "TRUE"] {
        let (_server, mut machine) = target().await;
        for variable in SWITCHES {
            machine = machine.with_env(variable, value);
        }
        let from = machine.path().join("main.py").display().to_string();
        fs_err::write(&from, "def handler(e, c): return e\n").expect("it writes");
        let ran = machine.tm(["deploy", "service", "a", "-f", &from, "--dry", "-o", "json"]).await;
        let yes = ["1", "true", "yes", "on", "TRUE"].contains(&value);
        assert_eq!(ran.code, 0, "{value}: {ran:?}");
        assert_eq!(ran.stderr.contains("debug:"), yes, "TM_DEBUG={value}: {ran:?}");
        assert_eq!(!ran.stdout.contains("\"Service\""), yes, "TM_BUILD_ONLY={value}: {ran:?}");
        assert_eq!(ran.stdout.contains("TM_REGISTRY_INSECURE"), yes, "TM_REGISTRY_SKIP_TLS={value}: {ran:?}");
    }
}

#[tokio::test]
async fn a_switch_that_says_neither_is_refused() {
    for variable in SWITCHES {
        let (server, machine) = target().await;
        let machine = machine.with_env(variable, "perhaps");
        let ran = machine.tm(["deploy", "service", "a"]).await;
        assert_eq!(ran.code, 2, "{variable}: {ran:?}");
        assert!(ran.stderr.contains("invalid value 'perhaps'"), "{variable}: {ran:?}");
        assert!(asked(&server).await.is_empty(), "{variable}");
    }
}
