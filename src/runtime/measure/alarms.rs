//! What is wrong with sources now, for `status`, and as events when it begins and ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::runtime::events::{EventKind, NewEvent};

/// Records an event.
pub(super) type Tell = Arc<dyn Fn(NewEvent) + Send + Sync>;

/// Alarms by what they are about.
#[derive(Clone)]
pub(super) struct Alarms {
    held: Arc<Mutex<BTreeMap<String, String>>>,
    tell: Tell,
}

impl Alarms {
    pub(super) fn new(tell: Tell) -> Self {
        Self {
            held: Arc::default(),
            tell,
        }
    }

    /// What is wrong with it now, or that nothing is any more. The same again is not told again.
    pub(super) fn set(&self, about: &str, problem: Option<String>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &problem {
            Some(problem) => held.insert(about.to_owned(), problem.clone()),
            None => held.remove(about),
        };
        drop(held);
        if before == problem {
            return;
        }
        let (message, good) = match problem {
            Some(problem) => (problem, false),
            None => (format!("{about} works again"), true),
        };
        (self.tell)(NewEvent::new(EventKind::Alarm, message).good(good));
    }

    /// All that hold, in the order of what they are about.
    pub(super) fn all(&self) -> Vec<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_told_when_it_begins_and_when_it_ends() {
        let told = Arc::new(Mutex::new(0));
        let count = told.clone();
        let alarms = Alarms::new(Arc::new(move |_| *count.lock().unwrap() += 1));
        alarms.set("log a", None);
        for _ in 0..3 {
            alarms.set("log a", Some("it has gone".to_owned()));
        }
        assert_eq!(
            (alarms.all(), *told.lock().unwrap()),
            (vec!["it has gone".to_owned()], 1)
        );
        alarms.set("log a", None);
        assert_eq!((alarms.all().len(), *told.lock().unwrap()), (0, 2));
    }
}
