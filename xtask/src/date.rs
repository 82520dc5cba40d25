//! Dates as changelogs and repositories write them, always in UTC.

use anyhow::{Context as _, Result, bail};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// 1 January 1970 was one.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const DAY: i64 = 86_400;

/// Seconds since 1970 of a date as in `Sat, 21 Nov 2026 20:15:00 +0100`.
pub(crate) fn parse(text: &str) -> Result<i64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, clock, zone] = words[..] else {
        bail!("{text:?} is no date like `Sat, 21 Nov 2026 20:15:00 +0100`");
    };
    let month = MONTHS
        .iter()
        .position(|name| *name == month)
        .with_context(|| format!("{month:?} is no month"))?;
    let clock: Vec<i64> = clock.split(':').map(str::parse).collect::<Result<_, _>>()?;
    let [hour, minute, second] = clock[..] else {
        bail!("{text:?} has no time of day");
    };
    let zone: i64 = zone.parse().with_context(|| format!("{zone:?} is no zone"))?;
    let days = days(year.parse()?, i64::try_from(month)? + 1, day.parse()?);
    let offset = zone / 100 * 3600 + zone % 100 * 60;
    Ok(days * DAY + hour * 3600 + minute * 60 + second - offset)
}

/// As a repository's `Release` has it: `Sat, 21 Nov 2026 19:15:00 UTC`.
pub(crate) fn format(seconds: i64) -> String {
    let (days, clock) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let index = |number: i64| usize::try_from(number).unwrap_or_default();
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} UTC",
        WEEKDAYS[index(days.rem_euclid(7))],
        MONTHS[index(month - 1)],
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

/// Days since 1970. A year is counted from March, so that a leap day comes last in it.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400)
        + (month * 306 + 5) / 10
        + day
        // Days from 1 March of the year 0 to 1 January 1970, and the day itself, which is counted from 1.
        - 719_469
}

/// Year, month and day of the month. Found by narrowing down: it is asked for a few times, and this is plain.
fn civil(number: i64) -> (i64, i64, i64) {
    let mut year = 1970 + number.div_euclid(366);
    while days(year + 1, 1, 1) <= number {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|month| days(year, *month, 1) <= number)
        .unwrap_or(1);
    (year, month, number - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 +0000").unwrap(), 0);
        assert_eq!(
            parse("Sat, 21 Nov 2026 20:15:00 +0100").unwrap(),
            parse("Sat, 21 Nov 2026 19:15:00 +0000").unwrap()
        );
        // 1,709,164,800 is 29 February 2024, as `date -u -d @1709164800` has it.
        assert_eq!(parse("Thu, 29 Feb 2024 00:00:00 +0000").unwrap(), 1_709_164_800);
        assert_eq!(format(1_709_164_800 + 3_723), "Thu, 29 Feb 2024 01:02:03 UTC");
        assert_eq!(format(0), "Thu, 01 Jan 1970 00:00:00 UTC");
        assert!(parse("yesterday").is_err());
        assert!(parse("Sat, 21 Foo 2026 20:15:00 +0100").is_err());
    }

    #[test]
    fn each_day_of_forty_years_comes_back() {
        for day in 0..14_610 {
            let seconds = day * DAY + 45_296;
            let text = format(seconds).replace("UTC", "+0000");
            assert_eq!(parse(&text).unwrap(), seconds, "{text}");
        }
    }
}
