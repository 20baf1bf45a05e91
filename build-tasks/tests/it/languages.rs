//! Each language with its own tools, from source to unpacked image.

use fs_err as fs;
use tm_testkit::tools::has;

use crate::fixture::{Registry, Workspace, binary, text};

const PYTHON: &str = "import json\n\ndef handler(event, context):\n    return {'hello': event['name']}\n";

#[test]
fn python_without_dependencies() {
    if !has("python3") {
        return;
    }
    let registry = Registry::start();
    let workspace = Workspace::with(&[("main.py", PYTHON)]);
    workspace.build("python", &[]);
    let (config, root) = workspace.image(&registry, &registry.image("default/hello:1"));
    assert_eq!(config.config.env("_HANDLER"), Some("main.handler"));
    assert_eq!(config.config.env("LAMBDA_TASK_ROOT"), Some("/var/task"));
    assert_eq!(config.config.env("PYTHONPATH"), Some("/var/runtime"));
    assert!(config.config.env("AWS_EXECUTION_ENV").unwrap().starts_with("AWS_Lambda_python3."));
    assert_eq!(config.config.entrypoint, ["/usr/local/bin/runtime-shim"]);
    assert_eq!((config.config.user.as_str(), config.config.working_dir.as_str()), ("65532", "/var/task"));
    for file in [
        "var/task/main.py",
        "var/runtime/bootstrap",
        "var/runtime/awslambdaric",
        "usr/local/bin/runtime-shim",
    ] {
        assert!(root.join(file).exists(), "{file}");
    }
}

#[test]
fn python_dependencies_are_a_layer_that_does_not_change() {
    if !has("python3") {
        return;
    }
    let registry = Registry::start();
    let cache = tempfile::tempdir().unwrap();
    let files = [("app/main.py", PYTHON), ("app/requirements.txt", "idna==3.10\n")];
    let env = [("DIRECTORY", "app"), ("HANDLER", "main.handler")];
    let mut digests = Vec::new();
    for (name, cached) in [("a", false), ("b", false), ("c", true), ("d", true)] {
        let mut workspace = Workspace::with(&files);
        workspace.cache = cached.then(|| cache.path().to_owned());
        workspace.build("python", &env);
        let image = registry.image(&format!("default/{name}"));
        let (_, root) = workspace.image(&registry, &image);
        assert!(root.join("var/task/idna/__init__.py").exists());
        assert!(!root.join("var/task/idna/__pycache__").exists());
        digests.push(registry.read(&image).0);
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn python_mistakes_are_explained() {
    if !has("python3") {
        return;
    }
    for (files, env, want) in [
        (vec![("a.py", "x = 1")], vec![], "none was found"),
        (vec![("a.py", PYTHON), ("b.py", PYTHON)], vec![], "there are several: `a.handler`, `b.handler`"),
        (vec![("a.py", PYTHON)], vec![("HANDLER", "b.handler")], "needs b.py"),
        (vec![("a.py", PYTHON)], vec![("HANDLER", "handler")], "is not FILE.FUNCTION"),
        (vec![("a.py", PYTHON)], vec![("DIRECTORY", "../..")], "is not a folder inside the source"),
    ] {
        let output = Workspace::with(&files).lang("python", "build", &env);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(want), "{}", text(&output));
    }
    let missing = Workspace::with(&[("requirements.txt", "tm-no-such-package-at-all==99\n")]);
    let output = missing.lang("python", "deps", &[]);
    assert!(
        !output.status.success() && text(&output).contains("requirements.txt` failed"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_missing_tool_is_named() {
    let workspace = Workspace::with(&[("main.go", "package main")]);
    let output = workspace.lang("go", "deps", &[("PATH", "/nowhere")]);
    assert!(
        text(&output).contains("`go` is not on PATH") && text(&output).contains("hint:"),
        "{}",
        text(&output)
    );
}

#[test]
fn go_without_a_module() {
    if !has("go") {
        return;
    }
    let source = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n";
    let registry = Registry::start();
    let workspace = Workspace::with(&[("main.go", source)]);
    workspace.build("go", &[]);
    let (config, root) = workspace.image(&registry, &registry.image("default/go"));
    assert_eq!(config.config.env("_HANDLER"), Some("bootstrap"));
    let output = std::process::Command::new(root.join("var/task/bootstrap")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
}

#[test]
fn go_that_does_not_compile() {
    if !has("go") {
        return;
    }
    let workspace =
        Workspace::with(&[("main.go", "package main\n\nfunc main() { oops }\n"), ("go.mod", "module x\n")]);
    let output = workspace.lang("go", "build", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("undefined: oops"), "{}", text(&output));
    let library = Workspace::with(&[("lib.go", "package lib\n"), ("go.mod", "module x\n")]);
    let output = library.lang("go", "build", &[]);
    assert!(text(&output).contains("the Go package is `lib` and not `main`"), "{}", text(&output));
}

#[test]
fn node_with_dependencies() {
    if !has("npm") {
        return;
    }
    let registry = Registry::start();
    let cache = tempfile::tempdir().unwrap();
    let package = r#"{"name":"f","version":"1.0.0","dependencies":{"ms":"2.1.3"}}"#;
    let mut digests = Vec::new();
    for name in ["a", "b"] {
        let mut workspace = Workspace::with(&[
            ("index.js", "exports.handler = async (event) => require('ms')(event.time);\n"),
            ("package.json", package),
        ]);
        workspace.cache = Some(cache.path().to_owned());
        workspace.build("node", &[]);
        let image = registry.image(&format!("default/{name}"));
        let (config, root) = workspace.image(&registry, &image);
        assert_eq!(config.config.env("_HANDLER"), Some("index.handler"));
        assert!(config.config.env("NODE_PATH").unwrap().ends_with(":/var/runtime:/var/task"));
        assert!(root.join("var/task/node_modules/ms/index.js").exists());
        digests.push(registry.read(&image).0);
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn node_with_a_build_script() {
    if !has("npm") {
        return;
    }
    let package = r#"{"name":"f","version":"1.0.0","scripts":{"build":"node build.js"},
        "dependencies":{"ms":"2.1.3"},"devDependencies":{"is-number":"7.0.0"}}"#;
    let build = "require('is-number'); require('fs').mkdirSync('dist');
        require('fs').writeFileSync('dist/index.js', 'exports.handler = async () => 1;');";
    let workspace = Workspace::with(&[("build.js", build), ("package.json", package)]);
    workspace.build("node", &[("HANDLER", "dist/index.handler")]);
    let modules = workspace.path("out/layers/dependencies/var/task/node_modules");
    assert!(modules.join("ms").exists() && !modules.join("is-number").exists());
    assert!(workspace.path("out/layers/code/var/task/dist/index.js").exists());
}

#[test]
fn node_mistakes_are_explained() {
    if !has("npm") {
        return;
    }
    for (files, env, want) in [
        (vec![("index.ts", "export const handler = 1")], vec![], "needs a `build` script"),
        (
            vec![("index.js", "exports.handler = 1")],
            vec![("HANDLER", "app.handler")],
            "needs app.js, app.mjs or app.cjs",
        ),
        (vec![("package.json", "{")], vec![], "package.json is not valid JSON"),
    ] {
        let output = Workspace::with(&files).lang("node", "build", &env);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(want), "{}", text(&output));
    }
    let failing = r#"{"name":"f","version":"1.0.0","scripts":{"build":"exit 9"}}"#;
    let output = Workspace::with(&[("package.json", failing)]).lang("node", "build", &[]);
    assert_eq!(output.status.code(), Some(9), "{}", text(&output));
}

/// A step's pod is ended by SIGTERM to us; what the tools started must not outlive that.
#[test]
fn everything_ends_with_the_step() {
    if !has("npm") {
        return;
    }
    let package = r#"{"name":"f","version":"1.0.0","scripts":{"build":"sleep 300 & echo $! > pid; wait"}}"#;
    let workspace = Workspace::with(&[("package.json", package)]);
    let mut step = binary(&["lang", "node", "build", "--workspace"])
        .arg(workspace.path(""))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let file = workspace.path("src/pid");
    let sleeper = wait_for(|| fs::read_to_string(&file).ok()?.trim().parse::<i32>().ok());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(step.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(step.wait().unwrap().code(), Some(143));
    wait_for(|| nix::sys::signal::kill(nix::unistd::Pid::from_raw(sleeper), None).err());
}

fn wait_for<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(value) = ready() {
            return value;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("it did not happen within 20 s");
}

#[test]
fn custom_programs() {
    let workspace = Workspace::with(&[("bootstrap", "#!/bin/sh\necho hi\n"), ("data.txt", "x")]);
    let output = workspace.lang("custom", "build", &[]);
    assert!(output.status.success() && text(&output).contains("was not executable"), "{}", text(&output));
    use std::os::unix::fs::PermissionsExt;
    let bootstrap = workspace.path("out/layers/code/var/task/bootstrap");
    assert_eq!(fs::metadata(bootstrap).unwrap().permissions().mode() & 0o777, 0o755);

    let single = Workspace::with(&[("notes.txt", "x")]);
    fs::copy(std::env::current_exe().unwrap(), single.path("src/my-function")).unwrap();
    let output = single.lang("custom", "build", &[]);
    assert!(text(&output).contains("`my-function` becomes `bootstrap`"), "{}", text(&output));
    assert!(!single.path("out/layers/code/var/task/my-function").exists());

    let none = Workspace::with(&[("main.py", "x")]).lang("custom", "build", &[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none).contains("there is no `bootstrap`") && text(&none).contains("hint:"));
}

#[test]
fn extensions_come_to_opt() {
    use std::os::unix::fs::PermissionsExt;
    let files =
        [("bootstrap", "#!/bin/sh\n"), ("extensions/agent", "#!/bin/sh\n"), ("extensions/lib/data", "x")];
    let workspace = Workspace::with(&files);
    let agent = workspace.path("src/extensions/agent");
    let there = |workspace: &Workspace| workspace.path("out/layers/code/opt/extensions/agent").exists();
    // Not executable: the folder is the function's own business.
    fs::set_permissions(&agent, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(workspace.lang("custom", "build", &[]).status.success());
    assert!(!there(&workspace));
    fs::set_permissions(&agent, PermissionsExt::from_mode(0o755)).unwrap();
    let output = workspace.lang("custom", "build", &[]);
    assert!(output.status.success() && text(&output).contains("/opt/extensions"), "{}", text(&output));
    assert!(there(&workspace));
    assert!(workspace.path("out/layers/code/opt/extensions/lib/data").exists());
    assert!(workspace.path("out/layers/code/var/task/extensions/agent").exists());
}
