//! What it takes to ask for a page, beside its address: trust anchors and who asks, both from files.

use std::sync::Arc;

use hyper::header::HeaderValue;
use meridian_config::LoadPage;
use rustls::ClientConfig;

use crate::probe::{LoginError, TlsError};

/// Of one source. It stands in the source and goes out with each fetch, so that what belongs to one page
/// never reaches another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// Of a page over TLS.
    pub(crate) tls: Option<Result<Arc<ClientConfig>, TlsError>>,
    /// The value of `Authorization`, of a page that asks for one.
    pub(crate) login: Option<Result<HeaderValue, LoginError>>,
}

impl Access {
    /// What was read of the files of `page`; where they could not be read and the page `before` named the
    /// same ones, what they held then.
    pub(crate) fn or_former(self, page: &LoadPage, before: &LoadPage, former: &Self) -> Self {
        fn choose<T: Clone, E: Clone>(
            read: Option<Result<T, E>>,
            same: bool,
            former: &Option<Result<T, E>>,
        ) -> Option<Result<T, E>> {
            match (&read, former) {
                (Some(Ok(_)), _) => read,
                (_, Some(Ok(_))) if same => former.clone(),
                _ => read,
            }
        }
        Self {
            tls: choose(self.tls, page.tls == before.tls, &former.tls),
            login: choose(self.login, page.login == before.login, &former.login),
        }
    }
}
