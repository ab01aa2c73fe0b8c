//! The same image booted by hand: an ext4 file, and QEMU with the driver's own flags and its user network.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use sublet_machine::MachineSpec;

use crate::login::{Person, Times};

/// A QEMU that does not outlive us.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a machine and logs in.
pub(crate) fn boot(person: &Person, spec: &MachineSpec, flags: &[String]) -> Result<Times> {
    let folder = tempfile::tempdir()?;
    let begun = Instant::now();
    make_disk(&folder.path().join("disk.img"), spec.resources.disk.bytes())?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(flags).args(["-netdev", &format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22")]);
    qemu.args(["-device", "virtio-net-device,netdev=net"]).current_dir(folder.path());
    let console = File::create(folder.path().join("console"))?;
    qemu.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
    let _qemu = Qemu(qemu.spawn().context("cannot run qemu-system-x86_64")?);
    person.log_in(begun, &folder.path().join("guest.sock"), &["-p", &port.to_string()])
}

fn make_disk(path: &Path, bytes: u64) -> Result<()> {
    File::create(path)?.set_len(bytes)?;
    let mut format = Command::new("mkfs.ext4");
    format.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").args(["-q", "-F", "-m", "0", "-E"]);
    format.arg("lazy_itable_init=1,lazy_journal_init=1,nodiscard").arg(path);
    ensure!(format.status().context("cannot run mkfs.ext4")?.success(), "mkfs.ext4 failed");
    Ok(())
}
