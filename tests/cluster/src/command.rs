//! Programs that run to their end: with a deadline, their output kept, their failure told with the end of what they said.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{io::AsyncWriteExt as _, process::Command};

/// Longest time of a command that only changes something small.
pub(crate) const SHORT: Duration = Duration::from_secs(60);
const TAIL: usize = 2000;

/// One command.
pub(crate) struct Program {
    command: Command,
    name: String,
    input: Vec<u8>,
    limit: Duration,
}

// === impl Program ===

impl Program {
    /// `program` with no arguments yet.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let name = Path::new(program.as_ref())
            .file_name()
            .unwrap_or(program.as_ref())
            .to_string_lossy()
            .into_owned();
        Self { command: Command::new(program), name, input: Vec::new(), limit: SHORT }
    }

    /// `program` inside the network namespace.
    pub(crate) fn inside(namespace: &Path, program: impl AsRef<OsStr>) -> Self {
        let mut inside = Self::new("nsenter").arg(format!("--net={}", namespace.display())).arg("--");
        inside.name = program.as_ref().to_string_lossy().into_owned();
        inside.arg(program)
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it reads.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it and returns what it wrote to stdout.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes longer than its limit; with the end of its stderr.
    pub(crate) async fn run(self) -> Result<Vec<u8>> {
        let name = self.name.clone();
        let output = self.output().await?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        bail!("`{name}` ended with {}: {}", output.status, tail(said))
    }

    /// As [`Program::run`], as text without the end of line.
    pub(crate) async fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.run().await?).trim_end().to_owned())
    }

    /// Runs it, whatever its end.
    pub(crate) async fn output(mut self) -> Result<Output> {
        let (name, limit) = (self.name, self.limit);
        let stdin = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = self.command.spawn().with_context(|| format!("failed to start `{name}`"))?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // One that ends early says why itself.
                drop(stdin.write_all(&self.input).await);
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(limit, both)
            .await
            .with_context(|| format!("`{name}` took longer than {} s", limit.as_secs()))?;
        output.with_context(|| format!("failed to read from `{name}`"))
    }
}

/// The end of a text, whole lines.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let Some((from, _)) = text.char_indices().rev().nth(TAIL) else { return text.to_owned() };
    let from = text[from..].find('\n').map_or(from, |line| from + line + 1);
    format!("…\n{}", &text[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_carries_what_the_program_said() {
        let error = Program::new("sh").args(["-c", "echo why >&2; exit 3"]).run().await.unwrap_err();
        assert_eq!(error.to_string(), "`sh` ended with exit status: 3: why");
    }

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        assert_eq!(Program::new("cat").input("text\n").text().await.unwrap(), "text");
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_told_so() {
        let slow = Program::new("sleep").arg("600").limit(Duration::from_millis(50));
        assert!(slow.run().await.unwrap_err().to_string().contains("`sleep` took longer"));
    }

    #[test]
    fn a_long_text_is_cut_at_a_line() {
        let text: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        let end = tail(text.as_bytes());
        assert!(end.starts_with("…\nline ") && end.ends_with("line 999") && end.len() < 2 * TAIL, "{end}");
    }
}
