//! How many connections each client holds, so that no one client holds them all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Connections by host.
pub(super) struct Shares {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of a host; given back when dropped.
pub(super) struct Share {
    shares: Arc<Shares>,
    host: IpAddr,
}

impl Shares {
    /// Each host may have `most`.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let open = Mutex::default();
        Arc::new(Self { most, open })
    }

    /// One more for this host, if it may.
    pub(super) fn take(self: &Arc<Self>, host: IpAddr) -> Option<Share> {
        let mut open = self.open();
        let count = open.get(&host).copied().unwrap_or(0);
        if count >= self.most {
            return None;
        }
        open.insert(host, count + 1);
        let shares = self.clone();
        Some(Share { shares, host })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.shares.open();
        match open.get_mut(&self.host) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_host_has_more_than_its_share_and_nothing_is_kept_of_who_left() {
        let shares = Shares::new(2);
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let first = shares.take(one).unwrap();
        let second = shares.take(one).unwrap();
        assert!(shares.take(one).is_none());
        let third = shares.take(other).unwrap();
        drop(first);
        let fourth = shares.take(one).unwrap();
        assert!(shares.take(one).is_none());
        drop((second, third, fourth));
        assert!(shares.open().is_empty());
    }
}
