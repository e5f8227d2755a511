//! Figures in words, as the pages show them.

use experiment_spec::table::duration;

/// `3 min 20 s ago`; `never` for a time of zero.
pub(crate) fn ago(now_ms: i64, at_ms: i64) -> String {
    if at_ms <= 0 {
        return "never".to_owned();
    }
    let whole_seconds = now_ms.saturating_sub(at_ms).max(0) / 1000;
    match whole_seconds {
        0 => "just now".to_owned(),
        1..60 => format!("{whole_seconds} s ago"),
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
        _ => format!("{} ago", duration(whole_seconds as f64)),
    }
}

/// `about 3 min 20 s`, or nothing when no time is known.
pub(crate) fn time_left(seconds: f64) -> String {
    if seconds.is_finite() && seconds > 0.0 { format!("about {}", duration(seconds)) } else { String::new() }
}

/// `12.3/s`, or nothing when no rate is known.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if !rate.is_finite() || rate <= 0.0 => String::new(),
        rate if rate < 10.0 => format!("{rate:.2}/s"),
        rate => format!("{rate:.1}/s"),
    }
}

/// `1 run`, `2 runs`.
pub(crate) fn count(n: u64, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_like_words() {
        assert_eq!(ago(10_000, 0), "never");
        assert_eq!(ago(10_000, 20_000), "just now");
        assert_eq!(ago(10_000, 7_900), "2 s ago");
        assert_eq!(ago(210_000, 10_000), "3 min 20 s ago");
        assert_eq!(time_left(200.0), "about 3 min 20 s");
        assert_eq!(time_left(f64::NAN), "");
        assert_eq!((rate(0.0), rate(1.234), rate(12.34)), (String::new(), "1.23/s".to_owned(), "12.3/s".to_owned()));
        assert_eq!((count(1, "run"), count(2, "run")), ("1 run".to_owned(), "2 runs".to_owned()));
    }
}
