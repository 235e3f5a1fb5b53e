//! TLS as a check asks for it: certificate and name verified, unless `insecure = true`.
//!
//! Sessions are not resumed: a resumed session is not verified again, and an expired certificate
//! would go unnoticed.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use meridian_config::{CERTIFICATES_LIMIT, CheckKind, TlsCheck, read_file};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Clock, Trouble, certificates::Certificates, connect};
use crate::{CertificateFault, LocalReason, Phase, Reason, engine::Job};

/// Settings by name of the check.
pub(crate) type Setups = HashMap<String, Result<Arc<ClientConfig>, TlsError>>;

/// The TLS settings of every check over TLS, by name of the check.
#[derive(Default)]
pub(super) struct Tls {
    by_check: Mutex<Setups>,
    pub(super) certificates: Arc<Certificates>,
}

/// Why a check's TLS settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsError {
    /// The file cannot be read or holds no certificate.
    #[error("ca_file {path} is not readable as PEM certificates")]
    CaFile {
        /// The file.
        path: String,
    },
    /// The system has no roots.
    #[error("no trusted root certificates found on this system; set ca_file")]
    NoSystemRoots,
    /// Neither a domain name nor an address.
    #[error("`{name}` is not a server name")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The cryptography refused its own settings.
    #[error("TLS cannot be set up")]
    Provider,
}

impl Tls {
    /// Takes over what was read for the checks of a configuration. Where that failed and the check had
    /// usable settings before, those stay.
    pub(super) fn prepare(&self, mut after: Setups) {
        let mut known = self.lock();
        for (check, setup) in &mut after {
            if let Err(error) = setup {
                tracing::error!(%check, %error, "TLS of a check cannot be set up");
                if let Some(old @ Ok(_)) = known.remove(check) {
                    *setup = old;
                }
            }
        }
        *known = after;
    }

    /// The handshake on a new connection.
    pub(super) async fn handshake(
        &self,
        job: &Job,
        tls: &TlsCheck,
        stream: TcpStream,
        clock: Clock,
    ) -> Result<TlsStream<TcpStream>, Trouble> {
        let setup = |error: TlsError| Trouble::Local(LocalReason::TlsSetup(error.to_string()));
        let config = self
            .lock()
            .get(&job.target.check.name)
            .cloned()
            .unwrap_or(Err(TlsError::Provider))
            .map_err(setup)?;
        let name = server_name(job.target.check.kind.host(), tls)
            .unwrap_or_else(|| Ok(ServerName::from(job.target.address)))
            .map_err(setup)?;
        let connect = async {
            let handshake = TlsConnector::from(config).connect(name, stream).await;
            handshake.map_err(|error| tls_trouble(&error))
        };
        let stream = clock.limit(Phase::Tls, connect).await?;
        let ends = end_of_certificate(&stream);
        if let Some(ends) = ends {
            self.certificates.put(job, ends);
        }
        still_long_valid(tls, ends)?;
        Ok(stream)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Setups> {
        self.by_check.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The application protocols that a check speaks over TLS (RFC 7301).
pub(crate) fn alpn(kind: &CheckKind) -> &'static [&'static [u8]] {
    match kind {
        CheckKind::Https(http, _) if !http.http2 => &[b"http/1.1"],
        CheckKind::Https(..) | CheckKind::Grpc(_) => &[b"h2"],
        _ => &[],
    }
}

/// When the certificate that the target showed ends, in seconds since the epoch.
fn end_of_certificate(stream: &TlsStream<TcpStream>) -> Option<u64> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

/// Refuses a certificate that ends in fewer days than the check asks for.
#[allow(clippy::disallowed_methods)] // a runner: certificates live by the wall clock
fn still_long_valid(tls: &TlsCheck, ends: Option<u64>) -> Result<(), Trouble> {
    let Some(least) = tls.min_days else {
        return Ok(());
    };
    let unreadable =
        || Reason::Certificate(CertificateFault::Other("its end cannot be read".into()));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = ends.ok_or_else(unreadable)?.saturating_sub(now) / 86_400;
    if days < u64::from(least) {
        return Err(Reason::Expiring { days, least }.into());
    }
    Ok(())
}

/// Trust anchors that have been read, each set once: the system's are many, and so are checks.
#[derive(Default)]
pub(crate) struct Anchors {
    /// By file; the system's without one.
    read: HashMap<Option<PathBuf>, Result<Arc<RootCertStore>, TlsError>>,
}

impl Anchors {
    fn get(&mut self, ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, TlsError> {
        let read = self.read.entry(ca_file.map(Path::to_owned));
        read.or_insert_with(|| roots(ca_file).map(Arc::new)).clone()
    }
}

/// The settings of a check, its roots read from disk unless `anchors` has them.
pub(crate) fn client_config(
    tls: &TlsCheck,
    protocols: &[&[u8]],
    anchors: &mut Anchors,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|_| TlsError::Provider)?;
    let mut config = if tls.insecure {
        let verifier = Arc::new(AnyCertificate(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth()
    } else {
        builder
            .with_root_certificates(anchors.get(tls.ca_file.as_deref())?)
            .with_no_client_auth()
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The name for SNI and verification that the check itself gives: `server_name`, else `host`
/// without its port.
pub(crate) fn server_name(
    host: Option<&str>,
    tls: &TlsCheck,
) -> Option<Result<ServerName<'static>, TlsError>> {
    let name = match (&tls.server_name, host) {
        (Some(name), _) => name.as_str(),
        (None, Some(host)) => without_port(host),
        (None, None) => return None,
    };
    let bad = |_| TlsError::ServerName { name: name.into() };
    Some(ServerName::try_from(name.to_owned()).map_err(bad))
}

/// `host`, `host:port`, `[v6]` or `[v6]:port` (RFC 9110 §7.2) without the port.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        return address;
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() {
            Err(TlsError::NoSystemRoots)
        } else {
            Ok(roots)
        };
    };
    let bad = || TlsError::CaFile {
        path: path.display().to_string(),
    };
    let pem = read_file(path, CERTIFICATES_LIMIT).map_err(|_| bad())?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| bad())?;
        roots.add(certificate).map_err(|_| bad())?;
    }
    if roots.is_empty() {
        Err(bad())
    } else {
        Ok(roots)
    }
}

/// What a failed handshake, or an error on a TLS connection, means.
pub(super) fn tls_trouble(error: &io::Error) -> Trouble {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(fault)) => {
            Reason::Certificate(certificate_fault(fault)).into()
        }
        Some(other) => Reason::Tls(in_words(other)).into(),
        None => connect::trouble(error),
    }
}

/// The two mistakes of configuration that show here in plain words, everything else as rustls says it.
fn in_words(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, Error, InvalidMessage};
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what came back is not TLS".to_owned()
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the target does not offer the protocol of the check (ALPN)".to_owned()
        }
        other => shorten(&other.to_string()),
    }
}

fn certificate_fault(fault: &CertificateError) -> CertificateFault {
    use CertificateError as E;
    match fault {
        E::Expired | E::ExpiredContext { .. } => CertificateFault::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        E::UnknownIssuer => CertificateFault::UnknownIssuer,
        E::NotValidForName | E::NotValidForNameContext { .. } => CertificateFault::WrongName,
        E::Revoked => CertificateFault::Revoked,
        // The verifier's own error has no variant here.
        E::Other(other) if other.0.to_string().contains("CaUsedAsEndEntity") => {
            CertificateFault::Authority
        }
        other => CertificateFault::Other(shorten(&other.to_string())),
    }
}

/// What a peer can influence is kept short and printable in logs.
pub(super) fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// Accepts any certificate. Only for `insecure = true`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_off_hosts() {
        for (host, name) in [
            ("www.example.com", "www.example.com"),
            ("www.example.com:8443", "www.example.com"),
            ("192.0.2.1:8443", "192.0.2.1"),
            ("[2001:db8::1]:8443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
