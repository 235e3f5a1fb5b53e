//! Queries on their way: which are due an answer, which are lost.

/// Queries of one socket, by ID. Bounded: a new query takes the place of the one `size` before it.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    slots: Vec<Slot>,
    next: u16,
    outstanding: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    id: u16,
    /// When it was due, ns; 0: nothing is on its way.
    due: u64,
}

impl Pending {
    /// Room for `size` queries, a power of two up to 65536.
    pub(crate) fn new(size: usize) -> Self {
        debug_assert!(size.is_power_of_two() && size <= 1 << 16);
        Self {
            slots: vec![Slot::default(); size],
            next: 0,
            outstanding: 0,
        }
    }

    /// How many are on their way.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Notes a query due at `due` (ns, not 0). Gives its ID, and when the query was due that it
    /// pushed out unanswered.
    pub(crate) fn add(&mut self, due: u64) -> (u16, Option<u64>) {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let mask = self.slots.len() - 1;
        let slot = &mut self.slots[usize::from(id) & mask];
        let pushed = (slot.due != 0).then_some(slot.due);
        *slot = Slot { id, due };
        self.outstanding += usize::from(pushed.is_none());
        (id, pushed)
    }

    /// An answer came: when its query was due. `None` for one that nobody waits for.
    pub(crate) fn take(&mut self, id: u16) -> Option<u64> {
        let mask = self.slots.len() - 1;
        let slot = &mut self.slots[usize::from(id) & mask];
        if slot.due == 0 || slot.id != id {
            return None;
        }
        self.outstanding -= 1;
        Some(std::mem::take(&mut slot.due))
    }

    /// Gives up on everything due before `limit`, and returns how many that were.
    pub(crate) fn expire(&mut self, limit: u64) -> u64 {
        let mut gone = 0;
        for slot in &mut self.slots {
            if slot.due != 0 && slot.due < limit {
                slot.due = 0;
                gone += 1;
            }
        }
        self.outstanding -= gone;
        gone as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_counts_once_and_only_for_its_query() {
        let mut pending = Pending::new(4);
        let (first, _) = pending.add(10);
        let (second, _) = pending.add(20);
        assert_eq!(pending.outstanding(), 2);
        assert_eq!(pending.take(second), Some(20));
        assert_eq!(pending.take(second), None);
        assert_eq!(pending.take(first + 4), None);
        assert_eq!(pending.take(first), Some(10));
        assert_eq!(pending.outstanding(), 0);
    }

    #[test]
    fn a_full_table_pushes_out_the_oldest() {
        let mut pending = Pending::new(2);
        assert_eq!([1, 2].map(|due| pending.add(due).1), [None, None]);
        assert_eq!(pending.add(3).1, Some(1));
        assert_eq!(pending.outstanding(), 2);
        assert_eq!(pending.take(0), None);
        assert_eq!(pending.take(2), Some(3));
    }

    #[test]
    fn what_is_too_old_is_given_up() {
        let mut pending = Pending::new(8);
        for due in [5, 6, 7, 8] {
            pending.add(due);
        }
        assert_eq!(pending.expire(7), 2);
        assert_eq!(pending.outstanding(), 2);
        assert_eq!(pending.take(0), None);
        assert_eq!(pending.expire(u64::MAX), 2);
        assert_eq!(pending.outstanding(), 0);
    }

    #[test]
    fn ids_run_around() {
        let mut pending = Pending::new(1 << 16);
        for due in 1..=70_000_u64 {
            let (id, pushed) = pending.add(due);
            assert_eq!(id, ((due - 1) % 65_536) as u16);
            assert_eq!(pushed, None);
            assert_eq!(pending.take(id), Some(due));
        }
    }
}
