//! The job's container by hand: the same image, mounted beforehand, and `runc run`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sublet_images::Artefacts;
use tempfile::TempDir;

use crate::network::succeed;

/// A folder that `runc` can run; its image is mounted as long as this lives.
pub(crate) struct Bundle {
    folder: TempDir,
    name: String,
}

impl Bundle {
    /// The image `cowsay` with `argv` as its process.
    pub(crate) fn make(argv: &[&str]) -> Result<Self> {
        let store = Artefacts::locate()?.store()?;
        let image = store.prepare(&store.resolve("cowsay")?.digest)?;
        let bundle = Self { folder: tempfile::tempdir()?, name: format!("sublet-bench-{}", std::process::id()) };
        let root = bundle.folder.path().join("rootfs");
        fs::create_dir(&root)?;
        succeed(Command::new("mount").args(["-t", "erofs", "-o", "loop,ro"]).arg(&image.rootfs).arg(&root))
            .context("cannot mount the image; this measurement needs root")?;
        succeed(Command::new("runc").arg("spec").current_dir(bundle.folder.path())).context("cannot run runc")?;
        let path = bundle.folder.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        config["process"]["args"] = serde_json::json!(argv);
        config["process"]["terminal"] = false.into();
        config["process"]["env"] = serde_json::json!(["PATH=/usr/games:/usr/bin:/bin", "LC_ALL=C.UTF-8"]);
        fs::write(&path, serde_json::to_vec(&config)?)?;
        Ok(bundle)
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Result<Duration> {
        let begun = Instant::now();
        let mut runc = Command::new("runc");
        runc.args(["run", &self.name]).current_dir(self.folder.path()).stdin(Stdio::null());
        succeed(&mut runc)?;
        Ok(begun.elapsed())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Nothing is mounted if making it failed early.
        let _ = Command::new("umount").arg(self.folder.path().join("rootfs")).stderr(Stdio::null()).status();
    }
}
