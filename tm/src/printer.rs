//! The only place that writes to the terminal. Data goes to stdout, everything else to stderr; a closed pipe is no error.
//!
//! Colour follows `NO_COLOR` and whether stderr is a terminal (anstream). Progress is a spinner on a terminal and a line
//! per step elsewhere.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::OwoColorize;

/// Lines of a build's log that are kept for the case of a failure.
const KEPT_LINES: usize = 2000;

/// Writes for people and programs.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    debug: bool,
    terminal: bool,
}

/// One running step, shown until it is finished or dropped.
pub(crate) struct Step {
    bar: Option<ProgressBar>,
    title: String,
}

/// A log that is shown only if it is needed.
pub(crate) struct CollapsedLog {
    printer: Printer,
    lines: VecDeque<String>,
    dropped: usize,
}

// === impl Printer ===

impl Printer {
    /// A printer for this process's streams.
    pub(crate) fn new(debug: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        Self { debug, terminal }
    }

    /// A line of data.
    pub(crate) fn data(&self, text: &str) {
        let _ = writeln!(anstream::stdout(), "{text}");
    }

    /// Bytes of data as they are (a log). `Break` when nobody reads any more: the command is done.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<ControlFlow<()>> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(error),
        }
    }

    /// A line for people.
    pub(crate) fn note(&self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    /// A line about what is done under the hood; with `--debug` only.
    pub(crate) fn debug(&self, text: &str) {
        if self.debug {
            let _ = writeln!(anstream::stderr(), "{} {text}", "debug:".dimmed());
        }
    }

    /// Something that is not as it should be, but does not stop the command.
    pub(crate) fn warning(&self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{} {text}", "warning:".yellow().bold());
    }

    /// Why the command failed.
    pub(crate) fn error(&self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{} {text}", "error:".red().bold());
    }

    /// What to do next.
    pub(crate) fn hint(&self, text: &str) {
        let _ = writeln!(anstream::stderr(), "{} {text}", "hint:".cyan().bold());
    }

    /// Begins a step.
    pub(crate) fn step(&self, title: impl Into<String>) -> Step {
        let title = title.into();
        if !self.terminal || self.debug {
            self.note(&title);
            return Step { bar: None, title };
        }
        let bar = ProgressBar::new_spinner().with_message(title.clone());
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { bar: Some(bar), title }
    }

    /// Begins a step that moves `total` bytes.
    pub(crate) fn transfer(&self, title: impl Into<String>, total: u64) -> Step {
        let title = title.into();
        if !self.terminal || self.debug {
            self.note(&format!("{title} ({})", indicatif::HumanBytes(total)));
            return Step { bar: None, title };
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {bytes}/{total_bytes} {wide_bar}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style).with_message(title.clone());
        bar.set_draw_target(ProgressDrawTarget::stderr());
        Step { bar: Some(bar), title }
    }

    /// A log that is shown only if it is needed.
    pub(crate) fn collapsed_log(&self) -> CollapsedLog {
        CollapsedLog { printer: self.clone(), lines: VecDeque::new(), dropped: 0 }
    }
}

// === impl Step ===

impl Step {
    /// What it waits for now.
    pub(crate) fn state(&self, state: &str) {
        if let Some(bar) = &self.bar {
            let line: String = state.lines().next().unwrap_or_default().chars().take(100).collect();
            let text = if line.is_empty() { self.title.clone() } else { format!("{}: {line}", self.title) };
            bar.set_message(text);
        }
    }

    /// Bytes moved so far.
    pub(crate) fn position(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// Ends the step; on a terminal its title stays as a line.
    pub(crate) fn done(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            let _ = writeln!(anstream::stderr(), "{}", self.title);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar
            && !bar.is_finished()
        {
            bar.finish_and_clear();
        }
    }
}

// === impl CollapsedLog ===

impl CollapsedLog {
    /// Takes a line; with `--debug` it is shown at once.
    pub(crate) fn push(&mut self, line: String) {
        if self.printer.debug {
            self.printer.note(&line);
            return;
        }
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }

    /// Whether nothing was kept (or everything was shown already).
    pub(crate) fn is_empty(&self) -> bool {
        !self.printer.debug && self.lines.is_empty()
    }

    /// Shows what was kept.
    pub(crate) fn reveal(&mut self) {
        if self.dropped > 0 {
            self.printer.note(&format!("({} lines left out)", self.dropped));
            self.dropped = 0;
        }
        for line in self.lines.drain(..) {
            self.printer.note(&line);
        }
    }
}
