//! nginx's `stub_status`, four lines of words and numbers:
//!
//! ```text
//! Active connections: 291
//! server accepts handled requests
//!  16630948 16630948 31070465
//! Reading: 6 Writing: 179 Waiting: 106
//! ```
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use meridian_config::StubField;

use super::Fault;

/// Octets of a page; the real one has about 150.
pub(crate) const STUB_LIMIT: usize = 4096;

/// The numbers of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StubStatus {
    active: u64,
    requests: u64,
    reading: u64,
    writing: u64,
    waiting: u64,
}

impl StubStatus {
    /// Reads a whole page.
    ///
    /// # Errors
    /// [`Fault::NoStub`] for anything else than the page of nginx.
    pub(crate) fn read(page: &[u8]) -> Result<Self, Fault> {
        Self::parse(page).ok_or(Fault::NoStub)
    }

    fn parse(page: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(page.get(..STUB_LIMIT).unwrap_or(page)).ok()?;
        let mut words = text.split_ascii_whitespace();
        let mut said = |words_wanted: &[&str]| {
            words_wanted
                .iter()
                .all(|wanted| words.next() == Some(wanted))
                .then(|| words.next().and_then(|word| word.parse::<u64>().ok()))
                .flatten()
        };
        let active = said(&["Active", "connections:"])?;
        said(&["server", "accepts", "handled", "requests"])?;
        said(&[])?;
        let requests = said(&[])?;
        Some(Self {
            active,
            requests,
            reading: said(&["Reading:"])?,
            writing: said(&["Writing:"])?,
            waiting: said(&["Waiting:"])?,
        })
    }

    /// One of the numbers; requests as the counter that they are.
    #[allow(clippy::cast_precision_loss)] // counters below 2^53
    pub(crate) fn number(&self, field: StubField) -> f64 {
        (match field {
            StubField::Active => self.active,
            StubField::Reading => self.reading,
            StubField::Writing => self.writing,
            StubField::Waiting => self.waiting,
            StubField::Requests => self.requests,
        }) as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PAGE: &str = "Active connections: 291 \nserver accepts handled requests\n \
        16630948 16630948 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n";

    #[test]
    fn the_page_of_nginx_and_nothing_else() {
        let page = StubStatus::read(PAGE.as_bytes()).unwrap();
        let fields = [
            (StubField::Active, 291.0),
            (StubField::Reading, 6.0),
            (StubField::Writing, 179.0),
            (StubField::Waiting, 106.0),
            (StubField::Requests, 31_070_465.0),
        ];
        for (field, right) in fields {
            assert!((page.number(field) - right).abs() < 0.5, "{field:?}");
        }
        for end in 0..PAGE.len() - 2 {
            let cut = StubStatus::read(&PAGE.as_bytes()[..end]);
            // The last number cut short cannot be told from a smaller one: HTTP tells.
            assert!(cut.is_err() || end > PAGE.len() - 6, "{end}");
        }
        for wrong in [
            PAGE.replace("291", "-1"),
            PAGE.replace("291", "99999999999999999999"),
            PAGE.replace("Active", "active"),
            "<html>404</html>".into(),
        ] {
            assert_eq!(
                StubStatus::read(wrong.as_bytes()),
                Err(Fault::NoStub),
                "{wrong}"
            );
        }
    }
}
