//! The only place that writes to the terminal. Data goes to stdout, everything else to stderr; a closed pipe is no error.
//!
//! Colour follows `NO_COLOR` and whether stderr is a terminal (anstream). Progress is a spinner on a terminal; elsewhere a line
//! per step, and an indented one whenever what it waits for changes.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
    sync::Mutex,
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
    /// What it was last said to wait for.
    state: Mutex<String>,
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
            return Step::new(None, title);
        }
        let bar = ProgressBar::new_spinner().with_message(title.clone());
        // One line, however long the text is.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step::new(Some(bar), title)
    }

    /// Begins a step that moves `total` bytes.
    pub(crate) fn transfer(&self, title: impl Into<String>, total: u64) -> Step {
        let title = title.into();
        if !self.terminal || self.debug {
            self.note(&format!("{title} ({})", indicatif::HumanBytes(total)));
            return Step::new(None, title);
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {bytes}/{total_bytes} {wide_bar}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style).with_message(title.clone());
        bar.set_draw_target(ProgressDrawTarget::stderr());
        Step::new(Some(bar), title)
    }

    /// A log that is shown only if it is needed.
    pub(crate) fn collapsed_log(&self) -> CollapsedLog {
        CollapsedLog { printer: self.clone(), lines: VecDeque::new(), dropped: 0 }
    }
}

// === impl Step ===

impl Step {
    fn new(bar: Option<ProgressBar>, title: String) -> Self {
        Self { bar, title, state: Mutex::default() }
    }

    /// What it waits for now.
    pub(crate) fn state(&self, state: &str) {
        let line = state.lines().next().unwrap_or_default();
        {
            let mut last = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *last == line {
                return;
            }
            line.clone_into(&mut last);
        }
        match &self.bar {
            Some(_) => self.show(line),
            None if line.is_empty() => {}
            None => drop(writeln!(anstream::stderr(), "  {line}")),
        }
    }

    /// A line of the log of what it waits for, for those who watch: on a terminal only, until the next one.
    pub(crate) fn log(&self, line: &str) {
        self.show(line);
    }

    fn show(&self, line: &str) {
        if let Some(bar) = &self.bar {
            // Programs colour and redraw; that would be done in the middle of a line here.
            let line: String = line.chars().filter(|letter| !letter.is_control()).collect();
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
