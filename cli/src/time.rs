//! Instants and durations, read and written.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

/// Now, ns since the Unix epoch.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// For programs: `2026-11-21T10:00:00.000000001Z`, always nine digits.
pub fn rfc3339(time_ns: u64) -> String {
    timestamp(time_ns).strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// For people: `2026-11-21 10:00:00.000` in that zone.
pub fn local(time_ns: u64, zone: &TimeZone) -> String {
    timestamp(time_ns)
        .to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S.%3f")
        .to_string()
}

/// For people, where the day is clear: `10:00:00.000`.
pub fn local_clock(time_ns: u64, zone: &TimeZone) -> String {
    timestamp(time_ns)
        .to_zoned(zone.clone())
        .strftime("%H:%M:%S.%3f")
        .to_string()
}

/// The zone's abbreviation at that time, for instance `CET`.
pub fn zone_name(time_ns: u64, zone: &TimeZone) -> String {
    timestamp(time_ns)
        .to_zoned(zone.clone())
        .strftime("%Z")
        .to_string()
}

fn timestamp(time_ns: u64) -> Timestamp {
    // Every u64 of nanoseconds lies before the year 2555, inside jiff's range.
    Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A duration for people, to two units or three digits: `850 µs`, `12 ms`, `2.1 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..60_000_000_000 => format!("{}.{} s", seconds, ns % 1_000_000_000 / 100_000_000),
        _ if seconds < 3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Reads a point in time: RFC 3339 (`2026-11-21T10:00:00Z`), a local date or date and time (`2026-11-21`,
/// `2026-11-21T10:00`), or how long ago (`90s`, `10m`, `2h`, `3d`, `1w`, `1h30m`).
pub fn parse_instant(text: &str, now_ns: u64, zone: &TimeZone) -> Result<u64, String> {
    let bad = || {
        format!(
            "{text:?} is no point in time: use RFC 3339 (2026-11-21T10:00:00Z), a local date or time (2026-11-21, \
             2026-11-21T10:00) or how long ago (90s, 10m, 2h, 3d, 1w)"
        )
    };
    if let Some(ago) = parse_ago(text) {
        return Ok(now_ns.saturating_sub(ago));
    }
    let instant = match text.parse::<Timestamp>() {
        Ok(instant) => instant,
        Err(_) => {
            let civil: civil::DateTime = text.parse().map_err(|_| bad())?;
            civil.to_zoned(zone.clone()).map_err(|_| bad())?.timestamp()
        }
    };
    u64::try_from(instant.as_nanosecond()).map_err(|_| bad())
}

/// Reads a length of time (`90s`, `10m`, `12h`, `30d`, `8w`) as seconds.
pub fn parse_span(text: &str) -> Result<u64, String> {
    parse_ago(text)
        .map(|ns| ns / 1_000_000_000)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| format!("{text:?} is no length of time: write 90m, 12h, 30d or 8w"))
}

/// The nanoseconds of `1h30m` and the like; `None` where the text is not of that form or overflows.
fn parse_ago(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        let seconds: u64 = match &rest[digits..unit_end] {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(seconds)?.checked_mul(1_000_000_000)?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_255_200_000_000_000;

    fn parse(text: &str) -> Result<u64, String> {
        parse_instant(text, NOW, &TimeZone::fixed(jiff::tz::offset(1)))
    }

    #[test]
    fn instants_are_written_exactly() {
        assert_eq!(rfc3339(NOW + 1), "2026-11-21T10:00:00.000000001Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(u64::MAX), "2554-07-21T23:34:33.709551615Z");
        assert_eq!(
            local(NOW, &TimeZone::fixed(jiff::tz::offset(1))),
            "2026-11-21 11:00:00.000"
        );
    }

    #[test]
    fn every_accepted_form_is_read() {
        assert_eq!(parse("2026-11-21T10:00:00Z"), Ok(NOW));
        assert_eq!(parse("2026-11-21T12:00:00+02:00"), Ok(NOW));
        assert_eq!(parse("2026-11-21T11:00"), Ok(NOW), "local");
        assert_eq!(
            parse("2026-11-21"),
            Ok(NOW - 11 * 3_600_000_000_000),
            "local midnight"
        );
        assert_eq!(parse("90s"), Ok(NOW - 90_000_000_000));
        assert_eq!(parse("10m"), Ok(NOW - 600_000_000_000));
        assert_eq!(parse("1h30m"), Ok(NOW - 5_400_000_000_000));
        assert_eq!(parse("2d"), Ok(NOW - 172_800_000_000_000));
        assert_eq!(parse("9999w"), Ok(0), "before the epoch is the epoch");
    }

    #[test]
    fn what_is_no_instant_is_refused_with_the_forms() {
        for text in [
            "",
            "yesterday",
            "10",
            "10x",
            "m",
            "-5m",
            "99999999999999999999w",
            "1960-01-01T00:00:00Z",
            "1h-2m",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("RFC 3339"), "{error}");
        }
    }

    #[test]
    fn durations_are_short() {
        let shown: Vec<String> = [
            850_000,
            12_000_000,
            2_150_000_000,
            184_000_000_000,
            7_500_000_000_000,
            274_000_000_000_000,
        ]
        .map(duration)
        .into();
        assert_eq!(
            shown,
            ["850 µs", "12 ms", "2.1 s", "3 min 4 s", "2 h 5 min", "3 d 4 h"]
        );
    }
}
