//! Keeps records of faults from filling the ledger: anyone may send the gateway nonsense, as fast as they like.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Faults recorded at once after a quiet time.
const BURST: f64 = 20.0;
/// Faults recorded each second after that.
const RATE: f64 = 1.0;

/// Lets through a burst and then a trickle, and counts what it holds back.
#[derive(Debug)]
pub struct Throttle(Mutex<State>);

#[derive(Debug)]
struct State {
    tokens: f64,
    filled: Instant,
    held_back: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self(Mutex::new(State {
            tokens: BURST,
            filled: Instant::now(),
            held_back: 0,
        }))
    }
}

impl Throttle {
    /// `Some`: record this one, and say how many before it were not recorded.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(state.filled).as_secs_f64() * RATE;
        state.tokens = (state.tokens + gained).min(BURST);
        state.filled = state.filled.max(now);
        if state.tokens < 1.0 {
            state.held_back += 1;
            return None;
        }
        state.tokens -= 1.0;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_cut_to_a_burst_and_a_trickle_and_is_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let passed = (0..100).filter(|_| throttle.pass(start).is_some()).count();
        assert_eq!(passed, 20);
        assert_eq!(throttle.pass(start + Duration::from_millis(1100)), Some(80));
        assert_eq!(throttle.pass(start + Duration::from_millis(1100)), None);
        assert_eq!(throttle.pass(start + Duration::from_secs(60)), Some(1));
        assert_eq!(throttle.pass(start + Duration::from_secs(60)), Some(0));
    }
}
