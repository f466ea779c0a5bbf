//! What the studio owes, on disk: append-only JSON lines, one whole round record a line, the last line of a round wins.
//!
//! | moment | what happens |
//! |---|---|
//! | append | the line is written and synced before the call it announces is sent |
//! | torn tail | a last line without its end is cut off: what it announced was never sent |
//! | open | the file is rewritten with the latest record of each round, oldest finished rounds dropped |
//!
//! A damaged line that is not the last is an error: guessing about money is worse than not starting.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use protocol::{Amount, Currency, ErrorCode, GameId, PlayerId, SessionId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::slot::{LineWin, REELS, ROWS, SpinOutcome, Symbol};

/// Finished rounds remembered for recall.
pub const FINISHED_ROUNDS_MAX: usize = 10_000;

const FILE_NAME: &str = "rounds.jsonl";
const REWRITE_NAME: &str = "rounds.jsonl.new";

/// Where a round stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// The bet is about to be sent, or was; found after a restart it is rolled back.
    Placing,
    /// The casino refused the bet; nothing is owed.
    Refused {
        code: ErrorCode,
    },
    /// The bet was taken; the win (zero included) must reach the casino.
    Paying {
        win_id: Uuid,
    },
    Paid {
        win_id: Uuid,
    },
    /// What became of the bet is not known; its rollback must reach the casino.
    RollingBack {
        rollback_id: Uuid,
    },
    RolledBack {
        rollback_id: Uuid,
    },
    /// The casino refused a win or a rollback for good: a case for people.
    Stuck {
        code: ErrorCode,
    },
}

impl Step {
    /// Whether something must still reach the casino.
    pub fn is_owed(self) -> bool {
        matches!(self, Self::Placing | Self::Paying { .. } | Self::RollingBack { .. })
    }
}

/// What the reels showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub win: Amount,
    pub stops: [u8; REELS],
    pub grid: [[Symbol; ROWS]; REELS],
    pub lines: Vec<LineWin>,
    pub multiplier: u32,
}

impl From<SpinOutcome> for Shown {
    fn from(outcome: SpinOutcome) -> Self {
        let SpinOutcome { win, stops, grid, lines, multiplier } = outcome;
        Self { win, stops, grid, lines, multiplier }
    }
}

/// One round: everything needed to settle it and to check its fairness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundRecord {
    pub round: Uuid,
    pub at_ms: i64,
    pub play_session: Uuid,
    pub player: PlayerId,
    pub session: SessionId,
    pub game: GameId,
    pub currency: Currency,
    pub stake: Amount,
    pub bet_id: Uuid,
    pub seed_index: u32,
    pub seed_hash: String,
    pub client_seed: String,
    pub nonce: u64,
    pub shown: Option<Shown>,
    #[serde(flatten)]
    pub step: Step,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the studio's journal: {0}")]
    Io(#[from] io::Error),
    #[error("the studio's journal is damaged at line {line}: {reason}")]
    Damaged { line: usize, reason: String },
    #[error("an earlier failure left the studio's journal unusable")]
    Broken,
}

/// The open file. Blocking: callers run it where blocking is allowed.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// Bytes of whole lines.
    len: u64,
    broken: bool,
}

/// What was read at opening, oldest first.
pub type Recovered = BTreeMap<Uuid, RoundRecord>;

impl Journal {
    /// Reads what is there, cuts a torn tail, and rewrites the file compactly.
    pub fn open(folder: &Path) -> Result<(Self, Recovered), JournalError> {
        fs::create_dir_all(folder)?;
        let path = folder.join(FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut rounds = fold(&bytes)?;
        drop_oldest_finished(&mut rounds);
        rewrite(folder, &path, &rounds)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok((Self { file, len, broken: false }, rounds))
    }

    /// Returns when the record is on disk.
    pub fn append(&mut self, record: &RoundRecord) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Broken);
        }
        let line = line_of(record)?;
        match self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.len += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A half-written line in the middle would make the whole file unreadable.
                self.broken = self.file.set_len(self.len).is_err();
                Err(error.into())
            }
        }
    }
}

/// Drops finished rounds beyond the bound, oldest first; what is owed stays whatever it is.
pub fn drop_oldest_finished(rounds: &mut Recovered) {
    let finished: Vec<Uuid> = rounds.values().filter(|record| !record.step.is_owed()).map(|record| record.round).collect();
    for round in finished.iter().take(finished.len().saturating_sub(FINISHED_ROUNDS_MAX)) {
        rounds.remove(round);
    }
}

fn fold(bytes: &[u8]) -> Result<Recovered, JournalError> {
    let mut rounds = Recovered::new();
    // What follows the last line feed was never finished.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    for (index, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let record: RoundRecord =
            serde_json::from_slice(line).map_err(|error| JournalError::Damaged { line: index + 1, reason: error.to_string() })?;
        rounds.insert(record.round, record);
    }
    Ok(rounds)
}

fn rewrite(folder: &Path, path: &PathBuf, rounds: &Recovered) -> Result<(), JournalError> {
    let fresh = folder.join(REWRITE_NAME);
    let mut bytes = Vec::new();
    for record in rounds.values() {
        bytes.extend(line_of(record)?);
    }
    let mut file = File::create(&fresh)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The new name itself must survive a power cut.
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn line_of(record: &RoundRecord) -> Result<Vec<u8>, JournalError> {
    let mut line = serde_json::to_vec(record).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u128, step: Step) -> RoundRecord {
        RoundRecord {
            round: Uuid::from_u128(number),
            at_ms: 1,
            play_session: Uuid::from_u128(2),
            player: PlayerId(Uuid::from_u128(3)),
            session: SessionId(Uuid::from_u128(4)),
            game: "starfall-remote".parse().unwrap(),
            currency: Currency::EUR,
            stake: Amount(100),
            bet_id: Uuid::from_u128(5),
            seed_index: 0,
            seed_hash: "00".to_owned(),
            client_seed: "c".to_owned(),
            nonce: 0,
            shown: None,
            step,
        }
    }

    fn append_all(folder: &Path, records: &[RoundRecord]) {
        let (mut journal, _) = Journal::open(folder).unwrap();
        for record in records {
            journal.append(record).unwrap();
        }
    }

    #[test]
    fn the_last_record_of_a_round_is_what_is_recovered() {
        let folder = tempfile::tempdir().unwrap();
        let win_id = Uuid::from_u128(9);
        let mut paying = record(1, Step::Paying { win_id });
        paying.shown = Some(crate::slot::outcome_at(Amount(100), [15, 12, 21, 13, 23]).into());
        append_all(folder.path(), &[record(1, Step::Placing), paying.clone(), record(2, Step::Placing)]);
        let (_, rounds) = Journal::open(folder.path()).unwrap();
        assert_eq!(rounds.into_values().collect::<Vec<_>>(), [paying, record(2, Step::Placing)]);
        let lines = fs::read_to_string(folder.path().join(FILE_NAME)).unwrap().lines().count();
        assert_eq!(lines, 2, "opening rewrites the file compactly");
    }

    #[test]
    fn a_tail_torn_at_any_byte_costs_only_the_torn_record() {
        let folder = tempfile::tempdir().unwrap();
        append_all(folder.path(), &[record(1, Step::Placing), record(2, Step::Placing)]);
        let path = folder.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, rounds) = Journal::open(folder.path()).unwrap();
            assert_eq!(rounds.len(), 1, "cut at {cut}");
            journal.append(&record(3, Step::Placing)).unwrap();
            let (_, rounds) = Journal::open(folder.path()).unwrap();
            assert_eq!(rounds.into_keys().collect::<Vec<_>>(), [Uuid::from_u128(1), Uuid::from_u128(3)], "cut at {cut}");
        }
    }

    #[test]
    fn damage_in_the_middle_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        append_all(folder.path(), &[record(1, Step::Placing), record(2, Step::Placing)]);
        let path = folder.path().join(FILE_NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] = b'x';
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(JournalError::Damaged { line: 1, .. })));
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is thrown away");
    }

    #[test]
    fn finished_rounds_are_bounded_and_debts_are_not_forgotten() {
        let mut rounds = Recovered::new();
        let owed = record(0, Step::Placing);
        rounds.insert(owed.round, owed.clone());
        for number in 1..=(FINISHED_ROUNDS_MAX as u128 + 5) {
            rounds.insert(Uuid::from_u128(number), record(number, Step::Refused { code: ErrorCode::LossLimit }));
        }
        drop_oldest_finished(&mut rounds);
        assert_eq!(rounds.len(), FINISHED_ROUNDS_MAX + 1);
        assert!(rounds.contains_key(&owed.round));
        assert!(!rounds.contains_key(&Uuid::from_u128(5)));
        assert!(rounds.contains_key(&Uuid::from_u128(6)));
    }
}
