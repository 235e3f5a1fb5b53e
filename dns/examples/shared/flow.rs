//! How little the fullest PoP can have, whatever the prices: the largest flow from cells to the PoPs near them.

/// A network of which edges are numbered in pairs, there and back.
#[derive(Default)]
struct Network {
    from: Vec<Vec<usize>>,
    to: Vec<usize>,
    room: Vec<f64>,
    level: Vec<usize>,
    next: Vec<usize>,
}

/// Less room than that is none.
const NOTHING: f64 = 1e-9;

/// The least part of its room that the fullest PoP has, of all ways to send the demand of each cell to its
/// PoPs; to half a percent. `None`: even with a thousand times the room there is none.
pub(crate) fn fullest(cells: &[(f64, Vec<usize>)], rooms: &[f64]) -> Option<f64> {
    let whole: f64 = cells.iter().map(|(demand, _)| demand).sum();
    let fits = |times: f64| {
        let mut network = Network::default();
        network
            .from
            .resize(cells.len() + rooms.len() + 2, Vec::new());
        let (start, end) = (cells.len() + rooms.len(), cells.len() + rooms.len() + 1);
        for (at, (demand, pops)) in cells.iter().enumerate() {
            network.add(start, at, demand / whole);
            for pop in pops {
                network.add(at, cells.len() + pop, demand / whole);
            }
        }
        for (pop, room) in rooms.iter().enumerate() {
            network.add(cells.len() + pop, end, room / whole * times);
        }
        network.flow(start, end) >= 1.0 - 1e-6
    };
    let (mut low, mut high) = (whole / rooms.iter().sum::<f64>(), 1000.0);
    if !fits(high) {
        return None;
    }
    while high / low > 1.005 {
        let middle = f64::sqrt(low * high);
        if fits(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

impl Network {
    fn add(&mut self, from: usize, to: usize, room: f64) {
        for (from, to, room) in [(from, to, room), (to, from, 0.0)] {
            self.from[from].push(self.to.len());
            self.to.push(to);
            self.room.push(room);
        }
    }

    /// The largest flow, after Dinic.
    fn flow(&mut self, start: usize, end: usize) -> f64 {
        let mut flow = 0.0;
        while self.level_from(start, end) {
            self.next = vec![0; self.from.len()];
            flow += self.push(start, end, f64::INFINITY);
        }
        flow
    }

    /// Steps from the start by edges with room; whether the end can be reached.
    fn level_from(&mut self, start: usize, end: usize) -> bool {
        self.level = vec![usize::MAX; self.from.len()];
        self.level[start] = 0;
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for edge in &self.from[at] {
                let to = self.to[*edge];
                if self.room[*edge] > NOTHING && self.level[to] == usize::MAX {
                    self.level[to] = self.level[at] + 1;
                    queue.push_back(to);
                }
            }
        }
        self.level[end] != usize::MAX
    }

    fn push(&mut self, at: usize, end: usize, most: f64) -> f64 {
        if at == end {
            return most;
        }
        let mut sum = 0.0;
        while let Some(edge) = self.from[at].get(self.next[at]).copied() {
            let to = self.to[edge];
            if self.room[edge] > NOTHING && self.level[to] == self.level[at] + 1 {
                let pushed = self.push(to, end, self.room[edge].min(most - sum));
                self.room[edge] -= pushed;
                self.room[edge ^ 1] += pushed;
                sum += pushed;
                if most - sum <= NOTHING {
                    return sum;
                }
            }
            self.next[at] += 1;
        }
        sum
    }
}
