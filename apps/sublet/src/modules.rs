//! Modules by name: the ones built in, or a `module.toml` of one's own.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sublet_base::Digest;
use sublet_images::Artefacts;
use sublet_market::Module;

use crate::output::{Advise, refuse};

/// The modules in `modules/`.
const BUILT_IN: [&str; 1] = [include_str!("../../../modules/cowsay/module.toml")];

/// `cowsay`, `cowsay:1.0.0`, or the path of a module file (which holds a `/` or ends in `.toml`).
pub(crate) fn find(which: &str) -> Result<Module> {
    if which.contains('/') || which.ends_with(".toml") {
        let text = std::fs::read_to_string(Path::new(which))
            .with_context(|| format!("cannot read the module file {which}"))?;
        return Module::parse(&text).with_context(|| format!("{which} is no usable module"));
    }
    let modules = built_in()?;
    let known: Vec<_> = modules.iter().map(Module::title).collect();
    let (name, version) = which.split_once(':').map_or((which, None), |(name, version)| (name, Some(version)));
    let named: Vec<_> = modules.into_iter().filter(|module| module.name == name).collect();
    if named.is_empty() {
        return refuse(format!("there is no module `{name}`"), format!("known modules: {}", known.join(", ")));
    }
    let wanted = version.map(|v| v.strip_prefix('v').unwrap_or(v));
    let mut fitting: Vec<_> = named.into_iter().filter(|m| wanted.is_none_or(|v| m.version.to_string() == v)).collect();
    fitting.sort_by(|a, b| a.version.cmp(&b.version));
    match fitting.pop() {
        Some(module) => Ok(module),
        None => refuse(
            format!("module `{name}` has no version `{}`", version.unwrap_or_default()),
            format!("known modules: {}", known.join(", ")),
        ),
    }
}

fn built_in() -> Result<Vec<Module>> {
    BUILT_IN.iter().map(|text| Module::parse(text).context("a built-in module is damaged")).collect()
}

/// The digest of an image: pinned, or looked up by name among the images of this computer.
pub(crate) fn image_digest(name: &str, pinned: Option<Digest>) -> Result<Digest> {
    if let Some(digest) = pinned {
        return Ok(digest);
    }
    if let Some((_, digest)) = name.split_once('@') {
        return digest.parse().with_context(|| format!("`{name}` names no usable digest"));
    }
    let store = Artefacts::locate()?.store()?;
    match store.resolve(name) {
        Ok(image) => Ok(image.digest),
        Err(error) => {
            let known: Vec<_> = store.list().unwrap_or_default().into_iter().map(|image| image.name).collect();
            if known.is_empty() {
                return Err(error).advise(|| "build the images with `make images`".to_owned());
            }
            bail!("there is no image `{name}` here; there are {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_by_name_and_version() {
        assert_eq!(find("cowsay").unwrap().name, "cowsay");
        let error = format!("{:#}", find("cowsay:99.0.0").unwrap_err());
        assert!(error.contains("99.0.0"), "{error}");
        assert!(find("no-such").is_err());
        assert!(find("../../etc/passwd").is_err());
    }
}
