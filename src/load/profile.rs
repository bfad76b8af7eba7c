//! How the offered load runs over time: pieces of straight lines, arrivals a second over seconds.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A load over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// `constant`, `ramp`, `steps`, `soak` or `flash-crowd`.
    pub shape: Shape,
    pub segments: Vec<Segment>,
}

/// What a profile is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One rate throughout.
    #[default]
    Constant,
    /// From one rate to another in a straight line.
    Ramp,
    /// From one rate to another in equal steps.
    Steps,
    /// One rate for long: to see whether anything grows.
    Soak,
    /// A base rate, a sudden peak, the base rate again.
    FlashCrowd,
}

/// A straight line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// Seconds.
    pub seconds: f64,
    /// Arrivals a second at its beginning, and at its end.
    pub from: f64,
    pub to: f64,
}

/// Steps of a profile of steps.
const STEPS: u32 = 5;

impl Profile {
    /// A profile of a shape between two rates (arrivals a second) that lasts so long; constant ones and soaks
    /// stay at the first.
    pub fn new(shape: Shape, from: f64, to: f64, duration: Duration) -> Profile {
        let seconds = duration.as_secs_f64();
        let flat = |seconds, rate| Segment {
            seconds,
            from: rate,
            to: rate,
        };
        let segments = match shape {
            Shape::Constant | Shape::Soak => vec![flat(seconds, from)],
            Shape::Ramp => vec![Segment { seconds, from, to }],
            Shape::Steps => (0..STEPS)
                .map(|step| {
                    let rate = from + (to - from) * f64::from(step) / f64::from(STEPS - 1);
                    flat(seconds / f64::from(STEPS), rate)
                })
                .collect(),
            // A third before, a tenth to rise, a third at the peak, the rest after.
            Shape::FlashCrowd => vec![
                flat(seconds / 3.0, from),
                Segment {
                    seconds: seconds / 10.0,
                    from,
                    to,
                },
                flat(seconds / 3.0, to),
                flat(seconds * (1.0 - 2.0 / 3.0 - 0.1), from),
            ],
        };
        Profile { shape, segments }
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        let seconds: f64 = self.segments.iter().map(|segment| segment.seconds).sum();
        Duration::from_secs_f64(seconds.max(0.0))
    }

    /// The arrivals it means, on average.
    pub fn arrivals(&self) -> f64 {
        let area = |segment: &Segment| segment.seconds * (segment.from + segment.to) / 2.0;
        self.segments.iter().map(area).sum()
    }

    /// The largest rate in it.
    pub fn peak(&self) -> f64 {
        let ends = self.segments.iter().flat_map(|s| [s.from, s.to]);
        ends.fold(0.0, f64::max)
    }

    /// When so many arrivals were due on average, in seconds from the start: the inverse of the area under
    /// the rate. `None` after the end.
    pub fn when(&self, arrivals: f64) -> Option<f64> {
        let (mut rest, mut start) = (arrivals, 0.0);
        for segment in &self.segments {
            let area = segment.seconds * (segment.from + segment.to) / 2.0;
            if rest < area {
                return Some(start + segment.within(rest));
            }
            rest -= area;
            start += segment.seconds;
        }
        None
    }
}

impl Segment {
    /// Seconds from its start until so many arrivals were due.
    fn within(&self, arrivals: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        // From `from · t + slope · t² / 2 = arrivals`, in the form that keeps its digits with a small slope.
        let root = (self.from * self.from + 2.0 * slope * arrivals)
            .max(0.0)
            .sqrt();
        2.0 * arrivals / (self.from + root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_under_every_shape_is_inverted() {
        for shape in [
            Shape::Constant,
            Shape::Ramp,
            Shape::Steps,
            Shape::Soak,
            Shape::FlashCrowd,
        ] {
            let profile = Profile::new(shape, 100.0, 1000.0, Duration::from_secs(10));
            assert!((profile.duration().as_secs_f64() - 10.0).abs() < 1e-6);
            let all = profile.arrivals();
            let mut last = 0.0;
            for n in 0..1000 {
                let at = profile.when(all * f64::from(n) / 1000.0).unwrap();
                assert!(at >= last && at <= 10.0, "{shape:?}: {at} after {last}");
                last = at;
            }
            assert_eq!(None, profile.when(all + 1.0));
        }
        let ramp = Profile::new(Shape::Ramp, 0.0, 200.0, Duration::from_secs(10));
        assert!((ramp.arrivals() - 1000.0).abs() < 1e-9);
        // Half the arrivals of a triangle are due after 1/√2 of the time.
        assert!((ramp.when(500.0).unwrap() - 10.0 / 2f64.sqrt()).abs() < 1e-9);
    }
}
