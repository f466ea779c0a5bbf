//! When the next operation is due. Pure: time is handed in.
//!
//! Closed: the reply to one makes the next due. Open: due times stand on a fixed grid whatever the server does; an operation
//! that leaves late still counts its latency from the time it was meant to leave, so a stall is seen by all who met it.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Closed,
    Open { next: Instant, interval: Duration },
}

impl Pace {
    /// `phase` from 0 to 1 spreads the senders of a rate over the interval.
    pub fn new(rate_per_sender: Option<f64>, start: Instant, phase: f64) -> Self {
        match rate_per_sender {
            None => Self::Closed,
            Some(rate) => {
                let interval = Duration::from_secs_f64(1.0 / rate).max(Duration::from_nanos(1));
                Self::Open { next: start + interval.mul_f64(phase.clamp(0.0, 1.0)), interval }
            }
        }
    }

    /// The intended time of the operation that is due now, and moves on to the next one.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Closed => Some(now),
            Self::Open { next, interval } if *next <= now => {
                let intended = *next;
                *next += *interval;
                Some(intended)
            }
            Self::Open { .. } => None,
        }
    }

    /// When to look again; `None` means at the next reply.
    pub const fn wake(&self) -> Option<Instant> {
        match self {
            Self::Closed => None,
            Self::Open { next, .. } => Some(*next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_sender_keeps_the_intended_times() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut pace = Pace::new(Some(100.0), start, 0.5);
        assert_eq!(pace.take(start), None);
        assert_eq!(pace.wake(), Some(start + ms(5)));
        // The sender was held up for a second: the grid has not moved, and nothing was left out of it.
        let late = start + ms(1_000);
        let taken: Vec<_> = std::iter::from_fn(|| pace.take(late)).collect();
        assert_eq!(taken.len(), 100);
        assert!(taken.iter().enumerate().all(|(i, at)| *at == start + ms(5 + 10 * i as u64)));
        assert_eq!(Pace::new(None, start, 0.0).take(late), Some(late));
    }
}
