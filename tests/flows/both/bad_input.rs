//! Everything a user can get wrong: a clear error, a hint, the right exit code, and nothing half-made.

use tm_testkit::tools;

use crate::{
    support::{folder, nothing_left, refused, shell_function},
    target,
};

#[tokio::test]
async fn sources() {
    let machine = target().await;
    let deploy = async |from: &str| machine.tm(["deploy", "service", "a", "-f", from]).await;
    refused(&deploy("./no/such/folder").await, 1, &["no such file or directory", "hint:"]);
    let empty = folder(&machine, "empty", &[]);
    refused(&deploy(&empty).await, 1, &["no files to deploy", "hint:"]);
    let odd = folder(&machine, "odd", &[("notes.txt", "x")]);
    refused(&deploy(&odd).await, 1, &["no runtime fits", "hint:", "--runtime"]);
    let linked = folder(&machine, "linked", &[("main.py", "x")]);
    std::os::unix::fs::symlink("/etc/passwd", format!("{linked}/passwd")).expect("it links");
    refused(&deploy(&linked).await, 1, &["`passwd`", "outside of the source", "hint:"]);
    let large = folder(&machine, "large", &[("main.py", "x")]);
    let file = std::fs::File::create(format!("{large}/disk.img")).expect("it is made");
    file.set_len(2 << 30).expect("it is sparse");
    refused(&deploy(&large).await, 1, &["more than 1.00 GiB", "disk.img", ".tmignore"]);
    nothing_left(&machine).await;
}

#[tokio::test]
async fn names_and_flags() {
    let machine = target().await;
    let tm = async |line: &str| machine.tm(line.split(' ')).await;
    refused(&tm("deploy service My_Func -f .").await, 1, &["DNS-1035", "hint:", "`my-func`"]);
    refused(&tm("deploy service a -f . -e NOVALUE").await, 2, &["--env takes KEY=VALUE"]);
    refused(&tm("deploy service a -f . --concurrency 2000").await, 2, &["between 0 and 1000"]);
    refused(&tm("deploy service a -f . --build-timeout soon").await, 2, &["a duration like 10m"]);
    refused(&tm("deploy service a -f . --nonsense").await, 2, &["--nonsense"]);
    refused(&tm("get service nothing").await, 1, &["there is no service `nothing`", "hint:"]);
    refused(&tm("delete service nothing").await, 1, &["there is no service `nothing`", "hint:"]);
    refused(&tm("--context elsewhere get services").await, 1, &["elsewhere", "hint:"]);
}

/// What the target would not take is known before anything is built.
#[tokio::test]
async fn services_that_are_refused() {
    let machine = target().await;
    let source = folder(&machine, "source", &[("main.py", "def handler(e, c): return e\n")]);
    let cases = [
        (["-e", "PORT=1"], "PORT"),
        (["-l", "a=not valid"], "not valid"),
        (["-a", "autoscaling.knative.dev/min-scale=many"], "min-scale"),
        (["--untag", "none"], "no revision has the tag `none`"),
    ];
    for (flag, word) in cases {
        let ran = machine.tm(["deploy", "service", "a", "-f", &source, flag[0], flag[1]]).await;
        refused(&ran, 1, &[word]);
        assert!(!ran.stderr.contains("taskrun"), "a build began: {ran:?}");
    }
    nothing_left(&machine).await;
}

/// The failure names what the instance ended with and shows the end of its log, also where Knative has not noticed yet.
#[tokio::test]
async fn a_function_that_never_starts() {
    let machine = target().await;
    let source = shell_function(&machine, "source", "echo 1").display().to_string();
    let variable = "AWS_LAMBDA_FUNCTION_TIMEOUT=soon";
    let flags = ["-e", variable, "--wait", "--wait-timeout", "40s"];
    let ran = machine.tm(["deploy", "service", "a", "-f", &source].into_iter().chain(flags)).await;
    let said = "AWS_LAMBDA_FUNCTION_TIMEOUT=`soon`: expected whole seconds";
    refused(&ran, 1, &["the service `a`", "ready", "exit code 64", "The end of the log of", said, "hint:"]);
}

#[tokio::test]
async fn runtimes() {
    let machine = target().await;
    let source = folder(&machine, "source", &[("main.py", "def handler(e, c): return e\n")]);
    let deploy = async |runtime: &str| {
        machine.tm(["deploy", "service", "a", "-f", &source, "--runtime", runtime]).await
    };
    refused(&deploy("pyton").await, 1, &["there is no runtime `pyton`", "did you mean `python`?"]);
    refused(&deploy("knative-java8-runtime").await, 1, &["Java is not available yet", "hint:"]);
    refused(&deploy("./no-task.yaml").await, 1, &["no-task.yaml", "hint:"]);
    let pod = machine.path().join("pod.yaml");
    fs_err::write(&pod, "apiVersion: v1\nkind: Pod\n").expect("it writes");
    refused(&deploy(pod.to_str().expect("text")).await, 1, &["not a Tekton Task but a Pod of v1", "hint:"]);
    let bad = machine.path().join("bad.yaml");
    fs_err::write(&bad, "apiVersion: v1\nkind: [Task\nspec: 1\n").expect("it writes");
    refused(&deploy(bad.to_str().expect("text")).await, 1, &["is no YAML", "3", "^"]);
    nothing_left(&machine).await;
}

#[tokio::test]
async fn a_compile_error_is_shown_and_nothing_is_deployed() {
    if tools::find("go").is_none() {
        return;
    }
    let machine = target().await;
    let go = "package main\n\nfunc main() { undefined() }\n";
    let source = folder(&machine, "broken", &[("main.go", go), ("go.mod", "module x\n\ngo 1.21\n")]);
    let ran = machine.tm(["deploy", "service", "broken", "-f", &source, "--wait"]).await;
    refused(&ran, 1, &["main.go:3", "undefined", "the build failed in step"]);
    nothing_left(&machine).await;
}

#[tokio::test]
async fn no_handler_for_the_runtime() {
    if tools::find("python3").is_none() {
        return;
    }
    let machine = target().await;
    let source = folder(&machine, "nohandler", &[("data.py", "x = 1\n")]);
    let ran = machine.tm(["deploy", "service", "a", "-f", &source, "--runtime", "python"]).await;
    refused(&ran, 1, &["handler", "hint:"]);
    nothing_left(&machine).await;
}

#[tokio::test]
async fn a_build_image_that_cannot_be_had() {
    let machine = target().await;
    let source = folder(&machine, "source", &[("main.py", "def handler(e, c): return e\n")]);
    let argument = "BUILDER_IMAGE=127.0.0.1:1/none/builder:1";
    let args = ["deploy", "service", "a", "-f", &source, "--runtime", "python", "--build-argument", argument];
    let words = ["TaskRunImagePullFailed", "127.0.0.1:1", "hint:", "--build-argument", "--docker-base-image"];
    refused(&machine.tm(args).await, 1, &words);
    nothing_left(&machine).await;
}

#[tokio::test]
async fn payloads_and_handlers() {
    if tools::find("curl").is_none() {
        return;
    }
    let machine = target().await;
    let cases = [
        ("echo", r#"printf %s "$event""#),
        ("exits", "exit 3"),
        ("loud", "head -c 1000000000 /dev/zero | tr '\\0' x >&2; echo 1"),
    ];
    for (name, body) in cases {
        // `exit` must leave the script, not the subshell.
        let folder = shell_function(&machine, name, body);
        if name == "exits" {
            let bootstrap = folder.join("bootstrap");
            let script = fs_err::read_to_string(&bootstrap).expect("it reads");
            fs_err::write(&bootstrap, script.replace("answer=$(exit 3)", "exit 3")).expect("it writes");
        }
        let folder = folder.display().to_string();
        machine.tm_ok(["deploy", "service", name, "-f", &folder, "--wait"]).await.expect("it deploys");
    }
    let call = async |name: &str, body: &str| machine.call(name, body).await.expect("it answers");
    let text = call("echo", "no JSON at all").await;
    assert_eq!((text.status, text.body.as_str()), (200, "no JSON at all"), "passed through");
    let large = call("echo", &"x".repeat(6 * 1024 * 1024 + 1)).await;
    assert_eq!(large.status, 413, "{}", &large.body[..large.body.len().min(200)]);
    let exits = call("exits", "{}").await;
    assert_eq!(exits.header("x-amz-function-error"), Some("Unhandled"), "{exits:?}");
    assert!(exits.body.contains("Runtime exited with error: exit status 3"), "{exits:?}");
    let loud = call("loud", "{}").await;
    assert_eq!((loud.status, loud.body.as_str()), (200, "1"), "a gigabyte of output does no harm");
    // On a cluster it is the kubelet that rotates logs.
    let logs = machine.state().join("pods");
    assert!(machine.cluster().is_some() || size_of(&logs) < 200 << 20, "{} bytes of logs", size_of(&logs));
}

fn size_of(folder: &std::path::Path) -> u64 {
    let Ok(entries) = fs_err::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_of(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
