//! What is logged.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::{ConfigError, error};

/// Which events are logged, by the text of `--log`. What stands for the value of a field is that value
/// and no pattern: of the patterns there are some whose memory doubles with every five characters.
///
/// # Errors
/// When it is not in the syntax of `tracing`'s `EnvFilter`.
pub(crate) fn log_filter(log: &str) -> Result<EnvFilter, ParseError> {
    // The parser panics at spaces before letters that are longer than a byte.
    let parts: Vec<&str> = log.split(',').map(str::trim).collect();
    EnvFilter::builder().with_regex(false).parse(parts.join(","))
}

pub(super) fn check(log: &str) -> Result<(), ConfigError> {
    match log_filter(log) {
        Ok(_) => Ok(()),
        Err(cause) => error(format!(
            "--log is `{log}`: {cause}; allowed: error, warn, info, debug, trace or off, also \
             by part, as info,server=debug"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_field_is_no_pattern() {
        // As a pattern it would have 2^40 states.
        let value = format!("(a|b)*a{}", "(a|b)".repeat(40));
        let filter = log_filter(&format!("[{{peer={value}}}]=info")).expect("a value of any form");
        assert!(filter.to_string().contains(&value), "{filter}");
    }

    #[test]
    fn spaces_between_parts_mean_nothing() {
        let told = |log| log_filter(log).expect("a filter").to_string();
        assert_eq!(told(" info, server=debug "), told("info,server=debug"));
        assert_eq!(told(" é=info"), told("é=info"));
    }
}
