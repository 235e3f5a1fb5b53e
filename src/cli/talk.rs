//! The commands that talk to a running server: `status`, `drain`, `announcements`, `upgrade`, …

use hyper::Method;
use jiff::Timestamp;
use serde_json::json;

use super::{
    Failure,
    args::{Announcements, Blackhole, Drain, Events, Status, Unblackhole, Undrain, Upgrade},
    client::Client,
};
use crate::{
    render::{self, Style, print, print_json},
    runtime::{events::Event, site, status},
};

/// `meridian status`
pub(crate) async fn status(args: &Status) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let value: serde_json::Value = client.get("/api/v1/status").await?;
    if args.output.json {
        print_json(&value);
        return Ok(());
    }
    let status: status::Status = serde_json::from_value(value)
        .map_err(|e| Failure::Message(format!("the server is of another version: {e}")))?;
    print(&render::status(&status, Timestamp::now(), Style::stdout()));
    Ok(())
}

/// `meridian drain POP`
pub(crate) async fn drain(args: &Drain) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let mut body = json!({});
    if !args.reason.is_empty() {
        body["reason"] = json!(args.reason);
    }
    if let Some(duration) = args.duration {
        body["for"] = json!(humantime::format_duration(duration).to_string());
    }
    let path = drain_path(&args.pop);
    client.send(Method::PUT, &path, Some(&body)).await?;
    let until = args.duration.map(render::span);
    let until = until.map_or("until `undrain`".to_owned(), |span| format!("for {span}"));
    print(&format!("{} is drained {until}\n", args.pop));
    Ok(())
}

/// `meridian undrain POP`
pub(crate) async fn undrain(args: &Undrain) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let path = drain_path(&args.pop);
    client.send(Method::DELETE, &path, None).await?;
    print(&format!("{} is no longer drained\n", args.pop));
    Ok(())
}

/// `meridian announcements [--explain]`
pub(crate) async fn announcements(args: &Announcements) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let value: serde_json::Value = client.get("/api/v1/announcements").await?;
    if args.output.json {
        print_json(&value);
        return Ok(());
    }
    let all: site::state::Announcements = serde_json::from_value(value)
        .map_err(|e| Failure::Message(format!("the server is of another version: {e}")))?;
    print(&render::announcements(&all, args.explain, Style::stdout()));
    Ok(())
}

/// `meridian blackhole PREFIX --for TIME --reason WHY`
pub(crate) async fn blackhole(args: &Blackhole) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let body = json!({
        "prefix": args.prefix,
        "for": humantime::format_duration(args.duration).to_string(),
        "reason": args.reason,
    });
    let path = "/api/v1/blackholes";
    client.send(Method::POST, path, Some(&body)).await?;
    let span = render::span(args.duration);
    print(&format!("{} is blackholed for {span}\n", args.prefix));
    Ok(())
}

/// `meridian unblackhole PREFIX`
pub(crate) async fn unblackhole(args: &Unblackhole) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let prefix = encode(&args.prefix.to_string());
    let path = format!("/api/v1/blackholes?prefix={prefix}");
    client.send(Method::DELETE, &path, None).await?;
    print(&format!("{} is no longer blackholed\n", args.prefix));
    Ok(())
}

/// `meridian upgrade`
pub(crate) async fn upgrade(args: &Upgrade) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let body = client.send(Method::POST, "/api/v1/upgrade", None).await?;
    let value: serde_json::Value = serde_json::from_slice(&body)
        .map_err(|e| Failure::Message(format!("the server is of another version: {e}")))?;
    if args.output.json {
        print_json(&value);
    } else {
        print(&format!(
            "process {} has taken over, version {}\n",
            value["pid"],
            value["version"].as_str().unwrap_or("unknown")
        ));
    }
    Ok(())
}

/// `meridian events [--follow]`
pub(crate) async fn events(args: &Events) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let style = Style::stdout();
    if !args.follow {
        let events: Vec<Event> = client.get("/api/v1/events?follow=false").await?;
        if args.output.json {
            print_json(&events);
        } else {
            let lines = events.iter().map(|e| render::event(e, style) + "\n");
            print(&lines.collect::<String>());
        }
        return Ok(());
    }
    let each = |data: &str| {
        if args.output.json {
            print(&format!("{data}\n"));
        } else if let Ok(event) = serde_json::from_str::<Event>(data) {
            print(&(render::event(&event, style) + "\n"));
        }
    };
    client.follow(each).await?;
    Err(Failure::Message("the server ended the stream".to_owned()))
}

/// Path of a PoP's drain; a name is percent-encoded, so that no name reaches another path.
fn drain_path(pop: &str) -> String {
    format!("/api/v1/pops/{}/drain", encode(pop))
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3).
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_pop_name_stays_one_path_segment() {
        assert_eq!(drain_path("fra"), "/api/v1/pops/fra/drain");
        assert_eq!(drain_path("../x?y#z"), "/api/v1/pops/..%2Fx%3Fy%23z/drain");
    }
}
