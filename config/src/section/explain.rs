//! `[explain]`

use ipnet::IpNet;

use crate::{
    Explain,
    walk::{Table, Value},
};

/// Most networks: each question that asks for an explanation is compared with all of them.
const CLIENT_LIMIT: usize = 64;

/// Reads `[explain]`.
pub(crate) fn read_explain(table: Option<Table<'_>>) -> Explain {
    let Some(table) = table else {
        return Explain::default();
    };
    let clients = table.required("clients", "[\"192.0.2.0/24\"]");
    let clients = clients.map(|v| read_clients(&v)).unwrap_or_default();
    table.close();
    Explain { clients }
}

fn read_clients(value: &Value<'_>) -> Vec<IpNet> {
    let entries = value.list().unwrap_or_default();
    if let Some(entry) = entries.get(CLIENT_LIMIT) {
        entry.mistake(
            format!("this is network number {}", CLIENT_LIMIT + 1),
            format!("list at most {CLIENT_LIMIT} networks; a shorter prefix holds many"),
        );
    }
    let read = |entry: &Value<'_>| {
        let net = entry.network(true)?;
        if net.prefix_len() == 0 {
            entry.mistake(
                format!("{net} is everyone, and explanations are for operators"),
                "list the networks that operators ask from",
            );
        }
        Some(net)
    };
    entries.iter().take(CLIENT_LIMIT).filter_map(read).collect()
}
