//! What a command says: tables and sentences for people, JSON for programs, progress and colour only on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Where answers go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// JSON, or text for people.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads the answer.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// The command's answer: `value` for programs, `text` for people.
    pub(crate) fn answer<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        let answer = if self.json { serde_json::to_string_pretty(value)? } else { text() };
        line(&answer)
    }

    /// A sentence for people only; silent for programs.
    pub(crate) fn say(self, sentence: impl AsRef<str>) -> Result<()> {
        if self.json { Ok(()) } else { line(sentence.as_ref()) }
    }

    /// Progress of something that takes a while; on standard error, so that answers can be piped.
    pub(crate) fn progress(self, what: impl Into<String>) -> Progress {
        Progress::new(what.into(), self.json)
    }
}

fn line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // Whoever read us has seen enough (`sublet market | head -1`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints an error with its causes and the next step, on standard error.
pub(crate) fn fail(error: &anyhow::Error) {
    let report = sublet_daemon::report(error.as_ref());
    let start = if colours() { "\x1b[31merror:\x1b[0m" } else { "error:" };
    let _ = writeln!(std::io::stderr(), "{start} {report}");
}

fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A table with these column titles.
pub(crate) fn table<const N: usize>(titles: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(titles);
    table
}

/// A spinner on a terminal, one line a step elsewhere, nothing for programs.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// The last line printed, where lines are.
    plain: Option<Mutex<String>>,
}

impl Progress {
    fn new(what: String, json: bool) -> Self {
        if json {
            return Self { bar: None, plain: None };
        }
        if !std::io::stderr().is_terminal() {
            let progress = Self { bar: None, plain: Some(Mutex::default()) };
            progress.step(what);
            return progress;
        }
        let bar = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar: Some(bar), plain: None }
    }

    /// What is happening now.
    pub(crate) fn step(&self, what: impl Into<String>) {
        let what = what.into();
        match (&self.bar, &self.plain) {
            (Some(bar), _) => bar.set_message(what),
            (None, Some(last)) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if *last != what {
                    let _ = writeln!(std::io::stderr(), "… {what}");
                    *last = what;
                }
            }
            (None, None) => {}
        }
    }

    /// Ends it; the line disappears from a terminal.
    pub(crate) fn done(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Adds what to do next to an error.
pub(crate) trait Advise<T> {
    /// `next`: a sentence or a command.
    fn advise(self, next: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn advise(self, next: impl FnOnce() -> String) -> Result<T> {
        let boxed = self.map_err(|error| error.into().into_boxed_dyn_error());
        Ok(sublet_daemon::NextStep::next_step(boxed, next)?)
    }
}

/// Fails with the words `why`, and advises `next`: a sentence or a command.
pub(crate) fn refuse<T>(why: impl Into<String>, next: impl Into<String>) -> Result<T> {
    Err(anyhow!(why.into())).advise(|| next.into())
}
