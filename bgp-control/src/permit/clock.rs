//! A clock that also runs while the machine is suspended.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

/// The time for the controller and the leases. `Instant` stands still while the machine is
/// suspended (it is `CLOCK_MONOTONIC`), and a permit would outlive what the others believe; this
/// follows `CLOCK_BOOTTIME`. Do not mix it with `Instant::now`.
#[allow(clippy::disallowed_methods)] // the clock of the runners
pub fn now() -> Instant {
    static ANCHOR: OnceLock<(Instant, Duration)> = OnceLock::new();
    let Some(boot) = boot_time() else {
        return Instant::now();
    };
    let (instant, anchored) = *ANCHOR.get_or_init(|| (Instant::now(), boot));
    instant + boot.saturating_sub(anchored)
}

fn boot_time() -> Option<Duration> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec()).ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_never_goes_back() {
        let first = super::now();
        assert!(super::now() >= first);
    }
}
