//! What an explanation says in words.

use meridian_config::{Family, Policy};

use super::{
    Decision, Reason,
    block::Block,
    case::Case,
    explain::{Candidate, Held, Hybrid},
};
use crate::client::Origin;

/// Why the decision is what it is.
pub(super) fn reason(
    case: &Case<'_>,
    decision: &Decision,
    (candidates, anycast): (&[Candidate], Option<&Hybrid>),
) -> String {
    let chosen = candidates.iter().find(|one| one.chosen);
    let name = chosen.map_or("", |one| &one.pop);
    let has_rows = !case.parts().is_empty();
    let shares_place = chosen.is_some_and(|one| one.share.is_some_and(|share| share > 0.0));
    match decision.reason {
        Reason::Nearest | Reason::WeightShared if has_rows && !shares_place => format!(
            "none of those who serve this place has an {} address: {name} comes first of the others, by \
             configuration and distance",
            family(case.family)
        ),
        Reason::Nearest if has_rows => serves(case, name, chosen),
        Reason::WeightShared if has_rows => format!(
            "{} share the clients of this place; this client's block belongs to {name}",
            shares(candidates)
        ),
        Reason::Nearest => match chosen.and_then(|one| one.score_ms) {
            Some(score) => format!("{name} has the best score, {score:.1} ms"),
            None => format!("{name} has the best score"),
        },
        Reason::WeightShared => format!(
            "several PoPs are within {} ms of the best and share clients by weight; this client's \
             block belongs to {name}",
            case.service.tolerance_ms
        ),
        Reason::Pinned => format!("an operator network pins this client to {name}"),
        Reason::ConfiguredOrder => {
            format!(
                "policy failover: {name} comes first in pool {}",
                case.pool.name
            )
        }
        Reason::UnknownLocation => format!(
            "nobody knows where this client is: {name} comes first in pool {}",
            case.pool.name
        ),
        Reason::Anycast => by_anycast(case, candidates, anycast),
        Reason::Unicast => {
            let pool = &case.pool.name;
            let figures = anycast.map_or_else(String::new, figures);
            format!(
                "{name} was measured to be better than the anycast address of pool {pool}{figures}"
            )
        }
        Reason::FailedOver => failed_over(name, candidates),
        Reason::LastResortFallback
        | Reason::LastResortDown
        | Reason::LastResortDrained
        | Reason::LastResortFenced => last_resort(case, decision.reason, name),
        Reason::NoAddressOfFamily => format!(
            "neither the PoPs nor the fallback of pool {} have an {} address: no data",
            case.pool.name,
            family(case.family)
        ),
    }
}

/// What is left when no PoP may be given.
fn last_resort(case: &Case<'_>, reason: Reason, name: &str) -> String {
    match reason {
        Reason::LastResortDown => {
            format!(
                "no PoP is usable: those not drained are handed out as if healthy, {name} first"
            )
        }
        Reason::LastResortDrained => {
            format!("every PoP is drained: they are handed out all the same, {name} first")
        }
        Reason::LastResortFenced => {
            format!(
                "every PoP is fenced against this client: {name} comes first outside the fences"
            )
        }
        _ => format!(
            "no PoP may be handed out: the fallback of pool {}",
            case.pool.name
        ),
    }
}

/// Why no single PoP is given.
fn by_anycast(case: &Case<'_>, candidates: &[Candidate], anycast: Option<&Hybrid>) -> String {
    let first = format!("the anycast address of pool {}", case.pool.name);
    let pinned = candidates.iter().find(|one| one.pinned);
    if let Some(pinned) = pinned {
        return format!("{first}, since {} may not be used", pinned.pop);
    }
    let better = anycast.and_then(|one| one.better.as_ref());
    let figures = anycast.map_or_else(String::new, figures);
    match better {
        Some(one) if one.in_force => format!(
            "{first}, since {}, measured to be better, may not be used{figures}",
            one.pop
        ),
        Some(one) => format!(
            "{first}: {} was better in {} of the last 24 windows, which is not enough{figures}",
            one.pop, one.windows
        ),
        None => format!(
            "{first}: no single PoP was measured to be better by {} ms",
            case.pool.anycast_margin_ms
        ),
    }
}

/// What was measured of both.
fn figures(anycast: &Hybrid) -> String {
    let better = anycast.better.as_ref().and_then(|one| one.latency);
    match better.zip(anycast.latency) {
        Some((one, all)) => format!(": {:.1} ms against {:.1} ms", one.p25_ms, all.p25_ms),
        None => String::new(),
    }
}

/// Of a place that one PoP serves alone.
fn serves(case: &Case<'_>, name: &str, chosen: Option<&Candidate>) -> String {
    let score = chosen.and_then(|one| one.score_ms);
    let score = score.map_or_else(String::new, |score| format!(", score {score:.1} ms"));
    let what = match case.is_measured() {
        true => "by what is measured",
        false => "by what is estimated",
    };
    format!("{name} serves this place {what}{score}")
}

/// Everyone who has a share.
fn shares(candidates: &[Candidate]) -> String {
    let told = candidates.iter().filter_map(|one| {
        let share = one.share.filter(|share| *share > 0.0)?;
        Some(format!("{} ({:.0} %)", one.pop, share * 100.0))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// Whom the client would have got, and why it does not.
fn failed_over(name: &str, candidates: &[Candidate]) -> String {
    let before = candidates.iter().take_while(|one| !one.chosen);
    let missed: Vec<String> = before
        .filter(|one| one.excluded && !one.endpoints.is_empty())
        .map(|one| format!("{} ({})", one.pop, one.why))
        .collect();
    if missed.is_empty() {
        format!("{name}, since what would come first is not usable")
    } else {
        format!(
            "{name}, since {} would come first but may not be used",
            missed.join(", ")
        )
    }
}

/// Why this PoP is chosen or not.
pub(super) fn candidate(
    case: &Case<'_>,
    decision: &Decision,
    one: &Candidate,
    (best, held): (Option<&Candidate>, Option<&Held>),
) -> String {
    if let Some(obstacle) = obstacle(case, one) {
        let forced = one.chosen || one.endpoints.iter().any(|endpoint| endpoint.given);
        return if forced {
            format!("last resort, although {obstacle}")
        } else {
            obstacle
        };
    }
    if one.chosen {
        return chosen(case, decision, one);
    }
    if decision.reason == Reason::Anycast {
        return "the pool's anycast address comes first".to_owned();
    }
    if one.fenced {
        return format!("its fence keeps this client out{}", country(case));
    }
    if one.endpoints.iter().any(|endpoint| endpoint.given) {
        return format!(
            "fills the answer after {}",
            best.map_or("", |best| &best.pop)
        );
    }
    let Some(best) = best else {
        return "not reached".to_owned();
    };
    if best.pinned {
        return format!("the client is pinned to {}", best.pop);
    }
    if one.weight == 0 && best.weight > 0 {
        return "weight 0: only when nothing else is left".to_owned();
    }
    if let Some(told) = held.and_then(|held| holds(held, one)) {
        return told;
    }
    match (one.score_ms, best.score_ms, one.group) {
        (_, _, group) if group.is_some() && group == best.group => {
            format!(
                "shares clients with {}, to which this client's block belongs",
                best.pop
            )
        }
        (Some(own), Some(first), Some(_)) if own >= first => {
            format!("{:.1} ms behind {}", own - first, best.pop)
        }
        _ if one.group.is_none() => format!("behind {} in the pool's list", best.pop),
        _ => format!("behind {}", best.pop),
    }
}

/// Why a PoP with a better score does not get the place, or not all of it.
fn holds(held: &Held, one: &Candidate) -> Option<String> {
    let by = held
        .better_by_ms
        .filter(|_| held.better.as_ref() == Some(&one.pop))?;
    let (home, margin) = (&held.home, held.margin_ms);
    Some(if by <= margin {
        format!("{by:.1} ms better than {home}, which stays until another is by {margin:.1} ms")
    } else {
        format!("{by:.1} ms better than {home}, whose clients move a few at a time")
    })
}

/// What forbids handing a PoP out.
fn obstacle(case: &Case<'_>, one: &Candidate) -> Option<String> {
    let family = family(case.family);
    if one.endpoints.is_empty() {
        return Some(format!("it has no {family} endpoint"));
    }
    if one.drained {
        let said = one
            .r#override
            .as_ref()
            .map_or("", |word| word.reason.as_str());
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        return Some(format!("drained by an operator{said}"));
    }
    if !one.usable && one.verdict.is_usable() {
        let asked = case.service.min_health.0 * 100.0;
        let told = &one.verdict_reason;
        return Some(format!(
            "down: {told}, and this service asks for {asked} % of its endpoints"
        ));
    }
    if !one.usable {
        return Some(format!("down: {}", one.verdict_reason));
    }
    if one.endpoints.iter().all(|endpoint| !endpoint.usable) {
        return Some(format!("none of its {family} endpoints is up"));
    }
    None
}

fn chosen(case: &Case<'_>, decision: &Decision, one: &Candidate) -> String {
    let stands_in = !case.parts().is_empty() && one.share.is_none_or(|share| share <= 0.0);
    let how = match decision.reason {
        Reason::Pinned => "pinned",
        Reason::WeightShared | Reason::Nearest if stands_in => {
            "first of those who do not serve this place"
        }
        Reason::WeightShared => "this client's block belongs to it",
        Reason::Nearest => "best score",
        Reason::Unicast => "measured to be better than anycast",
        Reason::FailedOver => "first usable",
        Reason::LastResortFenced => "outside its fence, as the last resort",
        _ if case.service.policy == Policy::Failover => "first in the pool's list",
        _ if one.score_ms.is_none() => "first in the pool's list, location unknown",
        _ => "first",
    };
    format!("chosen: {how}")
}

/// Why the TTL is shorter than configured.
pub(super) fn ttl(
    case: &Case<'_>,
    decision: &Decision,
    candidates: &[Candidate],
) -> Option<String> {
    let (least, whole) = (case.service.ttl_min, case.service.ttl);
    if decision.ttl >= whole {
        return None;
    }
    let awaited = case.choice().is_awaited();
    let counts = |one: &&Candidate| match one.usable {
        true => one.endpoints.iter().any(|endpoint| endpoint.given),
        // What an operator holds down does not come back by itself.
        false => awaited && !one.drained,
    };
    let soon = |one: &Candidate| Some((one.flips_in_s?, one.usable, one.pop.clone()));
    let all = candidates.iter().filter(counts).filter_map(soon);
    let first = all.min_by(|one, other| one.0.total_cmp(&other.0));
    let why = match first {
        Some((seconds, true, pop)) => format!("{pop} may go down within {seconds:.1} s"),
        Some((seconds, false, pop)) => format!("{pop} may come back within {seconds:.1} s"),
        None if awaited => "an endpoint that would be in it may come back soon".to_owned(),
        None => "an endpoint in it may go down soon".to_owned(),
    };
    Some(format!(
        "lowered from {whole} s, since {why}; never below {least} s"
    ))
}

/// Why the scope is what it is.
pub(super) fn scope(case: &Case<'_>, block: &Block, origin: Origin, decision: &Decision) -> String {
    let cap = block.scope_of_block();
    match decision.scope {
        0 if origin == Origin::OptOut => {
            "0: the client opted out, the answer follows the resolver's own address".to_owned()
        }
        0 => "0: everyone gets this answer".to_owned(),
        scope if block.exception().is_some() => {
            format!("{scope}: this prefix is judged by its own latency, apart from its cell")
        }
        scope if scope == cap && block.scope_of(&case.steering.clients, None) < cap => format!(
            "{scope}: PoPs share clients by weight, block by block, and blocks are this long"
        ),
        scope if scope == cap && !block.is_joinable() => {
            format!(
                "{scope}: beside it are addresses that hold IPv4 addresses, which are judged by these"
            )
        }
        scope if scope == cap => format!("{scope}: as long as scope_max allows"),
        scope => format!("{scope}: every address inside gets this answer at the moment"),
    }
}

fn country(case: &Case<'_>) -> String {
    let cells = case.steering.clients.cells();
    let cell = case.cell.and_then(|cell| cells.get(cell.0 as usize));
    let code = cell.and_then(|cell| cell.country);
    let text = code.and_then(|code| String::from_utf8(code.to_vec()).ok());
    text.map_or(" (country unknown)".to_owned(), |text| {
        format!(" (country {text})")
    })
}

fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "A",
        Family::V6 => "AAAA",
    }
}
