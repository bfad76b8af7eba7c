//! Interval logs: HdrHistogram's text format (version 1.3, histograms as V2), one line a second and kind of time,
//! that other tools read too. Three tags: `response`, `service` and `lag`, in nanoseconds; seconds count from the
//! end of the warm-up. Of call flows also a tag for each delay, such as `session-request-delay`.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer, Serializer, V2Serializer,
        interval_log::{IntervalLogIterator, IntervalLogWriterBuilder, LogEntry},
    },
};

use super::{
    flow::Delay,
    record::{Interval, Record},
};

/// Largest values are written in milliseconds.
const DIVISOR: f64 = 1e6;

/// What stands before the first line; `began` is milliseconds since 1970.
pub fn head(began: u64) -> String {
    let mut text = Vec::new();
    let began = UNIX_EPOCH + Duration::from_millis(began);
    let mut serializer = V2Serializer::new();
    // Into memory: it cannot fail.
    let _ = IntervalLogWriterBuilder::new()
        .add_comment("peerproof: nanoseconds; maxima in milliseconds")
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(DIVISOR)
        .begin_log_with(&mut text, &mut serializer);
    String::from_utf8_lossy(&text).into_owned()
}

/// The lines of one second.
pub fn lines(second: u32, interval: &Interval) -> String {
    let mut text = String::new();
    for (tag, histogram) in tagged(interval) {
        if histogram.is_empty() {
            continue;
        }
        let mut octets = Vec::new();
        if V2Serializer::new()
            .serialize(histogram, &mut octets)
            .is_err()
        {
            // Only histograms larger than ours can be too large.
            continue;
        }
        let max = histogram.max() as f64 / DIVISOR;
        text.push_str(&format!(
            "Tag={tag},{second}.000,1.000,{max:.3},{}\n",
            STANDARD.encode(&octets)
        ));
    }
    text
}

fn tagged(interval: &Interval) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
    let always = [
        ("response", &interval.response),
        ("service", &interval.service),
        ("lag", &interval.lag),
    ];
    let delays = interval.delays.iter();
    always
        .into_iter()
        .chain(delays.map(|(delay, histogram)| (delay.word(), histogram)))
}

/// Reads a log back; counts are not in it. `Err` says in which line what is wrong.
pub fn read(text: &str) -> Result<Record, String> {
    let mut record = Record::default();
    let mut deserializer = Deserializer::new();
    for (entry, number) in IntervalLogIterator::new(text.as_bytes()).zip(1..) {
        let wrong = |found: String| {
            format!(
                "entry {number}: found {found}, expected a histogram with the tag response, service, lag or that of a delay"
            )
        };
        let LogEntry::Interval(line) = entry.map_err(|error| wrong(format!("{error:?}")))? else {
            continue;
        };
        let second = line.start_timestamp().as_secs() as u32;
        let octets = STANDARD
            .decode(line.encoded_histogram())
            .map_err(|error| wrong(error.to_string()))?;
        let histogram: Histogram<u64> = deserializer
            .deserialize(&mut &octets[..])
            .map_err(|error| wrong(format!("{error:?}")))?;
        let interval = record.interval(second);
        let into = match line.tag().as_ref().map(|tag| tag.as_str()) {
            Some("response") => &mut interval.response,
            Some("service") => &mut interval.service,
            Some("lag") => &mut interval.lag,
            other => match other.and_then(Delay::named) {
                Some(delay) => interval.delay(delay),
                None => return Err(wrong(format!("the tag {other:?}"))),
            },
        };
        into.add(&histogram)
            .map_err(|error| wrong(format!("{error:?}")))?;
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_says_what_was_recorded() {
        let mut record = Record::default();
        for n in 0..5_000u64 {
            let interval = record.interval((n % 7) as u32);
            interval.response.saturating_record(n * n * 31);
            interval.lag.saturating_record(n * 17);
            if n % 3 == 0 {
                let delay = interval.delay(Delay::SessionRequest);
                delay.saturating_record(n * 23);
            }
        }
        let mut text = head(1_764_000_000_123);
        for (second, interval) in &record.0 {
            text.push_str(&lines(*second, interval));
        }
        assert_eq!(Ok(record), read(&text));
    }

    #[test]
    fn what_is_no_log_is_refused_with_its_place() {
        assert!(
            read("Tag=response,0.000,1.000,1.0,!!!\n")
                .unwrap_err()
                .contains("entry 1")
        );
        assert!(read("nonsense\n").is_err());
    }
}
