//! TLS of the admin listener, and what is read from a verified client certificate.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use meridian_config::{AdminTls, CERTIFICATES_LIMIT, ReadError, read_file};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;
use webpki::EndEntityCert;

/// Why the listener cannot have TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("{key}: cannot read {}: {source}", file.display())]
    Read {
        /// Key of the configuration.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// A file holds something else.
    #[error("{key}: {} holds no usable PEM {what}", file.display())]
    Pem {
        /// Key of the configuration.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Key and certificate do not fit together, or the like.
    #[error("admin.tls: {0}")]
    Rustls(#[from] rustls::Error),
    /// `client_ca` cannot be used.
    #[error("admin.tls.client_ca: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// What the files of `admin.tls` hold.
#[derive(Hash)]
pub(super) struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// One cannot be read, or is too large.
    pub(super) fn read(tls: &AdminTls) -> Result<Self, TlsError> {
        let client_ca = tls.client_ca.as_deref();
        Ok(Self {
            certificate: read("admin.tls.certificate", &tls.certificate)?,
            key: read("admin.tls.key", &tls.key)?,
            client_ca: client_ca
                .map(|file| read("admin.tls.client_ca", file))
                .transpose()?,
        })
    }
}

/// Makes the acceptor of what the files hold.
pub(super) fn acceptor(tls: &AdminTls, files: &Files) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match tls.client_ca.as_deref().zip(files.client_ca.as_deref()) {
        None => builder.with_no_client_auth(),
        Some((file, pem)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("admin.tls.client_ca", file, pem)? {
                roots.add(certificate)?;
            }
            // Not demanded of everybody: a token does as well, and /healthz is open to all.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(
        "admin.tls.certificate",
        &tls.certificate,
        &files.certificate,
    )?;
    let key = private_key(&tls.key, &files.key)?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Names of a verified client certificate, for the log: its DNS names, else its serial number.
pub(crate) fn holder(certificate: &CertificateDer<'_>) -> String {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        return "unreadable".to_owned();
    };
    let names: Vec<&str> = certificate.valid_dns_names().collect();
    if names.is_empty() {
        let serial = certificate.serial().iter().map(|b| format!("{b:02x}"));
        return format!("serial {}", serial.collect::<String>());
    }
    names.join(",")
}

fn certificates(
    key: &'static str,
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::Pem {
            key,
            file: file.to_owned(),
            what: "certificate",
        }),
    }
}

fn private_key(file: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::Pem {
        key: "admin.tls.key",
        file: file.to_owned(),
        what: "private key",
    })
}

fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    read_file(file, CERTIFICATES_LIMIT).map_err(|source| TlsError::Read {
        key,
        file: file.to_owned(),
        source,
    })
}
