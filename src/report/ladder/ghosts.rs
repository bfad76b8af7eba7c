//! What was expected and never came, placed among what did: right behind what came in its place, or where its
//! time was over.

use super::{Caption, Row, Rows, is_same};
use crate::{spec::RefPoint, time::At, wire::frame::Frame};

/// A message that was expected and never came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ghost {
    /// The event before which it was expected.
    pub before: usize,
    /// The same as `to` if only one of them is known.
    pub from: usize,
    pub to: usize,
    pub on: Option<RefPoint>,
    pub label: String,
    /// The verdict rests on it.
    pub failing: bool,
}

impl Rows {
    /// The rows, with what was expected right behind what came instead, which was sent before it arrived.
    pub(super) fn in_place(self) -> Vec<Row> {
        let mut place: Vec<usize> = (0..self.done.len()).collect();
        for (ghost, arrow) in self.instead {
            place[ghost] = arrow;
        }
        let mut rows: Vec<(usize, Row)> = place.into_iter().zip(self.done).collect();
        rows.sort_by_key(|(place, _)| *place);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The messages that were expected before `event` and never came. Where only one party is known it stands for
    /// both, where none is it is a band.
    pub(super) fn expect(
        &mut self,
        event: usize,
        instead: Option<&Frame>,
        steps: &[Caption],
        lanes: &[String],
    ) {
        let place = |name: &Option<String>| {
            let name = name.as_ref()?;
            lanes.iter().position(|lane| lane == name)
        };
        for step in steps {
            let Some(missing) = step.missing.as_ref().filter(|m| m.before == event) else {
                continue;
            };
            self.open.clear();
            let (from, to) = (place(&missing.from), place(&missing.to));
            match (from.or(to), to.or(from)) {
                (Some(from), Some(to)) => {
                    if let Some(arrow) = instead.and_then(|frame| self.in_the_air(frame)) {
                        self.instead.push((self.done.len(), arrow));
                    }
                    self.done.push(Row::Ghost(Ghost {
                        before: event,
                        from,
                        to,
                        on: missing.on,
                        label: in_short(&missing.words),
                        failing: step.failing,
                    }));
                }
                _ => {
                    let at = self.last_moment();
                    self.band(at, format!("missing: {}", missing.words), self.part);
                }
            }
        }
    }

    fn last_moment(&self) -> At {
        let moments = self.done.iter().rev().filter_map(|row| match row {
            Row::Arrow(arrow) => Some(arrow.at),
            Row::Band { at, .. } | Row::Remark { at, .. } => Some(*at),
            Row::Ghost(_) => None,
        });
        moments.max().unwrap_or(At::ZERO)
    }

    /// The row of the oldest sending of this very frame that has not arrived.
    fn in_the_air(&self, frame: &Frame) -> Option<usize> {
        let mut flying = self.flying.iter();
        flying
            .find(|(_, sent)| is_same(sent, frame))
            .map(|(row, _)| *row)
    }
}

/// What is expected, without the hop, the tests of fields and the time: `INVITE`.
pub fn in_short(words: &str) -> String {
    let what = words.split_once(": ").map_or(words, |(_, what)| what);
    let ends = [" a match of ", " with ", ", with ", " within ", ", "];
    let end = ends.iter().filter_map(|end| what.find(end)).min();
    what[..end.unwrap_or(what.len())].to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{
        Charset, Ladder, Look,
        tests::{frame, journey, own, trace},
    };
    use super::*;
    use crate::{report::MissingRow, trace::EventKind};

    #[test]
    fn a_message_that_never_came_is_drawn_where_it_was_expected() {
        let expected = |to: Option<&str>| Caption {
            missing: Some(MissingRow {
                from: Some("ue-a".to_owned()),
                to: to.map(str::to_owned),
                on: Some(RefPoint::Gm),
                words: "ue-a → p-cscf on Gm: INVITE with sdp x y within 2 s".to_owned(),
                before: 5,
            }),
            failing: true,
            ..own("")
        };
        let look = Look {
            width: 90,
            charset: Charset::Unicode,
        };
        let ladder = Ladder::of(&journey(), &[expected(Some("p-cscf"))], &|_| false);
        let (excerpt, ..) = ladder.excerpt(3);
        insta::assert_snapshot!(excerpt.text(look), @r"
   ue-a       p-cscf      tracker
     │◀─200──────────────────│        3  Ut        0.003
     │ · chosen: es-1        │        4            0.004
     │╌╌INVITE╌╌▷│           │           Gm        missing  ✗
");
        let ladder = Ladder::of(&journey(), &[expected(None)], &|_| false);
        assert!(ladder.text(look).contains("│╌╌▷ INVITE"));
    }

    #[test]
    fn what_was_expected_stands_right_behind_what_came_instead() {
        let asked = frame("ue-a", "tracker", RefPoint::Ut, "GET / HTTP/1.1\r\n\r\n");
        let other = frame("ue-b", "tracker", RefPoint::Ut, "PUT / HTTP/1.1\r\n\r\n");
        let trace = trace(vec![
            EventKind::Sent(asked.clone()),
            EventKind::Sent(other),
            EventKind::Received(asked),
        ]);
        let expected = Caption {
            missing: Some(MissingRow {
                from: Some("ue-a".to_owned()),
                to: Some("tracker".to_owned()),
                on: Some(RefPoint::Ut),
                words: "ue-a → tracker on Ut: POST within 2 s".to_owned(),
                before: 2,
            }),
            ..own("")
        };
        let rows = Ladder::of(&trace, &[expected], &|_| false).rows;
        let is_ghost: Vec<bool> = rows
            .iter()
            .map(|row| matches!(row, Row::Ghost(_)))
            .collect();
        assert_eq!(vec![false, true, false], is_ghost);
    }
}
