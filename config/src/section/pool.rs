//! `[[pool]]`

use std::{net::IpAddr, time::Duration};

use toml::de::DeValue;

use crate::{
    Anycast, Check, CheckId, CheckKind, CheckRule, LoadKind, Pool, PoolCheck, Pop, PopId,
    names::Names,
    text::quote,
    walk::{Table, Value},
};

/// Checks of one pool.
const CHECK_LIMIT: usize = 8;
/// Addresses of a fallback: all of them go into one answer.
const FALLBACK_LIMIT: usize = 16;
/// Largest `anycast_margin`.
const MARGIN_LIMIT: Duration = Duration::from_secs(1);

/// Reads one pool. `read` holds the checks and the PoPs.
pub(crate) fn read_pool<'a>(
    table: Table<'a>,
    pops: &Names<'a>,
    checks: &Names<'a>,
    read: (&[Check], &[Pop]),
) -> Pool {
    let name = table.required("name", "\"edge\"").and_then(|v| v.name());
    let tested = table.get("check", "\"edge\"");
    let check = tested.as_ref().and_then(|v| read_check_of(v, checks));
    let members = table.required("pops", "[\"fra\", \"iad\"]");
    let members = members.map(|v| read_members(&v, pops)).unwrap_or_default();
    for id in check.iter().flat_map(|check| &check.checks) {
        if let Some(value) = &tested {
            judge_passive(value, *id, &members, read);
        }
    }
    let fallback = table.get("fallback", "[\"192.0.2.250\"]");
    let fallback = fallback.map(|v| read_fallback(&v)).unwrap_or_default();
    let anycast = read_anycast(&table, &members, read.1);
    table.close();
    Pool {
        name: name.unwrap_or_default().to_owned(),
        check,
        pops: members,
        fallback,
        anycast,
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

/// A name, or `{ all = [NAMES] }`, or `{ any = [NAMES] }`.
fn read_check_of<'a>(value: &Value<'a>, checks: &Names<'a>) -> Option<PoolCheck> {
    match value.inner {
        DeValue::String(_) => checks.find(value).map(CheckId).map(PoolCheck::one),
        DeValue::Table(_) => {
            let table = value.table()?;
            let all = table.get("all", "[\"web\", \"ping\"]");
            let any = table.get("any", "[\"web\", \"ping\"]");
            let table_is_empty = table.inner.is_empty();
            table.close();
            let (rule, list) = match (all, any) {
                (Some(_), Some(any)) => {
                    any.mistake(
                        "`all` and `any` stand beside each other",
                        "remove one of them",
                    );
                    return None;
                }
                (Some(all), None) => (CheckRule::All, all),
                (None, Some(any)) => (CheckRule::Any, any),
                // A key that is unknown is reported already.
                (None, None) if !table_is_empty => return None,
                (None, None) => {
                    value.mistake(
                        "neither `all` nor `any` stands here",
                        "write for example `check = { all = [\"web\", \"ping\"] }`",
                    );
                    return None;
                }
            };
            read_combined(rule, &list, checks)
        }
        _ => {
            value.wrong_type("the name of a check, or `{ all = [...] }`, or `{ any = [...] }`");
            None
        }
    }
}

fn read_combined<'a>(rule: CheckRule, list: &Value<'a>, checks: &Names<'a>) -> Option<PoolCheck> {
    let entries = list.list()?;
    if entries.is_empty() {
        let message = format!("`{}` is empty: nothing would be tested", list.name);
        list.mistake(message, list.remedy());
    }
    if entries.len() > CHECK_LIMIT {
        let message = format!("a pool has at most {CHECK_LIMIT} checks");
        list.mistake(message, "remove some");
        return None;
    }
    let mut found: Vec<CheckId> = Vec::new();
    for entry in &entries {
        let Some(check) = checks.find(entry).map(CheckId) else {
            continue;
        };
        if found.contains(&check) {
            let name = quote(entry.text().unwrap_or_default());
            let message = format!("{name} stands twice in `{}`", list.name);
            entry.mistake(message, "remove one of them");
            continue;
        }
        found.push(check);
    }
    found.sort_unstable();
    let rule = if found.len() < 2 {
        CheckRule::All
    } else {
        rule
    };
    (!found.is_empty()).then_some(PoolCheck {
        rule,
        checks: found,
    })
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

fn read_anycast(table: &Table<'_>, members: &[PopId], pops: &[Pop]) -> Option<Anycast> {
    let value = table.get("anycast", "[\"192.0.2.1\", \"2001:db8::1\"]");
    let margin = table.get("anycast_margin", "\"10ms\"");
    let Some(value) = value else {
        if let Some(margin) = margin {
            margin.mistake(
                "`anycast_margin` stands here, but the pool has no `anycast`",
                "add `anycast = [\"192.0.2.1\", \"2001:db8::1\"]`, or remove it",
            );
        }
        return None;
    };
    let entries = value.list()?;
    if entries.is_empty() {
        value.mistake("`anycast` is empty", value.remedy());
    }
    let mut all: Vec<IpAddr> = Vec::new();
    for entry in entries {
        let Some(address) = entry.answer_address() else {
            continue;
        };
        if all.iter().any(|one| one.is_ipv4() == address.is_ipv4()) {
            entry.mistake(
                "a pool has at most one anycast address of each family",
                "remove one of them",
            );
        }
        let holds = |id: &&PopId| {
            let pop = pops.get(id.index());
            pop.is_some_and(|pop| pop.endpoints.contains(&address))
        };
        if let Some(pop) = members
            .iter()
            .find(holds)
            .and_then(|id| pops.get(id.index()))
        {
            entry.mistake(
                format!(
                    "{address} is an endpoint of {} too, which is reached at one place only",
                    quote(&pop.name)
                ),
                "give the address that all PoPs announce",
            );
        }
        all.push(address);
    }
    let margin = margin.and_then(|value| value.duration(Duration::ZERO..=MARGIN_LIMIT));
    Some(Anycast {
        addresses: all,
        margin: margin.unwrap_or(Duration::from_millis(10)),
    })
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
