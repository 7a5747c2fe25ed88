//! Paths and queries of the API, percent-encoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What stands for itself in a key of a path.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// What stands for itself in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The path and query of a request.
#[derive(Clone, Debug)]
pub(super) struct Url {
    text: String,
    has_query: bool,
}

impl Url {
    /// A path that needs no encoding.
    pub(super) fn path(path: &str) -> Self {
        Self { text: path.to_owned(), has_query: false }
    }

    /// The path of a key.
    pub(super) fn key(key: &str) -> Self {
        Self::path(&format!("/v1/kv/{}", percent_encode(key.as_bytes(), PATH)))
    }

    /// The path of a fault.
    pub(super) fn fault(id: &str) -> Self {
        Self::path(&format!("/v1/faults/{}", percent_encode(id.as_bytes(), QUERY)))
    }

    /// The path of a lease.
    pub(super) fn lease(lease: i64) -> Self {
        Self::path(&format!("/v1/leases/{lease}"))
    }

    /// Adds a parameter.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(&format!("{name}={}", percent_encode(value.as_bytes(), QUERY)));
        self
    }

    /// Adds a parameter if there is a value for it.
    pub(super) fn with_some<T: ToString>(self, name: &str, value: Option<&T>) -> Self {
        match value {
            Some(value) => self.with(name, &value.to_string()),
            None => self,
        }
    }

    /// Adds a flag if it is on.
    pub(super) fn with_flag(self, name: &str, on: bool) -> Self {
        if on { self.with(name, "true") } else { self }
    }

    /// The path with its query.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn every_byte_of_a_key_survives() {
        assert_eq!(Url::key("a/b c%?ü").as_str(), "/v1/kv/a/b%20c%25%3F%C3%BC");
        let url = Url::path("/v1/kv").with("prefix", "a+b&c").with_flag("prev", true);
        assert_eq!(url.as_str(), "/v1/kv?prefix=a%2Bb%26c&prev=true");
    }
}
