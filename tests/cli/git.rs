//! Sources from git: passwords in URLs are seen by nobody but the server.

mod server;

use anyhow::{Context, Result, ensure};
use tm_testkit::{
    machine::{Machine, Ran},
    tools,
};

use crate::target::target;

/// A repository `repo.git` with one commit, in a folder of the machine.
async fn repository(machine: &Machine) -> Result<std::path::PathBuf> {
    let folder = machine.path().join("served/repo.git");
    fs_err::create_dir_all(&folder)?;
    fs_err::write(folder.join("main.py"), "def handler(event, context): return 1\n")?;
    for line in ["init -q -b main", "add .", "commit -q -m one"] {
        git(machine, line).await?;
    }
    Ok(folder)
}

/// Runs git in the repository; its output.
async fn git(machine: &Machine, line: &str) -> Result<String> {
    let folder = machine.path().join("served/repo.git").display().to_string();
    let fixed = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-C", &folder];
    Ok(machine.run_ok("git", fixed.into_iter().chain(line.split(' '))).await?.trim().to_owned())
}

/// What `tm deploy` would do with a source.
async fn deploy(machine: &Machine, from: &str, more: &[&str]) -> Ran {
    let fixed = ["deploy", "service", "a", "--dry", "-o", "json", "-d", "-f", from];
    machine.tm(fixed.iter().chain(more)).await
}

/// The tag of the image that would be built, which is a digest of the source.
fn tag(ran: &Ran) -> Result<String> {
    ensure!(ran.code == 0, "{ran:?}");
    let (_, rest) = ran.stdout.split_once("/a:").context("an image")?;
    Ok(rest.chars().take_while(char::is_ascii_alphanumeric).collect())
}

#[tokio::test]
async fn a_password_in_a_url_reaches_the_server_and_nobody_else() -> Result<()> {
    if tools::find("git").is_none() {
        return Ok(());
    }
    let (_target, machine) = target().await;
    // git writes the arguments of everything that it starts, and is, into that file.
    let trace = machine.path().join("trace");
    let machine = machine.with_env("GIT_TRACE", &trace.display().to_string());
    let folder = repository(&machine).await?;
    let server = server::serve(machine.path().join("served"), "me", "ge@heim").await;
    let host = server.address().to_string();
    fs_err::remove_file(&trace)?;

    let url = format!("http://me:ge%40heim@{host}/repo.git");
    let ran = deploy(&machine, &url, &[]).await;
    let from_folder = deploy(&machine, &folder.display().to_string(), &[]).await;
    ensure!(tag(&ran)? == tag(&from_folder)?, "the same files: {ran:?}");
    let trace = fs_err::read_to_string(&trace)?;
    ensure!(trace.contains("remote-http") && trace.contains("f get"), "git was traced: {trace}");
    let wrong = deploy(&machine, &format!("http://me:gewrong@{host}/repo.git"), &[]).await;
    ensure!(wrong.code == 1 && wrong.stderr.contains(&format!("`http://{host}/repo.git`")), "{wrong:?}");
    for (what, text) in [("git's arguments", trace), ("output", format!("{ran:?}{wrong:?}"))] {
        for secret in ["ge%40heim", "ge@heim", "gewrong", "me:"] {
            ensure!(!text.contains(secret), "{secret} in {what}: {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_token_in_the_place_of_the_user() -> Result<()> {
    if tools::find("git").is_none() {
        return Ok(());
    }
    let (_target, machine) = target().await;
    repository(&machine).await?;
    let server = server::serve(machine.path().join("served"), "t0ken", "").await;
    tag(&deploy(&machine, &format!("http://t0ken@{}/repo.git", server.address()), &[]).await)?;
    Ok(())
}

/// Commits another `main.py` with no branch at it; its id, and the tag of an image of it.
async fn next_commit(machine: &Machine, file: &str) -> Result<(String, String)> {
    let folder = machine.path().join("served/repo.git");
    fs_err::write(folder.join("main.py"), file)?;
    git(machine, "commit -q -a -m next").await?;
    let image = tag(&deploy(machine, &folder.display().to_string(), &[]).await)?;
    Ok((git(machine, "rev-parse HEAD").await?, image))
}

#[tokio::test]
async fn a_commit_by_its_id() -> Result<()> {
    if tools::find("git").is_none() {
        return Ok(());
    }
    let (_target, machine) = target().await;
    let machine = machine.with_env("LC_ALL", "C");
    let folder = repository(&machine).await?;
    let url = format!("file://{}", folder.display());
    let (old, old_image) = next_commit(&machine, "old = 1\n").await?;
    let (_, new_image) = next_commit(&machine, "new = 1\n").await?;
    ensure!(old_image != new_image, "two commits, two images");
    git(&machine, "checkout -q --detach").await?;
    let (stray, stray_image) = next_commit(&machine, "stray = 1\n").await?;
    git(&machine, "update-ref refs/pull/1/head HEAD").await?;
    git(&machine, "checkout -q main").await?;

    let at = async |revision: &str| deploy(&machine, &url, &["--revision", revision]).await;
    ensure!(tag(&at("main").await)? == new_image, "a branch");
    ensure!(tag(&at(&old).await)? == old_image, "a commit");
    ensure!(tag(&at(&old[..8]).await)? == old_image, "a short one");
    ensure!(tag(&at(&stray).await)? == stray_image, "one that no branch holds");
    ensure!(tag(&at("refs/pull/1/head").await)? == stray_image, "a ref by its whole name");
    for none in ["nothing", "0123456789012345678901234567890123456789"] {
        let ran = at(none).await;
        ensure!(ran.code == 1 && ran.stderr.contains(&format!("branch {none} not found")), "{ran:?}");
        ensure!(ran.stderr.contains("hint: check the URL, and the branch, tag or commit"), "{ran:?}");
    }

    // A server of old, which gives out nothing that no ref names.
    fs_err::write(machine.path().join("home/.gitconfig"), "[protocol]\n\tversion = 0\n")?;
    ensure!(tag(&at(&old).await)? == old_image, "a commit of such a server's branch");
    ensure!(at("0123456789012345678901234567890123456789").await.code == 1, "nothing is nothing");
    Ok(())
}

#[tokio::test]
async fn what_was_mistyped_is_shown_without_the_password() -> Result<()> {
    let (_target, machine) = target().await;
    let url = "u:geheim@127.0.0.1:1/a";
    let lines = [
        (format!("deploy service a -f htps://{url}"), "no such file or directory: `htps://127.0.0.1:1/a`"),
        (format!("deploy service a --from-image https://{url}"), "`https://127.0.0.1:1/a` is no image"),
        (format!("deploy service a --from-source=-https://{url}"), "is no git source"),
        (format!("deploy service a -f ssh://{url}"), "ssh takes no password from a URL"),
        (format!("deploy task -f http://{url}.yaml"), "download the Task `http://127.0.0.1:1/a.yaml`"),
        (format!("deploy task -f ftp://{url}.yaml"), "read the Task `ftp://127.0.0.1:1/a.yaml`"),
    ];
    for (line, words) in lines {
        let ran = machine.tm(line.split(' ')).await;
        ensure!(ran.code == 1 && ran.stderr.contains(words), "{line}: {ran:?}");
        ensure!(!format!("{ran:?}").contains("geheim"), "{line}: {ran:?}");
    }
    let machine = machine.with_env("TM_FROM", &format!("https://{url}"));
    let help = machine.tm(["deploy", "service", "--help"]).await;
    ensure!(help.stdout.contains("TM_FROM") && !help.stdout.contains("geheim"), "{help:?}");
    Ok(())
}
