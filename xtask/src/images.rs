//! `cargo xtask images`: recipes into the image store and the kernel folder, skipping what is up to date.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sublet_images::{Artefacts, EPOCH, ImageStore, Recipe, extract_kernel};

/// The recipe that is no image of its own.
const KERNEL: &str = "kernel";
/// Name of the finished kernel's recipe fingerprint in its folder.
const STAMP: &str = "recipe";

/// What to build.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Recipes to build; all if none is named.
    names: Vec<String>,
    /// Build again even if nothing changed.
    #[arg(long)]
    force: bool,
    /// Build the named images twice, in folders of their own, and fail unless both have the same digest.
    #[arg(long)]
    twice: bool,
}

/// Builds what the options ask for.
pub(crate) fn run(repository: &Path, options: &Options) -> Result<()> {
    let recipes = recipes(&repository.join("images"), &options.names)?;
    if options.twice {
        return recipes.iter().try_for_each(check_deterministic);
    }
    let artefacts = Artefacts::locate()?;
    fs::create_dir_all(artefacts.root()).with_context(|| format!("cannot make {}", artefacts.root().display()))?;
    let store = artefacts.store()?;
    for recipe in &recipes {
        if recipe.name() == KERNEL {
            kernel(&artefacts, &store, recipe, options.force)?
        } else {
            image(&store, recipe, options.force)?
        }
    }
    Ok(())
}

fn recipes(folder: &Path, names: &[String]) -> Result<Vec<Recipe>> {
    let mut folders: Vec<_> =
        fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?.iter().map(fs::DirEntry::path).collect();
    folders.sort();
    let mut recipes = Vec::new();
    for folder in folders.iter().filter(|f| f.join("recipe.toml").is_file()) {
        recipes.push(Recipe::read(folder)?);
    }
    if let Some(unknown) = names.iter().find(|n| recipes.iter().all(|r| r.name() != **n)) {
        let known: Vec<_> = recipes.iter().map(Recipe::name).collect();
        bail!("there is no recipe {unknown:?}; there is {}", known.join(", "));
    }
    recipes.retain(|r| names.is_empty() || names.iter().any(|n| n == r.name()));
    Ok(recipes)
}

fn image(store: &ImageStore, recipe: &Recipe, force: bool) -> Result<()> {
    let fingerprint = recipe.fingerprint()?;
    let name = recipe.name();
    let is_fresh = !force && store.source_of(name)?.as_ref() == Some(&fingerprint);
    let (image, disk) = if is_fresh {
        let image = store.resolve(name)?;
        let disk = store.prepare(&image.digest)?;
        (image, disk)
    } else {
        progress(name, || {
            let image = import(store, recipe, &fingerprint)?;
            let disk = store.prepare(&image.digest)?;
            Ok((image, disk))
        })?
    };
    let size = fs::metadata(&disk.rootfs)?.len() >> 20;
    eprintln!("image {name}: {} ({size} MiB)", image.digest);
    Ok(())
}

fn import(store: &ImageStore, recipe: &Recipe, fingerprint: &str) -> Result<sublet_images::ImageRef> {
    let work = tempfile::tempdir()?;
    let tree = recipe.build(store, work.path())?;
    Ok(store.import_tree(recipe.name(), &tree, &recipe.config(), fingerprint, EPOCH)?)
}

fn kernel(artefacts: &Artefacts, store: &ImageStore, recipe: &Recipe, force: bool) -> Result<()> {
    let folder = artefacts.kernel();
    let stamp = folder.join(STAMP);
    let fingerprint = recipe.fingerprint()?;
    let fresh = fs::read_to_string(&stamp).is_ok_and(|s| s == fingerprint) && artefacts.vmlinuz().is_file();
    if force || !fresh {
        progress(KERNEL, || {
            let work = tempfile::tempdir()?;
            let tree = recipe.build(store, work.path())?;
            fs::create_dir_all(&folder)?;
            if stamp.exists() {
                fs::remove_file(&stamp)?;
            }
            extract_kernel(&tree, &folder)?;
            Ok(fs::write(&stamp, &fingerprint)?)
        })?;
    }
    eprintln!("kernel: {}", fs::read_to_string(folder.join("release"))?);
    Ok(())
}

fn check_deterministic(recipe: &Recipe) -> Result<()> {
    let build = || -> Result<_> {
        let folder = tempfile::tempdir()?;
        let store = ImageStore::open(folder.path())?;
        let built = import(&store, recipe, "")?;
        let disk = fs::read(store.prepare(&built.digest)?.rootfs)?;
        Ok((built.digest, disk, folder))
    };
    let (first, first_disk, _first_folder) = progress(recipe.name(), build)?;
    let (second, second_disk, _second_folder) = progress(recipe.name(), build)?;
    if first != second {
        bail!("{} differs from build to build: {first}, then {second}", recipe.name());
    }
    if first_disk != second_disk {
        bail!("the disk of {} differs from build to build", recipe.name());
    }
    eprintln!("image {}: twice {first}", recipe.name());
    Ok(())
}

/// Runs something long with a line that shows it is alive; on no terminal, says so once.
fn progress<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let bar = ProgressBar::new_spinner().with_message(format!("building {name} from Debian packages"));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    if bar.is_hidden() {
        eprintln!("building {name} …");
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    let result = work();
    bar.finish_and_clear();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_in_the_repository_can_be_read() {
        let recipes = recipes(&crate::repository().join("images"), &[]).unwrap();
        let names: Vec<_> = recipes.iter().map(Recipe::name).collect();
        assert_eq!(names, ["cowsay", "debian-12", "kernel"]);
    }

    #[test]
    fn an_unknown_recipe_is_an_error_that_says_which_there_are() {
        let error = recipes(&crate::repository().join("images"), &["debian-13".into()]).unwrap_err().to_string();
        assert!(error.contains("debian-13") && error.contains("debian-12"), "{error}");
    }

    #[test]
    fn any_change_to_a_recipe_changes_its_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = || Recipe::read(folder.path()).unwrap().fingerprint().unwrap();
        let recipe = |text: &str| fs::write(folder.path().join("recipe.toml"), text).unwrap();
        let text = "suite = \"bookworm\"\nvariant = \"extract\"\npackages = [\"hello\"]\n";
        recipe(text);
        let first = fingerprint();
        assert_eq!(fingerprint(), first);
        fs::create_dir(folder.path().join("rootfs")).unwrap();
        fs::write(folder.path().join("rootfs/x"), "1").unwrap();
        let second = fingerprint();
        fs::write(folder.path().join("rootfs/x"), "2").unwrap();
        assert!(first != second && second != fingerprint());
        recipe(&format!("{text}typo = 1\n"));
        assert!(Recipe::read(folder.path()).is_err());
    }
}
