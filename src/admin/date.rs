//! Dates as `java.util.Date` prints them, which is how `dump` says when something expires.

use crate::types::WallMillis;

/// The zone that dates are shown in; finding out the machine's is the caller's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeZone {
    /// As shown, `UTC`, `CET`.
    pub name: String,
    /// Seconds east of UTC.
    pub offset_seconds: i32,
}

impl TimeZone {
    pub fn utc() -> TimeZone {
        TimeZone { name: "UTC".to_owned(), offset_seconds: 0 }
    }
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sun Nov 22 10:37:41 UTC 2026`.
pub fn java_date(at: WallMillis, zone: &TimeZone) -> String {
    let seconds = at.0.div_euclid(1000).saturating_add(i64::from(zone.offset_seconds));
    let days = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} {} {year}",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[month],
        second / 3600,
        second / 60 % 60,
        second % 60,
        zone.name,
    )
}

/// Year, month from 0 and day of the month of a day since 1970. Years are counted from March, so that the leap day is
/// the last day of one.
fn civil(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    (year, month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let utc = TimeZone::utc();
        let cet = TimeZone { name: "CET".to_owned(), offset_seconds: 3600 };
        for (millis, zone, text) in [
            (0, &utc, "Thu Jan 01 00:00:00 UTC 1970"),
            (1_795_343_861_999, &utc, "Sun Nov 22 10:37:41 UTC 2026"),
            (951_782_399_000, &cet, "Tue Feb 29 00:59:59 CET 2000"),
            (-1, &utc, "Wed Dec 31 23:59:59 UTC 1969"),
            (4_107_542_400_000, &utc, "Mon Mar 01 00:00:00 UTC 2100"),
        ] {
            assert_eq!(java_date(WallMillis(millis), zone), text);
        }
    }
}
