//! What is in force, as `status` tells it: since when, and how it was when it began.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{InForce, Kind, News, SHOWN};
use crate::runtime::status::AnomalyStatus;

/// When each anomaly began, and the sentence that was told then.
#[derive(Debug, Default)]
pub struct Board(BTreeMap<(Kind, Arc<str>), (Timestamp, String)>);

impl Board {
    /// Takes what began and ended at `now`; gives what is in force, the first [`SHOWN`] of each kind by
    /// name.
    pub fn take(
        &mut self,
        news: &[News],
        in_force: &[InForce],
        now: Timestamp,
    ) -> Vec<AnomalyStatus> {
        for one in news.iter().filter(|one| one.begins) {
            let key = (one.kind, one.subject.clone());
            self.0.insert(key, (now, one.message.clone()));
        }
        let mut all = Vec::new();
        let mut kept = BTreeMap::new();
        for one in in_force {
            let key = (one.kind, one.subject.clone());
            // Whatever is in force began with a sentence.
            let (since, message) = self.0.remove(&key).unwrap_or((now, String::new()));
            all.push(AnomalyStatus {
                kind: one.kind.as_str().to_owned(),
                subject: one.subject.to_string(),
                since,
                factor: one.factor,
                message: message.clone(),
            });
            kept.insert(key, (since, message));
        }
        self.0 = kept;
        let mut shown = BTreeMap::<_, usize>::new();
        all.retain(|one| {
            let count = shown.entry(one.kind.clone()).or_default();
            *count += 1;
            *count <= SHOWN
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_force(kind: Kind, subject: &str, factor: f64) -> InForce {
        let subject = subject.into();
        InForce {
            kind,
            subject,
            factor,
        }
    }

    fn news(kind: Kind, subject: &str, begins: bool) -> News {
        News {
            kind,
            subject: subject.into(),
            begins,
            message: format!("{subject} is odd"),
        }
    }

    #[test]
    fn what_began_is_told_with_its_time_until_it_ends() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut board = Board::default();
        let fra = |factor| in_force(Kind::Share, "fra", factor);
        let iad = || in_force(Kind::Load, "iad", 0.0);
        let one = board.take(&[news(Kind::Share, "fra", true)], &[fra(4.0)], at(60));
        let expect = AnomalyStatus {
            kind: "share".into(),
            subject: "fra".into(),
            since: at(60),
            factor: 4.0,
            message: "fra is odd".into(),
        };
        assert_eq!(one, std::slice::from_ref(&expect));
        let two = board.take(
            &[news(Kind::Load, "iad", true)],
            &[fra(5.0), iad()],
            at(120),
        );
        assert_eq!((two[0].since, two[0].factor), (at(60), 5.0), "as it is now");
        assert_eq!((two[1].since, two.len()), (at(120), 2));
        assert_eq!(
            board
                .take(&[news(Kind::Share, "fra", false)], &[iad()], at(180))
                .len(),
            1
        );
        let again = board.take(&[news(Kind::Share, "fra", true)], &[fra(4.0)], at(240));
        assert_eq!(again[0].since, at(240));
    }

    #[test]
    fn of_very_many_the_first_of_each_kind_are_told() {
        let all: Vec<_> = (0..2 * SHOWN)
            .map(|n| in_force(Kind::Health, &format!("p{n:04}"), 0.5))
            .chain([in_force(Kind::Load, "iad", 0.0)])
            .collect();
        let told = Board::default().take(&[], &all, Timestamp::UNIX_EPOCH);
        assert_eq!(told.len(), SHOWN + 1);
    }
}
