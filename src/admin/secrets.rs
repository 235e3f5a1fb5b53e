//! Token and certificates as the listener has read them: replaced whole when they are read again.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    sync::Arc,
};

use arc_swap::ArcSwap;
use meridian_config::{Admin, read_file};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    AdminError,
    access::{Access, Token},
    tls::{self, Files},
};

/// Largest file with a token, octets.
const TOKEN_LIMIT: u64 = 4096;

/// The secrets in force.
pub(super) type Current = Arc<ArcSwap<Secrets>>;

/// What was read from files.
pub(crate) struct Secrets {
    pub(super) access: Access,
    pub(super) tls: Option<TlsAcceptor>,
    /// Cancelled when others take their place: who came in under these has to come in again.
    pub(super) retired: CancellationToken,
    /// Of the files' contents and of the rule, to tell whether anything changed. Not of [`Self::nobody`].
    mark: Option<u64>,
}

/// Reads token and certificates again while the server runs.
#[derive(Clone)]
pub(crate) struct Refresh {
    pub(super) secrets: Current,
}

impl Refresh {
    /// Takes over what the files that `admin` names hold now. Where that is something else than before,
    /// connections that are open end after the request that they carry. Blocks on files.
    ///
    /// # Errors
    /// The old token and certificates stay in force.
    pub(crate) fn refresh(&self, admin: &Admin) -> Result<(), AdminError> {
        let new = Secrets::read(admin)?;
        if self.secrets.load().mark != new.mark {
            self.secrets.swap(Arc::new(new)).retired.cancel();
        }
        Ok(())
    }
}

impl Secrets {
    /// Reads token and certificates. Done before the server gives up its privileges: the files
    /// are often readable by root alone. Blocks on files.
    pub(crate) fn read(admin: &Admin) -> Result<Self, AdminError> {
        let token = admin.token_file.as_deref().map(read_token).transpose()?;
        let files = admin.tls.as_ref().map(Files::read).transpose()?;
        let access = Access {
            loopback: admin.listen.ip().to_canonical().is_loopback(),
            token,
            certificates: admin.tls.as_ref().is_some_and(|t| t.client_ca.is_some()),
        };
        if !access.loopback && access.token.is_none() && !access.certificates {
            return Err(AdminError::Unprotected(admin.listen));
        }
        let mut mark = DefaultHasher::new();
        (access.token.as_ref().map(|token| &token.0), &files).hash(&mut mark);
        let tls = admin.tls.as_ref().zip(files);
        let tls = tls.map(|(named, files)| tls::acceptor(named, &files));
        Ok(Self {
            access,
            tls: tls.transpose()?,
            retired: CancellationToken::new(),
            mark: Some(mark.finish()),
        })
    }

    /// Lets nobody in but to `/healthz` and `/readyz`, until the files can be read.
    pub(crate) fn nobody() -> Self {
        // Certificates are demanded, and without TLS nobody can show one.
        let access = Access {
            loopback: false,
            token: None,
            certificates: true,
        };
        Self {
            access,
            tls: None,
            retired: CancellationToken::new(),
            mark: None,
        }
    }
}

fn read_token(file: &Path) -> Result<Token, AdminError> {
    let text = read_file(file, TOKEN_LIMIT).map_err(|source| AdminError::Token {
        file: file.to_owned(),
        source,
    })?;
    let token = text.trim_ascii();
    if token.len() < 16 {
        return Err(AdminError::ShortToken(file.to_owned()));
    }
    Ok(Token(token.to_vec()))
}
