//! `cargo xtask layers`: dependencies between our packages point left only, and heavy stacks stay behind their adapter.
//!
//! ```text
//! domain ◀── shared ◀── adapters ◀── services ◀── apps          base ◀── market, machine ◀── matching
//! ```
//! What is in none of these folders (xtask, e2e, bench) may see everything, and nothing may depend on it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Folders from left to right.
const LAYERS: [&str; 5] = ["domain", "shared", "adapters", "services", "apps"];
/// Steps inside domain, from left to right.
const DOMAIN: [&[&str]; 3] = [&["sublet-base"], &["sublet-market", "sublet-machine"], &["sublet-matching"]];
/// Dependencies inside a layer that we decided to have: from, to.
const SIDEWAYS: [(&str, &str); 1] = [("sublet-client", "sublet-link")];
/// Stacks, and who may depend on them directly.
const FENCES: [(&str, &[&str]); 6] = [
    ("alloy", &["sublet-chain"]),
    ("iroh", &["sublet-link"]),
    ("iroh-relay", &["sublet-link"]),
    ("sqlx", &["sublet-store"]),
    ("libcontainer", &["sublet-drivers"]),
    ("oci-client", &["sublet-images"]),
];
/// What would make domain impure: IO, time, chance, threads of control.
const IMPURE: [&str; 12] = [
    "alloy",
    "iroh",
    "libc",
    "nix",
    "rand",
    "reqwest",
    "rusqlite",
    "sqlx",
    "tempfile",
    "tokio",
    "tonic",
    "tracing-subscriber",
];

/// One of our packages.
#[derive(Clone, Debug, Default)]
struct Package {
    name: String,
    /// First folder of its path.
    folder: String,
    /// Direct dependencies: name, and whether only its tests see it.
    dependencies: Vec<(String, bool)>,
}

/// Fails with every dependency that breaks a rule.
pub(crate) fn run(repository: &Path) -> Result<()> {
    let metadata = MetadataCommand::new().manifest_path(repository.join("Cargo.toml")).no_deps().exec()?;
    let packages = packages(&metadata)?;
    let broken = check(&packages);
    if !broken.is_empty() {
        bail!("{} dependencies break the layering rule:\n  {}", broken.len(), broken.join("\n  "));
    }
    eprintln!("layers: {} packages, no dependency points right", packages.len());
    Ok(())
}

fn packages(metadata: &Metadata) -> Result<Vec<Package>> {
    let package = |p: &cargo_metadata::Package| {
        let path = p.manifest_path.strip_prefix(&metadata.workspace_root).context("a package outside the workspace")?;
        let folder = path.iter().next().unwrap_or_default().to_owned();
        let dependencies =
            p.dependencies.iter().map(|d| (d.name.clone(), d.kind == DependencyKind::Development)).collect();
        Ok(Package { name: p.name.to_string(), folder, dependencies })
    };
    metadata.packages.iter().map(package).collect()
}

/// Sentences about what is wrong.
fn check(packages: &[Package]) -> Vec<String> {
    let folders: BTreeMap<&str, &str> = packages.iter().map(|p| (p.name.as_str(), p.folder.as_str())).collect();
    let mut broken = Vec::new();
    for package in packages {
        for (dependency, tests_only) in &package.dependencies {
            let reason = match folders.get(dependency.as_str()) {
                Some(folder) => between(package, dependency, folder),
                None if *tests_only => None,
                None => outside(package, dependency),
            };
            broken.extend(reason.map(|why| format!("{} -> {dependency}: {why}", package.name)));
        }
    }
    broken.sort();
    broken
}

/// Why one of our packages may not depend on another.
fn between(package: &Package, dependency: &str, folder: &str) -> Option<String> {
    let layer = |name: &str| LAYERS.iter().position(|l| *l == name);
    // What is in no layer is a tool, and may see everything.
    let from = layer(&package.folder)?;
    let Some(to) = layer(folder) else { return Some(format!("{folder} is no layer; only tools may see it")) };
    if to < from || SIDEWAYS.contains(&(&package.name, dependency)) {
        return None;
    }
    if to > from {
        return Some(format!("{} may not see {folder}", package.folder));
    }
    let step = |name: &str| DOMAIN.iter().position(|s| s.contains(&name));
    match (step(&package.name), step(dependency)) {
        (Some(from), Some(to)) if to < from => None,
        _ => Some(format!("both are in {folder}; sideways is not left")),
    }
}

/// Why one of our packages may not depend on something from outside.
fn outside(package: &Package, dependency: &str) -> Option<String> {
    if package.folder == "domain" && IMPURE.contains(&dependency) {
        return Some("domain is pure".into());
    }
    let (_, allowed) = FENCES.iter().find(|(stack, _)| *stack == dependency)?;
    let is_layer = LAYERS.contains(&package.folder.as_str());
    (is_layer && !allowed.contains(&package.name.as_str()))
        .then(|| format!("only {} may see it", allowed.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(path: &str, dependencies: &[&str]) -> Package {
        let (folder, name) = path.split_once('/').unwrap_or_default();
        let dependencies = dependencies.iter().map(|d| ((*d).to_owned(), false)).collect();
        Package { name: name.into(), folder: folder.into(), dependencies }
    }

    /// The packages every case starts from; they break nothing.
    fn sound() -> Vec<Package> {
        vec![
            package("domain/sublet-base", &["serde"]),
            package("domain/sublet-market", &["sublet-base"]),
            package("domain/sublet-machine", &["sublet-base"]),
            package("domain/sublet-matching", &["sublet-market", "sublet-base"]),
            package("shared/sublet-wire", &["sublet-market"]),
            package("adapters/sublet-store", &["sublet-base", "sqlx", "tokio"]),
            package("adapters/sublet-link", &["sublet-wire", "iroh"]),
            package("adapters/sublet-client", &["sublet-link"]),
            package("services/sublet-host", &["sublet-store", "sublet-wire"]),
            package("services/sublet-provider", &["sublet-client"]),
            package("apps/sublet", &["sublet-host", "sublet-provider"]),
            package("xtask/xtask", &["sublet-link", "sqlx"]),
        ]
    }

    #[test]
    fn this_repository_keeps_the_rule() {
        run(&crate::repository()).unwrap();
    }

    #[test]
    fn the_rule_can_fail() {
        assert_eq!(check(&sound()), Vec::<String>::new());
        let cases = [
            ("sublet-base", "sublet-market", "sideways"),
            ("sublet-market", "sublet-machine", "sideways"),
            ("sublet-market", "sublet-wire", "domain may not see shared"),
            ("sublet-wire", "sublet-store", "shared may not see adapters"),
            ("sublet-store", "sublet-link", "sideways"),
            ("sublet-link", "sublet-client", "sideways"),
            ("sublet-host", "sublet-provider", "sideways"),
            ("sublet-provider", "sublet-host", "sideways"),
            ("sublet-link", "sublet-host", "adapters may not see services"),
            ("sublet-host", "xtask", "is no layer"),
            ("sublet-client", "sqlx", "only sublet-store"),
            ("sublet-host", "iroh", "only sublet-link"),
            ("sublet", "alloy", "only sublet-chain"),
            ("sublet-base", "tokio", "pure"),
        ];
        for (from, to, expected) in cases {
            let mut packages = sound();
            let package = packages.iter_mut().find(|p| p.name == from).unwrap();
            package.dependencies.push((to.into(), false));
            let broken = check(&packages);
            assert_eq!(broken.len(), 1, "{from} -> {to} gave {broken:?}");
            assert!(broken[0].contains(expected), "{from} -> {to} gave {broken:?}");
        }
    }
}
