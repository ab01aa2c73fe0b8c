//! Configuration: flags > environment > `sublet.toml` > defaults, with unknown fields refused.
//!
//! One file serves every program; each reads its own section. `[gateway]` with `listen = "…"` in the file is
//! `SUBLET_GATEWAY_LISTEN` in the environment; `__` goes one level down (`SUBLET_GATEWAY_LIMITS__CLIENTS`).
//! A program's struct derives `Deserialize` with `#[serde(default, deny_unknown_fields)]`; secrets are given by path.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

/// The file looked for in the working directory when none is named.
pub const DEFAULT_FILE: &str = "sublet.toml";

/// Every section the file may have; another name is taken for a slip of the pen.
pub const SECTIONS: [&str; 6] = ["log", "host", "provider", "solver", "mediator", "gateway"];

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file named on the command line is not there.
    #[error("there is no configuration file {}", .0.display())]
    Missing(PathBuf),
    /// The file could not be read or is not TOML.
    #[error("cannot read the configuration file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<figment::Error>,
    },
    /// The file has a section nobody reads.
    #[error("{} has a section [{section}] that does not exist; there are {}", path.display(), SECTIONS.join(", "))]
    UnknownSection {
        /// Which file.
        path: PathBuf,
        /// The section.
        section: String,
    },
    /// A value is missing, unknown or out of range.
    #[error("the configuration of `{section}` is not valid")]
    Invalid {
        /// Whose configuration.
        section: String,
        /// Which key, from where, and why.
        #[source]
        source: Box<figment::Error>,
    },
    /// The flags could not be turned into configuration.
    #[error("cannot use the command-line flags as configuration")]
    Flags(#[source] serde_json::Error),
}

/// Loads `section`. `file`: as named by the user, else [`DEFAULT_FILE`] if it exists. `flags`: a struct of `Option`s
/// with the field names of `T`; what is `None` is not set (pass `&()` for none).
///
/// # Errors
/// [`ConfigError`], naming the file, section and key.
pub fn load<T: DeserializeOwned>(section: &str, file: Option<&Path>, flags: &impl Serialize) -> Result<T, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let mut figment = Figment::new();
    if path.is_file() {
        check_sections(path)?;
        figment = figment.merge(Toml::file_exact(path));
    } else if file.is_some() {
        return Err(ConfigError::Missing(path.to_owned()));
    }
    let prefix = format!("SUBLET_{}_", section.to_ascii_uppercase());
    figment = figment.focus(section).merge(Env::prefixed(&prefix).split("__"));
    let mut flags = serde_json::to_value(flags).map_err(ConfigError::Flags)?;
    drop_nulls(&mut flags);
    if flags.is_object() {
        figment = figment.merge(Serialized::defaults(flags));
    }
    figment.extract().map_err(|source| ConfigError::Invalid { section: section.to_owned(), source: Box::new(source) })
}

fn check_sections(path: &Path) -> Result<(), ConfigError> {
    let unreadable = |source| ConfigError::File { path: path.to_owned(), source: Box::new(source) };
    let all: figment::value::Dict = Figment::from(Toml::file_exact(path)).extract().map_err(unreadable)?;
    match all.into_keys().find(|name| !SECTIONS.contains(&name.as_str())) {
        Some(section) => Err(ConfigError::UnknownSection { path: path.to_owned(), section }),
        None => Ok(()),
    }
}

/// A flag that was not given must not override the file.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Example {
        listen: String,
        clients: u32,
        limits: Limits,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Limits {
        streams: u32,
    }

    impl Default for Example {
        fn default() -> Self {
            Self { listen: "127.0.0.1:1".into(), clients: 7, limits: Limits::default() }
        }
    }

    #[derive(Serialize)]
    struct Flags {
        clients: Option<u32>,
        listen: Option<String>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn chain(error: ConfigError) -> String {
        crate::report(&error)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = file("[gateway]\nlisten = \"a\"\nclients = 1\n[gateway.limits]\nstreams = 3\n[solver]\nx = 1\n");
        let flags = Flags { clients: Some(2), listen: None };
        let got: Example = load("gateway", Some(file.path()), &flags).unwrap();
        assert_eq!(got, Example { listen: "a".into(), clients: 2, limits: Limits { streams: 3 } });
        let got: Example = load("gateway", Some(file.path()), &()).unwrap();
        assert_eq!(got.clients, 1);
    }

    #[test]
    #[allow(clippy::result_large_err, reason = "the signature is figment's")]
    fn the_environment_wins_over_the_file() {
        figment::Jail::expect_with(|jail| {
            jail.create_file(DEFAULT_FILE, "[host]\nclients = 1\n")?;
            jail.set_env("SUBLET_HOST_CLIENTS", "5");
            jail.set_env("SUBLET_HOST_LIMITS__STREAMS", "6");
            jail.set_env("SUBLET_UNRELATED", "x");
            let got: Example = load("host", None, &()).map_err(chain)?;
            assert_eq!((got.clients, got.limits.streams), (5, 6));
            Ok(())
        });
    }

    #[test]
    fn slips_of_the_pen_are_named() {
        let unknown = file("[gateway]\nlisen = \"a\"\n");
        let error = chain(load::<Example>("gateway", Some(unknown.path()), &()).unwrap_err());
        assert!(error.contains("lisen"), "{error}");
        let section = file("[gatway]\nlisten = \"a\"\n");
        let error = chain(load::<Example>("gateway", Some(section.path()), &()).unwrap_err());
        assert!(error.contains("[gatway]"), "{error}");
        let kind = file("[gateway]\nclients = \"many\"\n");
        let error = chain(load::<Example>("gateway", Some(kind.path()), &()).unwrap_err());
        assert!(error.contains("clients"), "{error}");
        assert!(matches!(
            load::<Example>("gateway", Some(Path::new("/nowhere.toml")), &()),
            Err(ConfigError::Missing(_))
        ));
        let broken = file("[gateway\n");
        assert!(matches!(load::<Example>("gateway", Some(broken.path()), &()), Err(ConfigError::File { .. })));
    }
}
