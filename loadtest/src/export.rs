//! Runs `pitboss verify` and streams `pitboss ledger export` into the reconciliation; memory stays bounded however long
//! the ledger is.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{SyncSender, sync_channel},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::reconcile::Reconciler;

const BLOCK_BYTES: usize = 1 << 20;
/// Blocks read ahead of the reconciliation.
const BLOCKS_AHEAD_MAX: usize = 4;
/// A unit is some kilobytes; a longer line is no unit.
const LINE_BYTES_MAX: usize = 16 << 20;

/// What `pitboss verify` says.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    pub passed: bool,
    pub ledger_sum_zero: bool,
    pub output: String,
}

pub fn verify(binary: &Path, data: &Path) -> Result<Verified> {
    #[derive(Deserialize)]
    struct Said {
        ledger_sum_zero: bool,
    }
    let output = Command::new(binary).args(["verify", "--json", "--data"]).arg(data).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let said = output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next();
    // The object stands on the last line, or is the whole output when it is printed over several lines.
    let said = said.and_then(|line| serde_json::from_slice::<Said>(line).or_else(|_| serde_json::from_slice(&output.stdout)).ok());
    let ledger_sum_zero = said.is_some_and(|said| said.ledger_sum_zero);
    Ok(Verified { passed: output.status.success(), ledger_sum_zero, output: text.trim().to_owned() })
}

/// Feeds every exported unit to the reconciler.
pub fn export(binary: &Path, data: &Path, reconciler: &mut Reconciler) -> Result<()> {
    let mut command = Command::new(binary);
    command.args(["ledger", "export", "--data"]).arg(data).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("starting the export")?;
    let stdout = child.stdout.take().context("the export's output")?;
    let fed = feed(stdout, reconciler);
    if fed.is_err() {
        // A failed kill means that it has ended by itself.
        drop(child.kill());
    }
    let status = child.wait()?;
    fed?;
    ensure!(status.success(), "ledger export ended with {status}");
    Ok(())
}

/// Reads on a thread of its own while units are checked on this one.
fn feed(source: impl Read + Send + 'static, reconciler: &mut Reconciler) -> Result<()> {
    let (sender, blocks) = sync_channel::<Vec<u8>>(BLOCKS_AHEAD_MAX);
    let reader = std::thread::spawn(move || read_blocks(source, &sender));
    let mut checked = Ok(());
    for block in blocks {
        let mut lines = block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        checked = lines.try_for_each(|line| reconciler.take(line));
        if checked.is_err() {
            break;
        }
    }
    checked?;
    reader.join().map_err(|_| anyhow::anyhow!("the reader of the export failed"))?
}

/// Sends blocks of whole lines.
fn read_blocks(mut source: impl Read, sender: &SyncSender<Vec<u8>>) -> Result<()> {
    let mut block = Vec::with_capacity(BLOCK_BYTES * 2);
    loop {
        let read = source.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        let whole = if read == 0 { block.len() } else { block.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
        ensure!(block.len() - whole <= LINE_BYTES_MAX, "a line of the export is longer than {LINE_BYTES_MAX} bytes");
        if whole > 0 {
            let rest = block.split_off(whole);
            // A closed channel means that the reconciliation has failed and says why.
            if sender.send(std::mem::replace(&mut block, rest)).is_err() {
                return Ok(());
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_whole_lines_and_lose_nothing() {
        let line = |i: usize| format!("{i}:{}\n", "x".repeat(i % 3_000));
        let text: String = (0..2_000).map(line).chain(["the last line has no end".to_owned()]).collect();
        let (sender, blocks) = sync_channel(BLOCKS_AHEAD_MAX);
        let source = std::io::Cursor::new(text.clone().into_bytes());
        let reader = std::thread::spawn(move || read_blocks(source, &sender));
        let blocks: Vec<_> = blocks.iter().collect();
        reader.join().unwrap().unwrap();
        assert!(blocks.len() > 2);
        assert!(blocks[..blocks.len() - 1].iter().all(|block| block.ends_with(b"\n")));
        assert_eq!(blocks.concat(), text.as_bytes());
    }
}
