//! `sublet doctor` on a computer without `/dev/kvm`: it says so, and that machines are emulated, having booted one.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sublet_e2e::devices::without;
use sublet_e2e::sublet::Sublet;

#[test]
fn without_kvm_machines_are_emulated_and_doctor_says_why() -> Result<()> {
    let Some(_devices) = without(&["kvm"])? else { return Ok(()) };
    let report = Sublet::new()?.json(&["doctor"])?;
    ensure!(report["ready"] == true, "{report:#}");
    let findings = report["findings"].as_array().context("no findings")?;
    let kvm = find(findings, |finding| finding["what"] == "/dev/kvm")?;
    ensure!(kvm["state"] == "note" && text(kvm).contains("not there"), "{kvm}");
    ensure!(kvm["remedy"].is_string(), "no remedy: {kvm}");
    let qemu = find(findings, |finding| finding["what"] == "driver" && text(finding).starts_with("qemu"))?;
    ensure!(qemu["state"] == "good", "{qemu}");
    ensure!(text(qemu).contains("emulated") && text(qemu).contains("there is no /dev/kvm"), "{qemu}");
    Ok(())
}

fn find(findings: &[Value], wanted: impl Fn(&&Value) -> bool) -> Result<&Value> {
    findings.iter().find(wanted).with_context(|| format!("not found in {findings:#?}"))
}

fn text(finding: &Value) -> &str {
    finding["detail"].as_str().unwrap_or_default()
}
