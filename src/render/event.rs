//! One line for one event.

use super::{Paint, Style, one_line};
use crate::runtime::events::{Event, EventKind};

/// `2026-11-20T23:04:05Z  failover  fra: …`, without a newline.
pub(crate) fn event(event: &Event, style: Style) -> String {
    let time = event.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let kind = format!("{:<14}", event.kind.as_str());
    format!(
        "{}  {}  {}",
        style.paint(Paint::Dim, &time),
        style.paint(paint(event), &kind),
        one_line(&event.message)
    )
}

fn paint(event: &Event) -> Paint {
    match event.kind {
        EventKind::Alarm | EventKind::ReloadRefused => Paint::Bad,
        EventKind::Failover | EventKind::Steering | EventKind::Override => Paint::Warn,
        EventKind::Endpoint | EventKind::Pop | EventKind::Announcement | EventKind::Peer => {
            Paint::Bold
        }
        _ => Paint::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_whatever_the_message() {
        let shown = event(
            &Event {
                id: 7,
                time: jiff::Timestamp::UNIX_EPOCH,
                kind: EventKind::Pop,
                message: "fra is down:\n\x1b[31mrefused".to_owned(),
                pop: Some("fra".to_owned()),
                endpoint: None,
                service: None,
            },
            Style::PLAIN,
        );
        assert_eq!(
            shown,
            "1970-01-01T00:00:00Z  pop             fra is down:; \\u{1b}[31mrefused"
        );
    }
}
