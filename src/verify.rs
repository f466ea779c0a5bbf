//! `pitboss verify`: walks everything durable and says what does not add up.

use serde::Serialize;
use storage::{
    Ledger,
    projection::{ProjectionStore, journal::ComplianceJournal, verify::verify_projections},
    verify::{VerifyReport, verify_ledger},
};

use crate::{
    config::Config,
    stores::{self, Folder},
};

/// The whole verdict.
#[derive(Serialize)]
pub struct Verdict {
    pub ok: bool,
    /// Every book's balances add up to zero.
    pub ledger_sum_zero: bool,
    #[serde(flatten)]
    pub ledger: VerifyReport,
    pub projections: Vec<String>,
    pub compliance: Vec<String>,
}

/// Walks ledger, anchors, projections and compliance journal of a data folder nobody has open.
pub async fn verify(folder: &Folder, config: &Config) -> anyhow::Result<Verdict> {
    anyhow::ensure!(folder.0.join("ledger.sqlite").exists(), "there is no ledger in {}", folder.0.display());
    let ledger = stores::ledger(folder, config).await?;
    let anchors = stores::anchors(folder)?.read_all()?;
    let report = verify_ledger(&ledger, &anchors).await?;
    let projections = if folder.projections().exists() {
        let store = stores::open_projections(&folder.projections()).await?;
        // A unit that cannot be read is named by the ledger's own walk; it must not hide the verdict.
        verify_projections(&ledger, store.reader().as_ref())
            .await
            .unwrap_or_else(|error| vec![format!("cannot be compared: {error}")])
    } else {
        Vec::new()
    };
    let compliance = if folder.compliance().exists() { ComplianceJournal::verify(&folder.compliance())? } else { Vec::new() };
    ledger.close().await;
    let ok = report.ok() && projections.is_empty() && compliance.is_empty();
    let ledger_sum_zero = report.sums.values().all(|sum| *sum == 0);
    Ok(Verdict { ok, ledger_sum_zero, ledger: report, projections, compliance })
}

impl Verdict {
    /// For people.
    pub fn print(&self) {
        let report = serde_json::to_value(&self.ledger).unwrap_or_default();
        for (name, value) in report.as_object().into_iter().flatten().filter(|(name, _)| *name != "violations") {
            println!("{name:<24} {value}");
        }
        let violations = report["violations"].as_array().cloned().unwrap_or_default();
        let ledger = violations.iter().map(|text| format!("ledger: {}", text.as_str().unwrap_or_default()));
        let projections = self.projections.iter().map(|text| format!("projections: {text}"));
        let compliance = self.compliance.iter().map(|text| format!("compliance: {text}"));
        ledger.chain(projections).chain(compliance).for_each(|line| println!("VIOLATION {line}"));
        println!("{}", if self.ok { "verified: everything adds up" } else { "NOT verified" });
    }
}
