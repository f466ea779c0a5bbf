//! Starfall, the published slot: five reels of three rows, ten lines, integers only.
//!
//! | rule | |
//! |---|---|
//! | a line | pays the longest run of one symbol from the left reel on, three or more, by [`PAYS`] |
//! | star | stands for every symbol; it is on the second, third and fourth reel only, so a run is never of stars alone |
//! | multiplier | a star in the centre of the grid doubles every win of the spin |
//! | win | stake ÷ [`LINES`] × sum of the lines' pays × multiplier |
//!
//! The draw is one stop per reel, left to right, each `stream.below(STOPS)`. The stated figures are exact; the tests
//! count every one of the 24⁵ combinations. This module never draws by itself and keeps no state.

use protocol::Amount;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fairness::{FairStream, FairnessRecord};

pub const REELS: usize = 5;
pub const ROWS: usize = 3;
/// Stops of every reel.
pub const STOPS: usize = 24;
/// Lines are always all played; a stake is a multiple of this many minor units.
pub const LINES: usize = 10;

/// The number of a symbol, an index into [`SYMBOLS`].
pub type Symbol = u8;

/// The wild symbol.
pub const STAR: Symbol = 0;

/// Names of the symbols in the order of their numbers.
pub const SYMBOLS: [&str; 9] = ["star", "comet", "planet", "moon", "rocket", "ruby", "emerald", "sapphire", "topaz"];

/// What three, four and five of a symbol pay, in multiples of the stake per line. The star pays as what it stands for.
pub const PAYS: [[u32; 3]; SYMBOLS.len()] = [
    [0, 0, 0],
    [50, 250, 2500],
    [25, 100, 600],
    [20, 75, 400],
    [15, 50, 250],
    [10, 30, 120],
    [6, 25, 80],
    [5, 20, 75],
    [5, 15, 60],
];

/// The row each line takes on each reel; 0 is the top.
pub const PAYLINES: [[u8; REELS]; LINES] = [
    [1, 1, 1, 1, 1],
    [0, 0, 0, 0, 0],
    [2, 2, 2, 2, 2],
    [0, 1, 2, 1, 0],
    [2, 1, 0, 1, 2],
    [0, 0, 1, 2, 2],
    [2, 2, 1, 0, 0],
    [1, 0, 0, 0, 1],
    [1, 2, 2, 2, 1],
    [1, 0, 1, 2, 1],
];

/// The reels, left to right. A stop shows its symbol in the top row and the two after it (around the end) below.
pub const STRIPS: [[Symbol; STOPS]; REELS] = [
    [5, 4, 7, 2, 6, 5, 3, 7, 2, 6, 4, 5, 8, 7, 1, 6, 8, 7, 5, 8, 6, 3, 4, 8],
    [3, 2, 6, 8, 3, 6, 7, 5, 6, 0, 2, 5, 8, 6, 4, 7, 8, 1, 7, 5, 0, 4, 7, 8],
    [7, 4, 8, 2, 5, 7, 3, 6, 0, 8, 6, 5, 8, 4, 7, 6, 4, 3, 8, 7, 1, 5, 0, 6],
    [7, 8, 6, 3, 5, 7, 0, 6, 2, 3, 1, 8, 4, 5, 6, 8, 0, 6, 7, 8, 5, 7, 2, 4],
    [7, 6, 8, 4, 3, 8, 7, 6, 5, 8, 6, 2, 5, 4, 1, 2, 5, 4, 7, 8, 3, 7, 6, 1],
];

/// What a star in the centre multiplies wins by.
const CENTRE_STAR_MULTIPLIER: u32 = 2;
/// Where the centre is.
const CENTRE: (usize, usize) = (2, 1);
/// Shortest run that pays.
const RUN_MIN: usize = 3;

/// What is published about the game.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Slot {
    pub id: &'static str,
    pub name: &'static str,
    pub lines: u32,
    /// Stakes offered, minor units; all are multiples of `lines`, so no win is ever below a minor unit.
    pub stake_steps: &'static [i64],
    /// Theoretical return of line wins, parts per million, rounded down. Jackpots are not part of it.
    pub rtp_ppm: u32,
    /// Share of spins that win anything, parts per million, rounded down.
    pub hit_rate_ppm: u32,
    /// The largest win, in tenths of the stake (that is, in line stakes).
    pub max_win_line_stakes: u32,
}

pub const STARFALL: Slot = Slot {
    id: "starfall",
    name: "Starfall",
    lines: LINES as u32,
    stake_steps: &[10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000],
    rtp_ppm: 957_508,
    hit_rate_ppm: 366_970,
    max_win_line_stakes: 5_320,
};

/// The same game played at the provider's (callbacks instead of hosted rounds).
pub const STARFALL_REMOTE_ID: &str = "starfall-remote";

/// One line that won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineWin {
    /// Index into [`PAYLINES`].
    pub line: u8,
    pub symbol: Symbol,
    /// Length of the run, 3 to 5.
    pub count: u8,
    /// Multiples of the stake per line, before the multiplier.
    pub pays: u32,
}

/// What one spin showed and won.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpinOutcome {
    pub win: Amount,
    pub stops: [u8; REELS],
    /// Reel by reel from the left, each from the top: `grid[reel][row]`.
    pub grid: [[Symbol; ROWS]; REELS],
    pub lines: Vec<LineWin>,
    pub multiplier: u32,
}

impl SpinOutcome {
    /// The win in multiples of the stake per line.
    pub fn line_stakes(&self) -> u32 {
        self.lines.iter().map(|line| line.pays).sum::<u32>() * self.multiplier
    }
}

/// Draws one stop per reel and tells what they pay.
pub fn spin(stake: Amount, random: &mut FairStream) -> SpinOutcome {
    let stops = std::array::from_fn(|_| random.below(STOPS as u32) as u8);
    outcome_at(stake, stops)
}

/// What given stops pay. A stop beyond the strip wraps around it.
pub fn outcome_at(stake: Amount, stops: [u8; REELS]) -> SpinOutcome {
    let grid: [[Symbol; ROWS]; REELS] =
        std::array::from_fn(|reel| std::array::from_fn(|row| STRIPS[reel][(usize::from(stops[reel]) + row) % STOPS]));
    let lines: Vec<LineWin> = (0..LINES).filter_map(|line| line_win(&grid, line)).collect();
    let multiplier = if grid[CENTRE.0][CENTRE.1] == STAR { CENTRE_STAR_MULTIPLIER } else { 1 };
    let mut outcome = SpinOutcome { win: Amount::ZERO, stops, grid, lines, multiplier };
    outcome.win = win_of(stake, outcome.line_stakes());
    outcome
}

/// The run of one line, if it pays. The left reel has no star, so its symbol is what the line is about.
fn line_win(grid: &[[Symbol; ROWS]; REELS], line: usize) -> Option<LineWin> {
    let rows = &PAYLINES[line];
    let symbol = grid[0][usize::from(rows[0])];
    let run = (0..REELS).take_while(|reel| matches!(grid[*reel][usize::from(rows[*reel])], s if s == symbol || s == STAR)).count();
    if run < RUN_MIN {
        return None;
    }
    Some(LineWin { line: line as u8, symbol, count: run as u8, pays: PAYS[usize::from(symbol)][run - RUN_MIN] })
}

/// Exact for stakes that are multiples of the lines; any other is rounded down, and a win beyond 64 bits is held there.
fn win_of(stake: Amount, line_stakes: u32) -> Amount {
    let win = i128::from(stake.0) * i128::from(line_stakes) / LINES as i128;
    Amount(i64::try_from(win).unwrap_or(i64::MAX))
}

/// Everything a page needs to show and explain the game.
pub fn paytable() -> Value {
    let symbols: Vec<Value> = SYMBOLS
        .iter()
        .zip(PAYS)
        .enumerate()
        .map(|(number, (name, pays))| {
            json!({ "symbol": number, "name": name, "wild": number == usize::from(STAR), "pays": { "3": pays[0], "4": pays[1], "5": pays[2] } })
        })
        .collect();
    json!({
        "id": STARFALL.id,
        "name": STARFALL.name,
        "reels": REELS,
        "rows": ROWS,
        "symbols": symbols,
        "strips": STRIPS,
        "paylines": PAYLINES,
        "stake_steps": STARFALL.stake_steps,
        "rtp_ppm": STARFALL.rtp_ppm,
        "hit_rate_ppm": STARFALL.hit_rate_ppm,
        "max_win_line_stakes": STARFALL.max_win_line_stakes,
        "line_fields": ["line", "symbol", "count", "pays"],
        "grid_order": "grid[reel][row], rows from the top",
        "rules": [
            "All ten lines are played; a line pays its longest run of one symbol from the left reel, three or more.",
            "Pays are multiples of the stake per line, which is a tenth of the stake.",
            "The star stands for every symbol. It is on the second, third and fourth reel.",
            "A star in the centre of the grid doubles every win of the spin.",
        ],
        "fairness": crate::fairness::ALGORITHM,
    })
}

/// The detail a round keeps for recall: small, because it is stored with the round.
///
/// `grid[reel][row]` holds symbol numbers; a line is `[line, symbol, count, pays]`.
pub fn detail_json(outcome: &SpinOutcome, fairness: &FairnessRecord<'_>) -> String {
    #[derive(Serialize)]
    struct Detail<'a> {
        grid: &'a [[Symbol; ROWS]; REELS],
        lines: Vec<(u8, Symbol, u8, u32)>,
        multiplier: u32,
        fairness: &'a FairnessRecord<'a>,
    }
    let lines = outcome.lines.iter().map(|line| (line.line, line.symbol, line.count, line.pays)).collect();
    let detail = Detail { grid: &outcome.grid, lines, multiplier: outcome.multiplier, fairness };
    // Plain data with string keys into memory: JSON has no failing case for it.
    serde_json::to_string(&detail).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fairness;
    use proptest::prelude::*;

    const COMBINATIONS: u128 = (STOPS as u128).pow(REELS as u32);

    /// Sum of wins in line stakes, number of winning combinations and the largest win over **all** 24⁵ combinations.
    ///
    /// A reel beyond the longest run changes nothing: its stops are counted without being visited. Everything else is
    /// evaluated by the game's own code.
    fn enumerate() -> (u128, u128, u32) {
        let (mut sum, mut hits, mut largest) = (0_u128, 0_u128, 0_u32);
        let all = STOPS as u128;
        let mut count = |outcome: &SpinOutcome, combinations: u128| {
            let won = outcome.line_stakes();
            sum += u128::from(won) * combinations;
            hits += u128::from(won > 0) * combinations;
            largest = largest.max(won);
        };
        let stops = 0..STOPS as u8;
        for (first, second, third) in triples(stops.clone()) {
            let outcome = outcome_at(Amount(10), [first, second, third, 0, 0]);
            if outcome.lines.is_empty() {
                count(&outcome, all * all);
                continue;
            }
            for fourth in stops.clone() {
                let outcome = outcome_at(Amount(10), [first, second, third, fourth, 0]);
                if outcome.lines.iter().all(|line| line.count == 3) {
                    count(&outcome, all);
                    continue;
                }
                stops.clone().for_each(|fifth| count(&outcome_at(Amount(10), [first, second, third, fourth, fifth]), 1));
            }
        }
        (sum, hits, largest)
    }

    fn triples(stops: std::ops::Range<u8>) -> impl Iterator<Item = (u8, u8, u8)> {
        let (second, third) = (stops.clone(), stops.clone());
        stops.flat_map(move |a| second.clone().map(move |b| (a, b))).flat_map(move |(a, b)| third.clone().map(move |c| (a, b, c)))
    }

    /// The same sum by counting symbols: for each line, each stop of the middle reel (which decides the multiplier) and
    /// each symbol, how many stops of the other reels continue the run. Shares no code with the evaluation.
    fn sum_by_counts() -> u128 {
        let mut sum = 0;
        for rows in PAYLINES {
            for middle in 0..STOPS {
                let multiplier = if STRIPS[2][(middle + 1) % STOPS] == STAR { 2 } else { 1 };
                let shown = STRIPS[2][(middle + usize::from(rows[2])) % STOPS];
                for symbol in 1..SYMBOLS.len() as u8 {
                    if shown != symbol && shown != STAR {
                        continue;
                    }
                    let all = STOPS as u128;
                    let matching = |reel: usize| STRIPS[reel].iter().filter(|s| **s == symbol || **s == STAR).count() as u128;
                    let start = matching(0) * matching(1);
                    let [three, four, five] = PAYS[usize::from(symbol)].map(u128::from);
                    let three = start * (all - matching(3)) * all * three;
                    let four = start * matching(3) * (all - matching(4)) * four;
                    let five = start * matching(3) * matching(4) * five;
                    sum += multiplier * (three + four + five);
                }
            }
        }
        sum
    }

    #[test]
    fn stated_figures_are_exact() {
        let (sum, hits, largest) = enumerate();
        assert_eq!(sum, sum_by_counts());
        assert_eq!(sum * 1_000_000 / (COMBINATIONS * LINES as u128), u128::from(STARFALL.rtp_ppm));
        assert_eq!(hits * 1_000_000 / COMBINATIONS, u128::from(STARFALL.hit_rate_ppm));
        assert_eq!(largest, STARFALL.max_win_line_stakes);
    }

    #[test]
    fn stars_are_on_the_middle_reels_only() {
        for (reel, strip) in STRIPS.iter().enumerate() {
            assert_eq!(strip.contains(&STAR), (1..=3).contains(&reel), "reel {reel}");
            assert!(strip.iter().all(|symbol| usize::from(*symbol) < SYMBOLS.len()));
        }
    }

    #[test]
    fn every_step_pays_whole_minor_units() {
        for step in STARFALL.stake_steps {
            assert_eq!(step % LINES as i64, 0, "step {step}");
        }
        assert!(STARFALL.stake_steps.is_sorted());
    }

    #[test]
    fn a_star_continues_a_run_and_doubles_in_the_centre() {
        let grid = [[5, 1, 7], [8, 0, 6], [7, 0, 6], [2, 3, 5], [7, 8, 6]];
        assert_eq!(line_win(&grid, 0), Some(LineWin { line: 0, symbol: 1, count: 3, pays: 50 }));
        assert_eq!(line_win(&grid, 1), None);
        // Reel 3 shows 6, 0, 8 at stop 7: the star is in the centre.
        let outcome = outcome_at(Amount(10), [0, 0, 7, 0, 0]);
        assert_eq!((outcome.grid[2], outcome.multiplier), ([6, STAR, 8], 2));
        assert_eq!(outcome_at(Amount(10), [0, 0, 8, 0, 0]).multiplier, 1);
    }

    proptest! {
        #[test]
        fn wins_scale_exactly_with_the_stake(stops: [u8; REELS], lines_stake in 0_i64..=1_000_000) {
            let outcome = outcome_at(Amount(lines_stake * LINES as i64), stops);
            prop_assert_eq!(outcome.win.0, lines_stake * i64::from(outcome.line_stakes()));
            prop_assert_eq!(outcome.win.0 % lines_stake.max(1), 0);
        }

        #[test]
        fn no_stake_overflows(stops: [u8; REELS], stake: i64) {
            prop_assert!(outcome_at(Amount(stake.saturating_abs()), stops).win.0 >= 0);
        }
    }

    #[test]
    fn a_known_round_can_be_checked_by_anyone() {
        let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
        let hash = fairness::seed_hash(&seed);
        assert_eq!(hash, "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd");
        let outcome = fairness::verify(&seed, "lucky", 67, Amount(100));
        assert_eq!((outcome.stops, outcome.win), ([15, 12, 21, 13, 23], Amount(800)));
        let detail = detail_json(&outcome, &FairnessRecord::new(&hash, "lucky", 67));
        let expected = concat!(
            r#"{"grid":[[6,8,7],[8,6,4],[5,0,6],[5,6,8],[1,7,6]],"lines":[[3,6,4,25],[9,8,4,15]],"multiplier":2,"#,
            r#""fairness":{"seed_hash":"630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd","client_seed":"lucky","nonce":67,"algorithm":"hmac-sha256/v1"}}"#
        );
        assert_eq!(detail, expected);
    }

    #[test]
    fn details_stay_small() {
        let hash = "0".repeat(64);
        let client_seed = "c".repeat(16);
        let record = FairnessRecord::new(&hash, &client_seed, 999_999);
        for stop in 0..STOPS as u8 {
            let outcome = outcome_at(Amount(10), [stop; REELS]);
            let detail = detail_json(&outcome, &record);
            assert!(detail.len() <= 250 + 12 * outcome.lines.len(), "{} bytes: {detail}", detail.len());
        }
    }
}
