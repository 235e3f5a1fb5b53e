//! `[[pool]]`

use std::net::IpAddr;

use crate::{
    Check, CheckId, CheckKind, LoadKind, Pool, Pop, PopId,
    names::Names,
    text::quote,
    walk::{Table, Value},
};

/// Addresses of a fallback: all of them go into one answer.
const FALLBACK_LIMIT: usize = 16;

/// Reads one pool. `read` holds the checks and the PoPs.
pub(crate) fn read_pool<'a>(
    table: Table<'a>,
    pops: &Names<'a>,
    checks: &Names<'a>,
    read: (&[Check], &[Pop]),
) -> Pool {
    let name = table.required("name", "\"edge\"").and_then(|v| v.name());
    let tested = table.get("check", "\"edge\"");
    let check = tested.as_ref().and_then(|v| checks.find(v)).map(CheckId);
    let members = table.required("pops", "[\"fra\", \"iad\"]");
    let members = members.map(|v| read_members(&v, pops)).unwrap_or_default();
    if let (Some(value), Some(check)) = (&tested, check) {
        judge_passive(value, check, &members, read);
    }
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

/// A passive check reads the page of the PoP's load source: without one it would never say anything.
fn judge_passive(value: &Value<'_>, check: CheckId, members: &[PopId], read: (&[Check], &[Pop])) {
    let (checks, pops) = read;
    let passive = |check: &Check| matches!(check.kind, CheckKind::Passive(_));
    let Some(check) = checks.get(check.index()).filter(|c| passive(c)) else {
        return;
    };
    let has_page = |pop: &Pop| {
        let kind = pop.load.as_ref().map(|load| &load.kind);
        matches!(kind, Some(LoadKind::Prometheus { .. }))
    };
    let mut members = members.iter().filter_map(|id| pops.get(id.index()));
    if let Some(pop) = members.find(|pop| !has_page(pop)) {
        value.mistake(
            format!(
                "the check {} is passive, but {} has no page to read",
                quote(&check.name),
                quote(&pop.name)
            ),
            "give each PoP of the pool `load = { prometheus = … }`, or name another check",
        );
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
