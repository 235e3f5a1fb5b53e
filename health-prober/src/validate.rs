//! Mistakes in a configuration that only the prober can see.

use meridian_config::{CheckKind, Config, Diagnostic, Diagnostics};

use crate::probe::{client_config, server_name};

/// Whether every https check can be carried out: its roots can be read, its server name is one.
/// Blocks on files.
///
/// # Errors
/// Every check that cannot, with its remedy.
pub fn validate(config: &Config) -> Result<(), Diagnostics> {
    let mut mistakes = Diagnostics::default();
    for check in &config.checks {
        let CheckKind::Https(http, tls) = &check.kind else {
            continue;
        };
        let place = tls
            .ca_file
            .clone()
            .or_else(|| config.files.first().cloned());
        let mut mistake = |key: &str, message: String, help: &str| {
            let mut mistake = Diagnostic::of_file(place.clone().unwrap_or_default(), message, help);
            mistake.key = format!("check.{}.{key}", check.name);
            mistakes.0.push(mistake);
        };
        if let Err(error) = client_config(tls) {
            let help = "name a readable file with PEM certificates, or leave ca_file out to \
                        trust the system's roots";
            mistake("ca_file", error.to_string(), help);
        }
        if let Some(Err(error)) = server_name(http, tls) {
            mistake(
                "server_name",
                error.to_string(),
                "give a domain name or an IP address",
            );
        }
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(mistakes)
    }
}
