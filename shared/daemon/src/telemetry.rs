//! Logging: one subscriber a process, to standard error, for people or for machines.
//!
//! **Levels.** `error`: somebody must act. `warn`: it was handled, but look when it repeats. `info`: one line for each
//! change of state of an agreement, a machine or a service. `debug`: each request. `trace`: each message.
//! **Spans** are opened where a task is spawned and carry short ids as fields, never secrets:
//! `info_span!("lease", id = %lease)`, `info_span!("machine", id = %machine)`, `info_span!("peer", key = ?peer_key)`.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One readable line an event, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, in the syntax of `tracing`: `info`, `warn,sublet_provider=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            filter: "info,iroh=warn,iroh_relay=warn,noq=warn,noq_proto=warn,sqlx=warn".into(),
        }
    }
}

/// Why logging did not start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("`{filter}` is not a log filter; write for example `info` or `warn,sublet_provider=debug`")]
    Filter {
        /// As configured.
        filter: String,
        /// Where it stops making sense.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process logs already.
    #[error("logging was started twice")]
    Twice,
}

/// Starts logging to standard error for the whole process.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    let ansi = std::io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(config, ansi, std::io::stderr)?)
        .map_err(|_| TelemetryError::Twice)
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber<W>(config: &LogConfig, ansi: bool, writer: W) -> Result<Subscriber, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|source| TelemetryError::Filter { filter: config.filter.clone(), source })?;
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match config.format {
        LogFormat::Human => Box::new(base.with_ansi(ansi).with_target(false).compact().finish()),
        LogFormat::Json => Box::new(base.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_carry_fields_and_respect_the_filter() {
        let buffer = Buffer::default();
        let config = LogConfig { format: LogFormat::Json, filter: "info".into() };
        let sink = buffer.clone();
        let subscriber = subscriber(&config, false, move || sink.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("unheard");
            tracing::info_span!("lease", id = 7).in_scope(|| tracing::info!(cost = 3, "settled"));
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&line["message"], &line["cost"], &line["span"]["id"]), (&"settled".into(), &3.into(), &7.into()));
    }

    #[test]
    fn a_bad_filter_is_refused() {
        let config = LogConfig { filter: "info,=,=".into(), ..LogConfig::default() };
        assert!(matches!(subscriber(&config, false, std::io::sink), Err(TelemetryError::Filter { .. })));
    }
}
