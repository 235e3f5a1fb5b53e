//! Mistakes in a configuration that only the prober can see.

use std::os::unix::fs::PermissionsExt;

use meridian_config::{Check, CheckKind, Config, Diagnostic, Diagnostics, ExecCheck, TlsCheck};

use crate::probe::{Anchors, alpn, client_config, read_login, server_name};

/// Whether every check can be carried out: the roots of TLS can be read, its server name is one,
/// the program is there. Blocks on files.
///
/// # Errors
/// Every check that cannot, with its remedy.
pub fn validate(config: &Config) -> Result<(), Diagnostics> {
    let mut mistakes = Diagnostics::default();
    let mut anchors = Anchors::default();
    for check in &config.checks {
        if let CheckKind::Exec(exec) = &check.kind {
            mistakes.0.extend(cannot_run(config, check, exec));
        }
        let Some(tls) = check.kind.tls() else {
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
        if let Err(error) = client_config(tls, alpn(&check.kind), &mut anchors) {
            let help = "name a readable file with PEM certificates, or leave ca_file out to \
                        trust the system's roots";
            mistake("ca_file", error.to_string(), help);
        }
        if let Some(Err(error)) = server_name(check.kind.host(), tls) {
            mistake(
                "server_name",
                error.to_string(),
                "give a domain name or an IP address",
            );
        }
    }
    for pop in &config.pops {
        let page = pop.load.as_ref().and_then(|load| load.kind.page());
        if let Some(login) = page.and_then(|page| page.login.as_ref())
            && let Err(error) = read_login(login)
        {
            let message = format!("load of {}: {error}", pop.name);
            let help = "name a file that this server can read, best with mode 0600";
            let mistake = Diagnostic::of_file(login.file().clone(), message, help);
            mistakes.0.push(mistake);
        }
        // The system's roots are read, and told of, at the start.
        let named = |tls: &&TlsCheck| tls.ca_file.is_some();
        let Some(tls) = page.and_then(|page| page.tls.as_ref()).filter(named) else {
            continue;
        };
        if let Err(error) = client_config(tls, &[b"http/1.1"], &mut anchors) {
            let file = tls.ca_file.clone();
            let help = "name a readable file with PEM certificates, or leave ca_file out to \
                        trust the system's roots";
            let message = format!("load of {}: {error}", pop.name);
            let mistake = Diagnostic::of_file(file.unwrap_or_default(), message, help);
            mistakes.0.push(mistake);
        }
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(mistakes)
    }
}

/// A program that is not there, or may not be run by anybody.
fn cannot_run(config: &Config, check: &Check, exec: &ExecCheck) -> Option<Diagnostic> {
    let program = exec.command.first()?;
    let problem = match std::fs::metadata(program) {
        Err(error) => error.kind().to_string(),
        Ok(about) if !about.is_file() => "not a file".to_owned(),
        Ok(about) if about.permissions().mode() & 0o111 == 0 => "not executable".to_owned(),
        Ok(_) => return None,
    };
    let file = config.files.first().cloned().unwrap_or_default();
    let message = format!("{program}: {problem}");
    let help = "install the program, or name another one";
    let mut mistake = Diagnostic::of_file(file, message, help);
    mistake.key = format!("check.{}.command", check.name);
    Some(mistake)
}
