//! `[[pool]]`

use std::net::IpAddr;

use crate::{
    CheckId, Pool, PopId,
    names::Names,
    text::quote,
    walk::{Table, Value},
};

/// Addresses of a fallback: all of them go into one answer.
const FALLBACK_LIMIT: usize = 16;

/// Reads one pool.
pub(crate) fn read_pool<'a>(table: Table<'a>, pops: &Names<'a>, checks: &Names<'a>) -> Pool {
    let name = table.required("name", "\"edge\"").and_then(|v| v.name());
    let check = table
        .get("check", "\"edge\"")
        .and_then(|v| checks.find(&v))
        .map(CheckId);
    let members = table.required("pops", "[\"fra\", \"iad\"]");
    let members = members.map(|v| read_members(&v, pops)).unwrap_or_default();
    let fallback = table.get("fallback", "[\"192.0.2.250\"]");
    let fallback = fallback.map(|v| read_fallback(&v)).unwrap_or_default();
    table.close();
    Pool {
        name: name.unwrap_or_default().to_owned(),
        check,
        pops: members,
        fallback,
    }
}

fn read_members<'a>(value: &Value<'a>, pops: &Names<'a>) -> Vec<PopId> {
    let Some(entries) = value.list() else {
        return Vec::new();
    };
    if entries.is_empty() {
        value.mistake("`pops` is empty: nothing could be answered", value.remedy());
    }
    let mut all = Vec::new();
    for entry in entries {
        let Some(pop) = pops.find(&entry).map(PopId) else {
            continue;
        };
        if all.contains(&pop) {
            let name = quote(entry.text().unwrap_or_default());
            entry.mistake(
                format!("{name} stands twice in this pool"),
                "remove one of them",
            );
        }
        all.push(pop);
    }
    all
}

fn read_fallback(value: &Value<'_>) -> Vec<IpAddr> {
    let entries = value.list().unwrap_or_default();
    if entries.len() > FALLBACK_LIMIT {
        let message = format!("an answer holds at most {FALLBACK_LIMIT} fallback addresses");
        value.mistake(message, "remove some");
    }
    let mut all = Vec::new();
    for entry in entries {
        let Some(address) = entry.answer_address() else {
            continue;
        };
        if all.contains(&address) {
            entry.mistake(
                format!("{address} stands twice in `fallback`"),
                "remove one of them",
            );
        }
        all.push(address);
    }
    all
}
