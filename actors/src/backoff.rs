//! What every supervisor does alike: hear which child ended, wait before it starts it again, and give up at some point.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ractor::{ActorCell, SupervisionEvent};

use crate::settings::Settings;

/// The child an event says has ended, and why; `None` for events about nothing that ended.
pub fn ended(event: SupervisionEvent) -> Option<(ActorCell, String)> {
    match event {
        SupervisionEvent::ActorFailed(cell, error) => Some((cell, error.to_string())),
        SupervisionEvent::ActorTerminated(cell, _, reason) => Some((cell, reason.unwrap_or_default())),
        SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => None,
    }
}

/// Recent failures of one child.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: VecDeque<Instant>,
}

impl Backoff {
    /// Notes a failure: the pause before the next start, or `None` when there were too many within the window.
    pub fn failed(&mut self, now: Instant, settings: &Settings) -> Option<Duration> {
        while self.failures.front().is_some_and(|at| now.duration_since(*at) > settings.restart_window) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let count = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        if count > settings.restarts_max {
            return None;
        }
        let pause = settings.restart_backoff_first.saturating_mul(1 << (count - 1).min(16));
        Some(pause.min(settings.restart_backoff_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_too_many_failures_end_it() {
        let settings = Settings { restarts_max: 4, ..Settings::default() };
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let pauses: Vec<_> = (0..5).map(|_| backoff.failed(now, &settings)).collect();
        let first = settings.restart_backoff_first;
        assert_eq!(pauses, [Some(first), Some(first * 2), Some(first * 4), Some(first * 8), None]);
        assert_eq!(backoff.failed(now + settings.restart_window * 2, &settings), Some(first));
    }
}
