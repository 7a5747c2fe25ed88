//! Numbers as people read them.

use std::time::Duration;

/// About three significant digits, thousands apart: `12,345`, `128`, `5.21`, `0.043`.
#[must_use]
pub fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        thousands(value)
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 || size == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// A whole number with its thousands apart.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0.0 {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 block`, `6 blocks`, `1,000 blocks`.
#[must_use]
pub fn count_words(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(count as f64))
}

/// A duration in seconds: `1.8 s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds.fract() == 0.0 { format!("{seconds:.0} s") } else { format!("{seconds:.1} s") }
}

/// An amount of memory in the largest unit that leaves at least one: `23.4 GiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    unreachable!("the last unit returns")
}

/// A Unix time as a date and time of day in UTC: `2026-11-22 02:31 UTC`.
#[must_use]
pub fn utc(seconds: u64) -> String {
    // The civil calendar from a count of days, after Howard Hinnant's `civil_from_days`.
    let days = (seconds / 86_400) + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// `one, two and three`.
pub(crate) fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_about_three_digits() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.0434, "0.043"),
            (5.214, "5.21"),
            (43.21, "43.2"),
            (128.4, "128"),
            (12_345.6, "12,346"),
            (1_234_567.0, "1,234,567"),
            (-1_500.0, "-1,500"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(count_words(1, "block"), "1 block");
        assert_eq!(count_words(2_000, "key"), "2,000 keys");
        assert_eq!(seconds(Duration::from_millis(1_800)), "1.8 s");
        assert_eq!(seconds(Duration::from_secs(2)), "2 s");
        assert_eq!((bytes(512), bytes(1536)), ("512 B".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!(bytes(5 << 40), "5120.0 GiB");
    }

    #[test]
    fn known_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_795_314_660), "2026-11-22 02:31 UTC");
    }

    #[test]
    fn lists_read_as_they_are_spoken() {
        for (items, text) in [
            (&[][..], ""),
            (&["one"], "one"),
            (&["one", "two"], "one and two"),
            (&["one", "two", "three"], "one, two and three"),
        ] {
            assert_eq!(listed(items.iter().map(|&item| item.to_owned())), text);
        }
    }
}
