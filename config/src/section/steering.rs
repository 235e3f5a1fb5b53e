//! `[steering]`, and the same keys in a service.

use std::time::Duration;

use crate::{
    Policy, Ratio, ScopeMax, Steering, Ttl,
    walk::{Table, Value},
};

/// What applies where the operator says nothing.
pub(crate) fn default_steering() -> Steering {
    Steering {
        distance: 0.3,
        latency: 0.4,
        load: 0.3,
        tolerance: Duration::from_millis(5),
        answers: 1,
        ttl: Ttl(30),
        ttl_min: None,
        min_health: Ratio(0.5),
        target_load: Ratio(0.7),
        policy: Policy::Score,
        scope_max: ScopeMax { ipv4: 24, ipv6: 56 },
    }
}

/// Lays the steering keys of a table over what applies otherwise. The caller closes the table.
pub(crate) fn read_steering(table: &Table<'_>, mut steering: Steering) -> Steering {
    read_weights(table, &mut steering);
    let tolerance = table.get("tolerance", "\"5ms\"");
    let range = Duration::ZERO..=Duration::from_secs(10);
    if let Some(tolerance) = tolerance.and_then(|v| v.duration(range)) {
        steering.tolerance = tolerance;
    }
    if let Some(answers) = table.get("answers", "1").and_then(|v| v.integer(1..=16)) {
        steering.answers = answers as usize;
    }
    read_ttls(table, &mut steering);
    if let Some(ratio) = table.get("min_health", "0.5").and_then(|v| min_health(&v)) {
        steering.min_health = ratio;
    }
    let words = [("score", Policy::Score), ("failover", Policy::Failover)];
    if let Some(policy) = table
        .get("policy", "\"failover\"")
        .and_then(|v| v.choice(&words))
    {
        steering.policy = policy;
    }
    let scope_max = table.get("scope_max", "{ ipv4 = 24, ipv6 = 56 }");
    if let Some(inner) = scope_max.and_then(|v| v.table()) {
        read_scope_max(inner, &mut steering.scope_max);
    }
    let target = table.get("target_load", "0.7");
    if let Some(target) = target.and_then(|v| v.number(0.05..=1.0)) {
        steering.target_load = Ratio(target);
    }
    steering
}

fn read_ttls(table: &Table<'_>, steering: &mut Steering) {
    let given = table.get("ttl", "\"30s\"");
    if let Some(ttl) = given.as_ref().and_then(Value::ttl) {
        steering.ttl = ttl;
    }
    let least = table.get("ttl_min", "\"10s\"");
    if let Some(ttl) = least.as_ref().and_then(Value::ttl) {
        steering.ttl_min = Some(ttl);
    }
    let (Some(value), Some(min)) = (least.or(given), steering.ttl_min) else {
        return;
    };
    if min > steering.ttl {
        value.mistake(
            format!(
                "`ttl_min` of {}s is above `ttl` of {}s",
                min.0, steering.ttl.0
            ),
            "answers live for `ttl`, and shorter only while a verdict may flip: lower `ttl_min`, \
             or raise `ttl`",
        );
    }
}

fn read_weights(table: &Table<'_>, steering: &mut Steering) {
    let weight = |value: Option<Value<'_>>, into: &mut f64| {
        if let Some(weight) = value.and_then(|v| v.number(0.0..=1000.0)) {
            *into = weight;
        }
    };
    let distance = table.get("distance", "0.3");
    weight(distance.clone(), &mut steering.distance);
    let latency = table.get("latency", "0.4");
    weight(latency.clone(), &mut steering.latency);
    weight(table.get("load", "0.3"), &mut steering.load);
    // With load alone every PoP of a pool without load sources would score alike.
    if let Some(value) = distance.or(latency)
        && steering.distance == 0.0
        && steering.latency == 0.0
    {
        value.mistake(
            "`distance` and `latency` are both 0: nothing would say which PoP is near",
            "give one of them a weight above 0, or use `policy = \"failover\"`",
        );
    }
}

fn min_health(value: &Value<'_>) -> Option<Ratio> {
    let ratio = value.number(0.0..=1.0)?;
    if ratio == 0.0 {
        value.mistake(
            "with `min_health = 0` a PoP would count as up while none of its endpoints is",
            "write a share above 0, or leave `check` out of the pool so that nothing is tested",
        );
        return None;
    }
    Some(Ratio(ratio))
}

fn read_scope_max(table: Table<'_>, scope_max: &mut ScopeMax) {
    let limit = |value: Option<Value<'_>>, longest: u32, into: &mut u8| {
        let length = value.and_then(|v| v.integer(1..=longest));
        if let Some(length) = length.and_then(|l| u8::try_from(l).ok()) {
            *into = length;
        }
    };
    limit(table.get("ipv4", "24"), 32, &mut scope_max.ipv4);
    limit(table.get("ipv6", "56"), 128, &mut scope_max.ipv6);
    table.close();
}
