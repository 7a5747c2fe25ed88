//! The key in a path, and the answer's word for its absence.

use bytes::Bytes;
use hyper::Uri;
use kvcore::Revision;

use super::error::{ApiError, ErrorName};
use super::parameters::{decode, excerpt};

/// The longest key in a path, in bytes after decoding.
pub(crate) const PATH_KEY_BYTES_MAX: usize = 4 << 10;

/// The key of `/v1/kv/{key}`: the rest of the path, percent-decoded, any bytes.
pub(crate) fn from_path(uri: &Uri) -> Result<Bytes, ApiError> {
    let encoded = uri.path().strip_prefix("/v1/kv/").unwrap_or_default();
    let key = decode(encoded)?;
    if key.is_empty() {
        return Err(ApiError::new(
            ErrorName::KeyEmpty,
            format!(
                "the path has no key; a key of 1 to {PATH_KEY_BYTES_MAX} bytes follows /v1/kv/, \
                 and many keys are at /v1/kv?prefix=…"
            ),
        ));
    }
    if key.len() > PATH_KEY_BYTES_MAX {
        return Err(ApiError::new(
            ErrorName::KeyTooLarge,
            format!(
                "the key has {} bytes; at most {PATH_KEY_BYTES_MAX} are allowed in a path",
                key.len()
            ),
        ));
    }
    Ok(key.into())
}

/// The error for a key that does not exist.
pub(crate) fn not_found(key: &[u8], at: Option<Revision>) -> ApiError {
    let at = at.map_or(String::new(), |at| format!(" at revision {at}"));
    ApiError::new(ErrorName::KeyNotFound, format!("the key `{}` does not exist{at}", excerpt(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Result<Bytes, ApiError> {
        from_path(&path.parse().expect("a URI"))
    }

    #[test]
    fn a_key_is_any_bytes_and_may_contain_slashes() {
        assert_eq!(key("/v1/kv/a/b%2Fc%00%FF+?x=y"), Ok(Bytes::from_static(b"a/b/c\x00\xFF+")));
        assert_eq!(key("/v1/kv//"), Ok(Bytes::from_static(b"/")));
    }

    #[test]
    fn a_key_has_at_least_one_byte_and_at_most_so_many_after_decoding() {
        assert_eq!(key("/v1/kv/").map_err(|e| e.name), Err(ErrorName::KeyEmpty));
        assert!(key(&format!("/v1/kv/{}", "%61".repeat(PATH_KEY_BYTES_MAX))).is_ok());
        let error = key(&format!("/v1/kv/{}", "a".repeat(PATH_KEY_BYTES_MAX + 1)));
        assert_eq!(error.map_err(|e| e.name), Err(ErrorName::KeyTooLarge));
    }
}
