//! Tables, as plain text and as Markdown.

use std::fmt::Write as _;

use crate::{
    net::Transport,
    rounds::Sample,
    scaling::{self, Workers},
    servers::Subject,
    summary::{GOALS, Spread, is_noisy, ratio, spread},
};

/// Everything that is reported.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// Machine, date, versions: key and value.
    pub(crate) header: Vec<(String, String)>,
    /// What was left out, and why.
    pub(crate) skipped: Vec<String>,
    /// Measured.
    pub(crate) subjects: Vec<Subject>,
    /// A run too short for figures: no goal is judged.
    pub(crate) quick: bool,
    /// Fixed rates.
    pub(crate) rates: Vec<u32>,
    /// The measurements.
    pub(crate) samples: &'a [Sample],
    /// One worker and two; empty where that was not measured.
    pub(crate) workers: &'a [Workers],
}

/// How tables are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For a terminal.
    Text,
    /// For a document.
    Markdown,
}

impl Report<'_> {
    /// The whole report.
    pub(crate) fn render(&self, form: Form) -> String {
        let mut out = String::new();
        for (key, value) in &self.header {
            let _ = match form {
                Form::Text => writeln!(out, "{key:12} {value}"),
                Form::Markdown => writeln!(out, "* **{key}**: {value}"),
            };
        }
        for line in &self.skipped {
            let _ = match form {
                Form::Text => writeln!(out, "SKIP {line}"),
                Form::Markdown => writeln!(out, "* **skipped**: {line}"),
            };
        }
        let tables = [
            ("Closed loop: as fast as the server can", self.closed()),
            ("Open loop: latency at fixed rates, µs", self.open()),
            (
                "Ratios of processor time per answer, within each round",
                self.ratios(),
            ),
            (
                "One worker and two, each core shared with a generator",
                self.workers(),
            ),
        ];
        for (title, table) in tables {
            if table.len() < 2 {
                continue;
            }
            let _ = match form {
                Form::Text => writeln!(out, "\n{title}\n"),
                Form::Markdown => writeln!(out, "\n### {title}\n"),
            };
            out.push_str(&draw(&table, form));
        }
        out
    }

    fn closed(&self) -> Vec<Vec<String>> {
        let mut rows = vec![cells([
            "server",
            "CPU ns/answer",
            "min–max",
            "answers/s",
            "min–max",
            "busy",
            "others",
            "memory MiB",
            "lost",
            "wrong",
        ])];
        for subject in &self.subjects {
            let get = |quantity: fn(&Sample) -> f64| spread(self.samples, *subject, None, quantity);
            let sum = |quantity: fn(&Sample) -> u64| {
                let of = self.samples.iter().filter(|s| s.subject == *subject);
                of.map(quantity).sum::<u64>().to_string()
            };
            let Some(cpu) = get(|s| s.cpu_ns) else {
                continue;
            };
            let Some(rate) = get(|s| s.answers_per_second) else {
                continue;
            };
            let busy = get(|s| s.busy * 100.0).map_or(0.0, |s| s.median);
            let others = get(|s| s.others * 100.0).map_or(0.0, |s| s.median);
            let memory = get(|s| s.resident as f64 / f64::from(1 << 20)).map_or(0.0, |s| s.median);
            rows.push(vec![
                self.label(*subject, None),
                format!("{:.0}", cpu.median),
                range(cpu, 0),
                format!("{:.0}", rate.median),
                range(rate, 0),
                format!("{busy:.0} %"),
                format!("{others:.0} %"),
                format!("{memory:.1}"),
                sum(|s| s.lost),
                sum(|s| s.wrong),
            ]);
        }
        rows
    }

    fn open(&self) -> Vec<Vec<String>> {
        let mut rows = vec![cells([
            "server",
            "queries/s",
            "p50",
            "p99",
            "min–max",
            "p99.9",
            "min–max",
            "CPU ns/answer",
            "sent late",
        ])];
        for rate in &self.rates {
            for subject in &self.subjects {
                if subject.transport() == Transport::Udp {
                    rows.push(self.open_row(*subject, *rate));
                }
            }
        }
        rows
    }

    fn open_row(&self, subject: Subject, rate: u32) -> Vec<String> {
        let get =
            |quantity: fn(&Sample) -> f64| spread(self.samples, subject, Some(rate), quantity);
        let mut row = vec![self.label(subject, Some(rate)), rate.to_string()];
        let (Some(p50), Some(p99), Some(p999), Some(cpu), Some(late)) = (
            get(|s| s.latency.p50 as f64 / 1e3),
            get(|s| s.latency.p99 as f64 / 1e3),
            get(|s| s.latency.p999 as f64 / 1e3),
            get(|s| s.cpu_ns),
            get(|s| s.late as f64 * 100.0 / s.sent.max(1) as f64),
        ) else {
            // Nothing was asked: the server answers less than this at its best.
            row.push("too fast for it".to_owned());
            row.resize(9, "–".to_owned());
            return row;
        };
        row.extend([
            format!("{:.0}", p50.median),
            format!("{:.0}", p99.median),
            range(p99, 0),
            format!("{:.0}", p999.median),
            range(p999, 0),
            format!("{:.0}", cpu.median),
            format!("{:.1} %", late.median),
        ]);
        row
    }

    fn ratios(&self) -> Vec<Vec<String>> {
        let mut rows = vec![cells(["ratio", "median", "min–max", "goal", "reached"])];
        for goal in GOALS {
            let Some(seen) = ratio(self.samples, goal.ours, goal.theirs) else {
                continue;
            };
            let noisy = [goal.ours, goal.theirs]
                .iter()
                .any(|subject| is_noisy(self.samples, *subject, None));
            let reached = match seen.median <= goal.limit {
                _ if self.quick => "not judged",
                true if noisy => "yes ~",
                false if noisy => "no ~",
                true => "yes",
                false => "no",
            };
            rows.push(vec![
                format!("{} ÷ {}", goal.ours.label(), goal.theirs.label()),
                format!("{:.3}", seen.median),
                range(seen, 3),
                format!("≤ {:.2}", goal.limit),
                reached.to_owned(),
            ]);
        }
        rows
    }

    fn workers(&self) -> Vec<Vec<String>> {
        let mut rows = vec![cells([
            "Meridian",
            "CPU ns/answer",
            "min–max",
            "answers/s",
            "min–max",
        ])];
        for seen in self.workers {
            let (Some(cpu), Some(rate)) = (
                Spread::of(seen.cpu_ns.iter().copied()),
                Spread::of(seen.rates.iter().copied()),
            ) else {
                continue;
            };
            rows.push(vec![
                format!("{} × worker and generator", seen.count),
                format!("{:.0}", cpu.median),
                range(cpu, 0),
                format!("{:.0}", rate.median),
                range(rate, 0),
            ]);
        }
        if let Some(gain) = scaling::gain(self.workers) {
            let mut row = cells(["two ÷ one", "", "", "", ""]);
            row[3] = format!("{:.2}", gain.median);
            row[4] = range(gain, 2);
            rows.push(row);
        }
        rows
    }

    /// Name in tables, with a mark when the row was disturbed.
    fn label(&self, subject: Subject, rate: Option<u32>) -> String {
        let mark = match is_noisy(self.samples, subject, rate) {
            true => " ~",
            false => "",
        };
        format!("{}{mark}", subject.label())
    }

    /// Every measurement, one a line, for other programs.
    pub(crate) fn csv(&self) -> String {
        let mut out = "subject,round,rate,answers_per_second,cpu_ns,busy,others,resident_bytes,\
                       p50_ns,p99_ns,p999_ns,sent,lost,wrong,late\n"
            .to_owned();
        for s in self.samples {
            let rate = s
                .rate
                .map_or_else(|| "closed".to_owned(), |rate| rate.to_string());
            let _ = writeln!(
                out,
                "{},{},{rate},{:.1},{:.1},{:.3},{:.3},{},{},{},{},{},{},{},{}",
                s.subject.key(),
                s.round,
                s.answers_per_second,
                s.cpu_ns,
                s.busy,
                s.others,
                s.resident,
                s.latency.p50,
                s.latency.p99,
                s.latency.p999,
                s.sent,
                s.lost,
                s.wrong,
                s.late
            );
        }
        out
    }
}

fn cells<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn range(spread: Spread, digits: usize) -> String {
    format!("{:.digits$}–{:.digits$}", spread.low, spread.high)
}

/// Draws a table whose first row is its head: first column to the left, numbers to the right.
fn draw(rows: &[Vec<String>], form: Form) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        let cells: Vec<_> = cells.collect();
        let _ = match form {
            Form::Text => writeln!(out, "{}", cells.join("  ").trim_end()),
            Form::Markdown => writeln!(out, "| {} |", cells.join(" | ")),
        };
        if number == 0 {
            let _ = match form {
                Form::Text => {
                    writeln!(
                        out,
                        "{}",
                        "-".repeat(widths.iter().map(|w| w + 2).sum::<usize>() - 2)
                    )
                }
                Form::Markdown => writeln!(out, "|---|{}", "---:|".repeat(columns - 1)),
            };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::sample;

    #[test]
    fn a_report_holds_every_server_its_ratio_and_what_was_skipped() {
        let samples = [
            sample(Subject::Echo, 0, None, 1600.0),
            sample(Subject::Meridian, 0, None, 1640.0),
            sample(Subject::Meridian, 0, Some(50_000), 2000.0),
        ];
        let report = Report {
            header: vec![("kernel".to_owned(), "Linux 1".to_owned())],
            skipped: vec!["nsd is not installed".to_owned()],
            subjects: vec![Subject::Echo, Subject::Meridian],
            quick: false,
            rates: vec![50_000],
            samples: &samples,
            workers: &[],
        };
        let text = report.render(Form::Text);
        for part in [
            "SKIP nsd",
            "Linux 1",
            "too fast for it",
            "1.025",
            "≤ 1.06",
            "yes",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let markdown = report.render(Form::Markdown);
        let heads = markdown
            .lines()
            .filter(|line| line.starts_with("|---|---:|"));
        assert_eq!(heads.count(), 3, "{markdown}");
        let bars = |line: &str| line.matches('|').count();
        let table: Vec<_> = markdown
            .lines()
            .filter(|line| line.contains("50000"))
            .collect();
        assert_eq!(table.len(), 2);
        assert!(table.iter().all(|line| bars(line) == 10), "{table:?}");
        assert_eq!(report.csv().lines().count(), 4);
    }
}
