//! Moments in UTC, from seconds since 1970-01-01.

/// `20261122T101530Z`, as run folders are named.
pub fn stamp(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = parts(seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// `2026-11-22 10:15:30 UTC`, as people read it.
pub fn written(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = parts(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn parts(seconds: u64) -> [u64; 6] {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    [year, month, day, rest / 3600, rest / 60 % 60, rest % 60]
}

/// The Gregorian date `days` after 1970-01-01, counted in years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let since_0000_03 = days + 719_468;
    let (era, day_of_era) = (since_0000_03 / 146_097, since_0000_03 % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_moment_is_written_in_utc() {
        assert_eq!("19700101T000000Z", super::stamp(0));
        assert_eq!("20000229T235959Z", super::stamp(951_868_799));
        assert_eq!("20261122T101530Z", super::stamp(1_795_342_530));
        assert_eq!("2026-11-22 10:15:30 UTC", super::written(1_795_342_530));
    }
}
