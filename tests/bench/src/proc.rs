//! What the kernel says of a process: processor time, memory, children.

use std::{collections::BTreeMap, fs, time::Duration};

use nix::unistd::{SysconfVar, sysconf};

/// The part of `/proc/PID/stat` that counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Parent's process number.
    pub(crate) parent: u32,
    /// User and system time of all threads, in clock ticks.
    pub(crate) ticks: u64,
}

/// Reads a line of `/proc/PID/stat` (proc(5)); `None` when it is not one.
pub(crate) fn parse_stat(line: &str) -> Option<Stat> {
    // The name of the program stands in parentheses and may itself hold spaces and parentheses.
    let (_, rest) = line.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    // Field 3, the state, is the first after the name; 4 is ppid, 14 utime, 15 stime.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(field(4)?).ok()?,
        ticks: field(14)? + field(15)?,
    })
}

/// Octets of a line such as `VmRSS:     1234 kB` of `/proc/PID/status` or `smaps_rollup`.
pub(crate) fn parse_kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    Some(number.parse::<u64>().ok()? * 1024)
}

/// The process and everything it started, first itself.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some(number) = number
            && let Some(stat) = stat(number)
        {
            parents.insert(number, stat.parent);
        }
    }
    descendants(pid, &parents)
}

/// Processor time that these processes have used, all threads, user and system.
///
/// The scheduler's own count in nanoseconds where the kernel shows it: `utime` and `stime` are the
/// same sum, rounded down to ticks of 10 ms.
pub(crate) fn processor_time(pids: &[u32]) -> Duration {
    let nanoseconds = |pid: &u32| {
        run_time(*pid).or_else(|| Some(stat(*pid)?.ticks * (1_000_000_000 / ticks_per_second())))
    };
    Duration::from_nanos(pids.iter().filter_map(nanoseconds).sum())
}

/// Processor time that all cores were not idle, the hypervisor's share included.
pub(crate) fn machine_time() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = parse_machine(&text).unwrap_or(0);
    Duration::from_nanos(ticks * (1_000_000_000 / ticks_per_second()))
}

/// Ticks of the first line of `/proc/stat` (proc(5)) that are not idle.
pub(crate) fn parse_machine(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_ascii_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    // user nice system [idle iowait] irq softirq steal; guest time is part of user time.
    let busy = [0, 1, 2, 5, 6, 7];
    Some(busy.iter().filter_map(|at| fields.get(*at)).sum())
}

/// Nanoseconds on a processor: the first number of `/proc/PID/task/TID/schedstat`.
pub(crate) fn parse_run_time(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Resident memory in octets. Of several processes each one's share of what they have in common.
pub(crate) fn resident(pids: &[u32]) -> u64 {
    let read = |pid: &u32, file: &str, key: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        parse_kilobytes(&text, key)
    };
    match pids {
        [pid] => read(pid, "status", "VmRSS").unwrap_or(0),
        several => several
            .iter()
            .filter_map(|pid| read(pid, "smaps_rollup", "Pss"))
            .sum(),
    }
}

/// Nanoseconds of all threads; `None` when one cannot be read, or nothing is counted.
fn run_time(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        sum += parse_run_time(&text)?;
    }
    (sum > 0).then_some(sum)
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn descendants(pid: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(&parent) = all.get(at) {
        let children = parents.iter().filter(|(_, of)| **of == parent);
        all.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    all
}

fn ticks_per_second() -> u64 {
    sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|ticks| u64::try_from(ticks).ok())
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "4242 (a) S (b c) R 17 4242 4242 0 -1 4194304 90 0 0 0 123 45 6 7 20 0 3 0 99";
        let stat = Stat {
            parent: 17,
            ticks: 168,
        };
        assert_eq!(parse_stat(line), Some(stat));
        for bad in ["", "1 (x)", "1 (x) R", "1 (x) R 1 2 3", "x y z"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn run_time_is_the_first_number() {
        assert_eq!(parse_run_time("123456789 42 7\n"), Some(123_456_789));
        assert_eq!(parse_run_time(""), None);
        assert_eq!(parse_run_time("x 1 2"), None);
    }

    #[test]
    fn idle_time_is_nobodys_work() {
        let text = "cpu  100 20 3 9999 888 4 5 6 0 0\ncpu0 1 2 3\n";
        assert_eq!(parse_machine(text), Some(138));
        assert_eq!(parse_machine("cpu0 1 2"), None);
        assert_eq!(parse_machine(""), None);
    }

    #[test]
    fn memory_is_read_in_octets() {
        let text = "Name:\tx\nVmPeak:\t   99 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(parse_kilobytes(text, "VmRSS"), Some(1234 * 1024));
        assert_eq!(parse_kilobytes(text, "Vm"), None);
        assert_eq!(parse_kilobytes(text, "Name"), None);
    }

    #[test]
    fn descendants_are_found_through_generations() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 2), (5, 4), (6, 1)]);
        assert_eq!(descendants(2, &parents), [2, 3, 4, 5]);
        assert_eq!(descendants(6, &parents), [6]);
    }

    #[test]
    fn this_process_has_memory() {
        let own = std::process::id();
        assert!(family(own).contains(&own));
        assert!(resident(&[own]) > 0);
        assert!(processor_time(&[own]) <= Duration::from_secs(1 << 30));
    }
}
