//! The bound before the wallet: so many commands are under way, the next is told "busy, retry" at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Counts commands from the edge until their answer.
#[derive(Debug)]
pub struct Admission {
    under_way: AtomicUsize,
    commands_max: usize,
    closed: AtomicBool,
}

/// One command's place; dropping it frees the place.
#[derive(Debug)]
pub struct Permit(Arc<Admission>);

impl Admission {
    pub fn new(commands_max: usize) -> Arc<Self> {
        Arc::new(Self { under_way: AtomicUsize::new(0), commands_max, closed: AtomicBool::new(false) })
    }

    /// Lets nobody in any more; those inside finish.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// A place, or `None` at the bound.
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        if before >= self.commands_max || self.closed.load(Ordering::Relaxed) {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit(Arc::clone(self)))
    }

    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_places_come_back() {
        let admission = Admission::new(2);
        let first = admission.enter();
        let second = admission.enter();
        assert!(first.is_some() && second.is_some() && admission.enter().is_none());
        drop(first);
        assert!(admission.enter().is_some());
        assert_eq!(admission.under_way(), 1);
    }
}
