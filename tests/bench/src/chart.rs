//! The chart: one SVG, a panel for each quantity, a bar for each server.

use std::fmt::Write as _;

use crate::{
    rounds::Sample,
    servers::Subject,
    summary::{Spread, spread},
};

const WIDTH: f64 = 860.0;
/// Where bars begin and how long the longest is.
const LEFT: f64 = 190.0;
const LONGEST: f64 = 520.0;
const ROW: f64 = 24.0;
const TITLE: f64 = 40.0;

/// Draws everything measured. `header` is shown at the top, line by line.
pub(crate) fn draw(
    header: &[String],
    subjects: &[Subject],
    rates: &[u32],
    samples: &[Sample],
) -> String {
    let mut svg = Svg::new(header);
    let closed = |quantity: fn(&Sample) -> f64| {
        let of = |subject: &Subject| Some((*subject, spread(samples, *subject, None, quantity)?));
        subjects.iter().filter_map(of).collect::<Vec<_>>()
    };
    svg.bars(
        "Processor time per answer, ns (less is better)",
        0,
        &closed(|s| s.cpu_ns),
    );
    svg.bars(
        "Answers per second, one core (more is better)",
        0,
        &closed(|s| s.answers_per_second),
    );
    for rate in rates {
        let of = |subject: &Subject| {
            let get = |quantity: fn(&Sample) -> f64| {
                spread(samples, *subject, Some(*rate), quantity).map(|s| s.median)
            };
            let p50 = get(|s| s.latency.p50 as f64 / 1e3)?;
            let p99 = get(|s| s.latency.p99 as f64 / 1e3)?;
            Some((*subject, [p50, p99, get(|s| s.latency.p999 as f64 / 1e3)?]))
        };
        let rows: Vec<_> = subjects.iter().filter_map(of).collect();
        svg.latencies(
            &format!("Latency at {rate} queries/s: p50, p99, p99.9 in µs (logarithmic)"),
            &rows,
        );
    }
    svg.bars(
        "Resident memory, MiB (less is better)",
        1,
        &closed(|s| s.resident as f64 / f64::from(1 << 20)),
    );
    svg.finish()
}

struct Svg {
    body: String,
    y: f64,
}

impl Svg {
    fn new(header: &[String]) -> Self {
        let mut svg = Self {
            body: String::new(),
            y: 34.0,
        };
        svg.text(
            20.0,
            "title",
            "Authoritative DNS over loopback: Meridian beside others",
        );
        for line in header {
            svg.y += 17.0;
            svg.text(20.0, "small", line);
        }
        svg
    }

    fn text(&mut self, x: f64, class: &str, text: &str) {
        let y = self.y;
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{}</text>"#,
            escape(text)
        );
    }

    fn panel(&mut self, title: &str) {
        self.y += TITLE;
        self.text(20.0, "panel", title);
        self.y += 6.0;
    }

    fn label(&mut self, subject: Subject) {
        let y = self.y + 15.0;
        let _ = writeln!(
            self.body,
            r#"<text x="{:.1}" y="{y:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            escape(subject.label())
        );
    }

    /// Bars from 0, with the range over the rounds as a thin line.
    fn bars(&mut self, title: &str, digits: usize, rows: &[(Subject, Spread)]) {
        let most = rows
            .iter()
            .map(|(_, s)| s.high)
            .fold(f64::MIN_POSITIVE, f64::max);
        let x = |value: f64| LEFT + value / most * LONGEST;
        self.panel(title);
        for (subject, spread) in rows {
            self.label(*subject);
            let (y, end) = (self.y + 4.0, x(spread.median));
            let _ = writeln!(
                self.body,
                r##"<rect x="{LEFT}" y="{y:.1}" width="{:.1}" height="15" fill="{}"/>"##,
                end - LEFT,
                colour(*subject)
            );
            let _ = writeln!(
                self.body,
                r##"<path d="M{:.1} {:.1}H{:.1}" stroke="#222" stroke-width="1.5"/>"##,
                x(spread.low),
                y + 7.5,
                x(spread.high)
            );
            let _ = writeln!(
                self.body,
                r#"<text x="{:.1}" y="{:.1}">{:.digits$}</text>"#,
                x(spread.high) + 8.0,
                y + 12.0,
                spread.median
            );
            self.y += ROW;
        }
    }

    /// Three marks on a line for each server; equal distances are equal factors.
    fn latencies(&mut self, title: &str, rows: &[(Subject, [f64; 3])]) {
        let all = rows
            .iter()
            .flat_map(|(_, values)| values)
            .map(|v| v.max(1.0));
        let (low, high) = all.fold((f64::MAX, 1.0_f64), |(l, h), v| (l.min(v), h.max(v)));
        let span = (high / low).ln().max(0.7);
        let x = |value: f64| LEFT + 10.0 + (value.max(1.0) / low).ln() / span * (LONGEST - 60.0);
        self.panel(title);
        for (subject, values) in rows {
            self.label(*subject);
            let y = self.y + 11.0;
            let [p50, p99, p999] = values.map(x);
            let fill = colour(*subject);
            let _ = writeln!(
                self.body,
                r##"<path d="M{p50:.1} {y:.1}H{p999:.1}" stroke="{fill}" stroke-width="2"/>
<circle cx="{p50:.1}" cy="{y:.1}" r="4" fill="{fill}"/>
<rect x="{:.1}" y="{:.1}" width="8" height="8" fill="{fill}"/>
<path d="M{p999:.1} {:.1}V{:.1}" stroke="{fill}" stroke-width="3"/>
<text x="{:.1}" y="{:.1}">{:.0} / {:.0} / {:.0}</text>"##,
                p99 - 4.0,
                y - 4.0,
                y - 6.0,
                y + 6.0,
                p999 + 12.0,
                y + 4.0,
                values[0],
                values[1],
                values[2]
            );
            self.y += ROW;
        }
    }

    fn finish(self) -> String {
        let height = self.y + 24.0;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}">
<style>text{{font:13px system-ui,sans-serif;fill:#222}}.title{{font-size:19px;font-weight:600}}.small{{font-size:12px;fill:#555}}.panel{{font-size:14px;font-weight:600}}</style>
<rect width="100%" height="100%" fill="#fff"/>
{}</svg>
"##,
            self.body
        )
    }
}

/// Ours stand out; the floor is pale.
fn colour(subject: Subject) -> &'static str {
    match subject {
        Subject::Echo => "#b9bec7",
        other if other.server() == Subject::Meridian => "#1565a8",
        _ => "#7d8796",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::sample;

    #[test]
    fn everything_stays_within_the_picture() {
        let samples = [
            sample(Subject::Echo, 0, None, 1600.0),
            sample(Subject::PowerDns, 0, None, 11_000.0),
            sample(Subject::PowerDns, 0, Some(50_000), 11_000.0),
        ];
        let subjects = [Subject::Echo, Subject::PowerDns, Subject::Nsd];
        let svg = draw(&["a < b & c".to_owned()], &subjects, &[50_000], &samples);
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(svg.contains("PowerDNS geoip") && !svg.contains("NSD"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let number = |part: &str| part.split('"').next().and_then(|n| n.parse::<f64>().ok());
        for x in svg.split("x=\"").skip(1).filter_map(number) {
            assert!((0.0..WIDTH).contains(&x), "{x}");
        }
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
