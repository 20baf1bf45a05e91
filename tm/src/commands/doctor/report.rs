//! What the checks found: a line each on stdout as soon as it is known, or all of them as one object.

use anyhow::Result;
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::{
    cli::Output,
    commands::{Session, output::yaml},
    error::{chain, next_step},
    printer::Printer,
};

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// Deploying fails, or what was deployed does not answer.
    Failed,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// The findings so far.
pub(super) struct Report {
    findings: Vec<Finding>,
    output: Option<Output>,
    printer: Printer,
}

// === impl Report ===

impl Report {
    pub(super) fn new(session: &Session) -> Self {
        Self { findings: Vec::new(), output: session.global.output, printer: session.printer.clone() }
    }

    /// It is as it should be.
    pub(super) fn ok(&mut self, check: &'static str, message: &str) {
        self.add(check, State::Ok, message, None);
    }

    /// It works, and the user may want to know this.
    pub(super) fn note(&mut self, check: &'static str, message: &str, hint: &str) {
        self.add(check, State::Note, message, Some(hint.to_owned()));
    }

    /// It does not work.
    pub(super) fn failed(&mut self, check: &'static str, message: &str, hint: Option<String>) {
        self.add(check, State::Failed, message, hint);
    }

    /// The look could not be made, if it could not.
    pub(super) fn cannot(&mut self, check: &'static str, looked: Result<()>) {
        if let Err(error) = looked {
            self.failed(check, &chain(&error), next_step(&error));
        }
    }

    /// Whether nothing was found that keeps builds from running at all.
    pub(super) fn may_run_pods(&self) -> bool {
        let keeps = ["target", "API server", "namespace", "Tekton", "rights", "webhooks"];
        !keeps.iter().any(|check| self.has_failed(check))
    }

    /// Whether that check found something that does not work.
    pub(super) fn has_failed(&self, check: &str) -> bool {
        self.findings.iter().any(|found| found.state == State::Failed && found.check == check)
    }

    /// Prints what was not printed yet; the number of failures.
    pub(super) fn finish(self) -> Result<usize> {
        let failed = self.findings.iter().filter(|found| found.state == State::Failed).count();
        match self.output {
            Some(Output::Json) => self.printer.data(&serde_json::to_string_pretty(&self.findings)?),
            Some(Output::Yaml) => {
                self.printer.data(&yaml(&self.findings)?);
            }
            Some(Output::Name) | None => {}
        }
        Ok(failed)
    }

    fn add(&mut self, check: &'static str, state: State, message: &str, hint: Option<String>) {
        let finding = Finding { check, state, message: message.to_owned(), hint };
        match self.output {
            None => self.show(&finding),
            Some(Output::Name) if state == State::Failed => self.printer.data(check),
            Some(_) => {}
        }
        self.findings.push(finding);
    }

    fn show(&self, finding: &Finding) {
        let state = match finding.state {
            State::Ok => "ok    ".green().to_string(),
            State::Note => "note  ".yellow().to_string(),
            State::Failed => "FAILED".red().bold().to_string(),
        };
        self.printer.data(&format!("{state} {:<12} {}", finding.check, finding.message));
        if let Some(hint) = &finding.hint {
            self.printer.data(&format!("{:19} {} {hint}", "", "hint:".cyan()));
        }
    }
}
