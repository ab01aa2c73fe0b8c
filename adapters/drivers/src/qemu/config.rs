//! QEMU's command line for a machine: everything the guest sees. Pure.
//!
//! `microvm` has neither firmware nor PCI: disks, channel and network are virtio-mmio devices the kernel finds through
//! ACPI. Disks are found by serial number, because that order means nothing. Paths are relative to QEMU's own folder.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sublet_base::{MiB, Vcpus};
use sublet_machine::Clock;
use sublet_wire::guest::{CLOCK_WORD, PORT_NAME};

/// QEMU's own folder in the machine's: what it opens and changes, and nothing that we rely on.
pub(super) const OWN: &str = "own";
/// Unix socket of the monitor, in QEMU's own folder.
pub(super) const MONITOR: &str = "qmp.sock";
/// Unix socket of the guest channel.
pub(super) const CHANNEL: &str = "guest.sock";
/// The writable disk.
pub(super) const DISK: &str = "disk.img";

/// Memory that translated code may take, MiB. QEMU's own default is a GiB, far over any machine's limit.
pub(super) const TRANSLATED_MIB: u32 = 128;

/// The time at which a machine with a fixed clock is, 2025-01-01T00:00:00Z: in seconds since 1970, and as QEMU takes it.
const FIXED_TIME: (i64, &str) = (1_735_689_600, "2025-01-01T00:00:00");

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Engine {
    /// The processor itself.
    Kvm,
    /// QEMU, translating them.
    Tcg {
        /// Speed of the host's time stamp counter, which the guest sees and cannot measure reliably when emulated.
        tsc_khz: u64,
    },
}

/// What to boot it with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boot<'a> {
    pub(super) engine: Engine,
    pub(super) kernel: &'a Path,
    pub(super) initrd: &'a Path,
    /// Words added to the kernel's command line.
    pub(super) words: &'a str,
    pub(super) clock: Clock,
}

/// A machine without disks or devices, as the boot probe runs it.
pub(super) fn base(boot: Boot<'_>, name: &str, vcpus: Vcpus, memory: MiB) -> Vec<String> {
    let mut words = format!("console=ttyS0 quiet panic=-1 {}", boot.words);
    let (accel, cpu) = match boot.engine {
        Engine::Kvm => ("kvm".to_owned(), "host"),
        Engine::Tcg { tsc_khz } => {
            words.push_str(&format!(" tsc_early_khz={tsc_khz}"));
            (format!("tcg,thread=multi,tb-size={TRANSLATED_MIB}"), "max")
        }
    };
    let mut args = Vec::new();
    let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
    if boot.clock == Clock::Fixed {
        // While it boots; our init sets it again when the workload begins, because no two boots take equally long.
        let (seconds, base) = FIXED_TIME;
        words.push_str(&format!(" {CLOCK_WORD}{seconds}"));
        add("-rtc", format!("base={base},clock=vm"));
    }
    add("-name", format!("guest=sublet-{name},debug-threads=on"));
    add("-machine", "microvm,rtc=on".into());
    add("-accel", accel);
    add("-cpu", cpu.into());
    add("-smp", vcpus.0.to_string());
    add("-m", format!("{}M", memory.0));
    add("-kernel", boot.kernel.display().to_string());
    add("-initrd", boot.initrd.display().to_string());
    add("-append", words.trim_end().replace("  ", " "));
    add("-display", "none".into());
    add("-chardev", "stdio,id=console,signal=off".into());
    add("-serial", "chardev:console".into());
    add("-qmp", format!("unix:{MONITOR},server=on,wait=off"));
    args.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(String::from));
    args
}

/// The disks and the channel of a real machine.
pub(super) fn devices(rootfs: &Path) -> Vec<String> {
    let mut args = Vec::new();
    let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
    add("-drive", format!("if=none,id=rootfs,format=raw,readonly=on,file={}", option(rootfs)));
    add("-device", "virtio-blk-device,drive=rootfs,serial=rootfs".into());
    // A full host must not stop the guest for ever: it gets the error.
    add(
        "-drive",
        format!("if=none,id=data,format=raw,discard=unmap,detect-zeroes=unmap,werror=report,rerror=report,file={DISK}"),
    );
    add("-device", "virtio-blk-device,drive=data,serial=data".into());
    add("-device", "virtio-serial-device".into());
    add("-chardev", format!("socket,id=guest,path={CHANNEL},server=on,wait=off"));
    add("-device", format!("virtserialport,chardev=guest,name={PORT_NAME}"));
    args
}

/// What a machine's network is for QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// A tap.
    Tap,
    /// A socket, each message a frame.
    Frames,
}

/// A network device on what is open as `descriptor`.
pub(super) fn network(backend: Backend, descriptor: i32) -> [String; 4] {
    let backend = match backend {
        Backend::Tap => format!("tap,id=net,fd={descriptor}"),
        Backend::Frames => format!("dgram,id=net,local.type=fd,local.str={descriptor}"),
    };
    ["-netdev".into(), backend, "-device".into(), "virtio-net-device,netdev=net".into()]
}

/// What the process gives up once its files are open. As root it also becomes a user that owns nothing, for which it
/// must be allowed to change users until then; that it cannot start programs makes up for it.
pub(super) fn confinement(user: Option<u32>) -> Vec<String> {
    let sandbox = "on,obsolete=deny,spawn=deny,resourcecontrol=deny";
    match user {
        None => vec!["-sandbox".into(), format!("{sandbox},elevateprivileges=deny")],
        Some(user) => vec!["-sandbox".into(), sandbox.into(), "-runas".into(), format!("{user}:{user}")],
    }
}

/// A path within a list of options, where a comma is written twice.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The time stamp counter's speed from `/proc/cpuinfo`. The kernel prints twice its MHz as `bogomips`; the line
/// `cpu MHz` is what the processor happens to run at.
pub(super) fn tsc_khz(cpuinfo: &str) -> Option<u64> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("bogomips")?.split_once(':'))?;
    let mhz = line.1.trim().parse::<f64>().ok()? / 2.0;
    (100.0..20_000.0).contains(&mhz).then(|| (mhz * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(engine: Engine) -> Vec<String> {
        boot_at(engine, Clock::Host)
    }

    fn boot_at(engine: Engine, clock: Clock) -> Vec<String> {
        let boot = Boot { engine, kernel: Path::new("/k"), initrd: Path::new("/i"), words: "", clock };
        base(boot, "m", Vcpus(2), MiB(512))
    }

    fn value<'a>(args: &'a [String], flag: &str) -> &'a str {
        let at = args.iter().position(|arg| arg == flag).expect("the flag is there");
        &args[at + 1]
    }

    #[test]
    fn only_an_emulated_guest_is_told_its_clock() {
        let emulated = boot(Engine::Tcg { tsc_khz: 2_300_000 });
        assert!(value(&emulated, "-append").ends_with("tsc_early_khz=2300000"));
        assert!(value(&emulated, "-accel").starts_with("tcg"));
        let real = boot(Engine::Kvm);
        assert!(!value(&real, "-append").contains("tsc"));
        assert_eq!((value(&real, "-accel"), value(&real, "-m"), value(&real, "-smp")), ("kvm", "512M", "2"));
    }

    #[test]
    fn a_fixed_clock_is_the_same_for_qemu_and_for_the_guest() {
        let fixed = boot_at(Engine::Kvm, Clock::Fixed);
        assert_eq!(value(&fixed, "-rtc"), "base=2025-01-01T00:00:00,clock=vm");
        assert!(value(&fixed, "-append").ends_with(" sublet.clock=1735689600"));
        assert!(!boot(Engine::Kvm).contains(&"-rtc".to_owned()));
    }

    #[test]
    fn a_path_cannot_add_options() {
        let args = devices(Path::new("/a,readonly=off"));
        assert!(value(&args, "-drive").ends_with("file=/a,,readonly=off"));
    }

    #[test]
    fn the_counter_runs_at_half_the_bogomips() {
        assert_eq!(tsc_khz("cpu MHz\t\t: 800.000\nbogomips\t: 4599.99\n"), Some(2_299_995));
        assert_eq!(tsc_khz("bogomips\t: nonsense\n"), None);
        assert_eq!(tsc_khz(""), None);
    }
}
