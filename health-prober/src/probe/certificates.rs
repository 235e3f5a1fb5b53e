//! When the certificates end that targets have shown.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{GroupKey, TargetId, engine::Job};

/// The newest certificate of each target over TLS.
#[derive(Default)]
pub(crate) struct Certificates(Mutex<HashMap<TargetId, Certificate>>);

/// The certificate that a target showed at its last handshake that went well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Certificate {
    /// PoP and check.
    pub(crate) group: GroupKey,
    /// The service address.
    pub(crate) address: IpAddr,
    /// Its end, seconds since the epoch.
    pub(crate) ends: u64,
}

impl Certificates {
    /// Notes the end of the certificate that a probe was shown.
    pub(super) fn put(&self, job: &Job, ends: u64) {
        let certificate = Certificate {
            group: job.target.group.clone(),
            address: job.target.address,
            ends,
        };
        self.lock().insert(job.id, certificate);
    }

    pub(super) fn retain(&self, live: &HashSet<TargetId>) {
        self.lock().retain(|id, _| live.contains(id));
    }

    pub(super) fn forget(&self, gone: TargetId) {
        self.lock().remove(&gone);
    }

    /// All of them, by PoP, check and address.
    pub(crate) fn all(&self) -> Vec<Certificate> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort();
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TargetId, Certificate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
