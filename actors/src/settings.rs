//! The bounds of the tree, each with its unit last. The README prints them.

use std::time::Duration;

/// Named maxima and times of the actors.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Commands between edge and answer; over it: busy.
    pub commands_under_way_max: usize,
    /// Commands waiting behind a player's plan in flight.
    pub player_waiting_max: usize,
    /// Calls waiting behind a round's call in flight.
    pub round_waiting_max: usize,
    /// Units of one commit.
    pub batch_units_max: usize,
    /// Bytes of one commit (events and replies).
    pub batch_bytes_max: usize,
    /// A command older than this is not decided any more.
    pub command_deadline: Duration,
    /// An idle player's actor is drained after this.
    pub player_idle: Duration,
    /// An idle round's actor is drained after this; its record stays.
    pub round_idle: Duration,
    /// Batches the relay may have waiting before it must catch up from the ledger.
    pub relay_batches_max: usize,
    /// Times a stale plan is decided again before the caller is told busy.
    pub stale_retries_max: u32,
    /// First and longest pause between restarts.
    pub restart_backoff_first: Duration,
    pub restart_backoff_max: Duration,
    /// A wallet that fails this often within [`Self::restart_window`] stops the server.
    pub restarts_max: u32,
    pub restart_window: Duration,
    /// How often the signed head of each shard goes to the anchor log.
    pub anchor_interval: Duration,
    /// Rows a leaderboard shows.
    pub leaderboard_rows_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commands_under_way_max: 8_192,
            player_waiting_max: 32,
            round_waiting_max: 64,
            batch_units_max: 512,
            batch_bytes_max: 4 << 20,
            command_deadline: Duration::from_secs(5),
            player_idle: Duration::from_secs(300),
            round_idle: Duration::from_secs(60),
            relay_batches_max: 256,
            stale_retries_max: 5,
            restart_backoff_first: Duration::from_millis(20),
            restart_backoff_max: Duration::from_secs(5),
            restarts_max: 100,
            restart_window: Duration::from_secs(60),
            anchor_interval: Duration::from_secs(60),
            leaderboard_rows_max: 20,
        }
    }
}
