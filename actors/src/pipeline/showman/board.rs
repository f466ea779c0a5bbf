//! One tenant's leaderboard of a day: total returned by settled rounds; a tie goes to whoever got there first.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    Amount, PlayerId,
    frame::{LeaderboardRow, LeaderboardView},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A board; its window is a UTC day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// Days since the epoch; an older board is empty.
    pub day: i64,
    scores: BTreeMap<PlayerId, Score>,
    /// The scores in order, derived.
    #[serde(skip)]
    ranking: BTreeSet<(std::cmp::Reverse<i64>, u64, PlayerId)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Score {
    returned: Amount,
    rounds: u64,
    /// Position of the event that made the score what it is.
    reached: u64,
}

impl Board {
    pub const NAME: &'static str = "day";

    pub fn new(day: i64) -> Self {
        Self { day, ..Self::default() }
    }

    /// Adds a settlement's return (negative when a win was reversed).
    pub fn add(&mut self, player: PlayerId, returned: Amount, rounds: u64, position: u64) {
        let score = self.scores.entry(player).or_default();
        self.ranking.remove(&(std::cmp::Reverse(score.returned.0), score.reached, player));
        score.rounds += rounds;
        if !returned.is_zero() {
            score.returned = Amount(score.returned.0.saturating_add(returned.0));
            score.reached = position;
        }
        self.ranking.insert((std::cmp::Reverse(score.returned.0), score.reached, player));
    }

    /// Restores what is derived, after reading a checkpoint.
    pub fn index(&mut self) {
        self.ranking = self.scores.iter().map(|(id, s)| (std::cmp::Reverse(s.returned.0), s.reached, *id)).collect();
    }

    pub fn top(&self, rows_max: usize) -> Vec<LeaderboardRow> {
        self.ranking
            .iter()
            .filter(|(std::cmp::Reverse(returned), _, _)| *returned > 0)
            .take(rows_max)
            .zip(1..)
            .map(|((_, _, player), rank)| {
                let score = self.scores.get(player).copied().unwrap_or_default();
                LeaderboardRow { rank, alias: alias(*player), score: score.returned, rounds: score.rounds }
            })
            .collect()
    }
}

/// What the public sees of a player: stable, and nothing leads back to the pseudonym.
pub fn alias(player: PlayerId) -> String {
    let digest = Sha256::digest(player.as_bytes());
    format!("player-{}", hex::encode(&digest[..4]))
}

/// Rows that are new or changed, and aliases that left; `None` when nothing changed.
pub fn delta(old: Option<&LeaderboardView>, rows: &[LeaderboardRow]) -> Option<(Vec<LeaderboardRow>, Vec<String>)> {
    let old = old.map_or(&[][..], |old| &old.rows);
    let changed: Vec<_> = rows.iter().filter(|row| !old.contains(row)).cloned().collect();
    let gone: Vec<_> =
        old.iter().filter(|row| rows.iter().all(|new| new.alias != row.alias)).map(|row| row.alias.clone()).collect();
    (!changed.is_empty() || !gone.is_empty()).then_some((changed, gone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn player(number: u128) -> PlayerId {
        PlayerId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_tie_goes_to_the_earliest_and_a_reversal_takes_the_place_back() {
        let mut board = Board::new(1);
        board.add(player(1), Amount(50), 1, 10);
        board.add(player(2), Amount(50), 1, 11);
        board.add(player(3), Amount(60), 1, 12);
        let names = |board: &Board| board.top(9).into_iter().map(|row| row.alias).collect::<Vec<_>>();
        assert_eq!(names(&board), [alias(player(3)), alias(player(1)), alias(player(2))]);
        board.add(player(3), Amount(-60), 0, 13);
        assert_eq!(names(&board), [alias(player(1)), alias(player(2))]);
    }

    #[test]
    fn a_checkpoint_restores_the_ranking() {
        let mut board = Board::new(1);
        board.add(player(1), Amount(5), 1, 1);
        board.add(player(2), Amount(9), 1, 2);
        let mut back: Board = serde_json::from_slice(&serde_json::to_vec(&board).unwrap()).unwrap();
        back.index();
        assert_eq!(back, board);
    }

    #[test]
    fn deltas_rebuild_the_board() {
        let mut board = Board::new(1);
        let mut seen: BTreeMap<String, LeaderboardRow> = BTreeMap::new();
        let mut old: Option<LeaderboardView> = None;
        for step in 0..50_u64 {
            board.add(player(u128::from(step * 7 % 11)), Amount((step as i64 * 13) % 29), 1, step);
            let rows = board.top(5);
            if let Some((changed, gone)) = delta(old.as_ref(), &rows) {
                gone.iter().for_each(|alias| drop(seen.remove(alias)));
                changed.into_iter().for_each(|row| drop(seen.insert(row.alias.clone(), row)));
            }
            let mut shown: Vec<_> = seen.values().cloned().collect();
            shown.sort_by_key(|row| row.rank);
            assert_eq!(shown, rows);
            old = Some(LeaderboardView { board: Board::NAME.to_owned(), sequence: step, rows });
        }
    }
}
