//! Times and sizes as people write them.

use std::time::Duration;

/// `200ms`, `30s`, `10min` or `10m`.
pub fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("found \"{text}\", expected a time such as 200ms, 30s or 10min");
    let units = [
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("min", 60.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("s", 1.0),
    ];
    let (number, unit) = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let seconds = number * unit;
    match (0.0..1e7).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(wrong()),
    }
}

/// `64KiB`, `16MiB`, `1000`.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("found \"{text}\", expected octets such as 64KiB, 16MiB or 1000, at most 1GiB");
    let units = [("KiB", 1u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (number, unit) = units
        .iter()
        .find_map(|(unit, octets)| Some((text.strip_suffix(unit)?, *octets)))
        .unwrap_or((text, 1));
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    let octets = number
        .checked_mul(unit)
        .filter(|octets| (1..=1 << 30).contains(octets));
    octets.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(Ok(Duration::from_millis(200)), time("200ms"));
        assert_eq!(Ok(Duration::from_secs(90)), time("1.5min"));
        assert_eq!(Ok(Duration::from_secs(2)), time("2s"));
        assert_eq!(time("10min"), time("10m"));
        assert!(time("2").is_err() && time("-2s").is_err() && time("NaNs").is_err());
        assert_eq!((Ok(65_536), Ok(1000)), (size("64KiB"), size("1000")));
        assert!(size("0").is_err() && size("2GiB").is_err() && size("1MB").is_err());
    }
}
