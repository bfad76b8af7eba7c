//! What was expected and never came, placed among what did: right behind what came in its place, else where it
//! was due.

use super::{Caption, Row, Rows};
use crate::{report::MissingRow, spec::RefPoint, time::At};

/// A message that was expected and never came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ghost {
    /// The event that came instead, or before which it was due.
    pub before: usize,
    /// Who ought to have sent it; `None` where it may be one of several, or anybody. One of both is known.
    pub from: Option<usize>,
    pub to: Option<usize>,
    pub on: Option<RefPoint>,
    /// With those it may have come from or gone to, where they are several: `GET to es-1 or os-1`.
    pub label: String,
    /// When its time was over, if that is known.
    pub due: Option<At>,
    /// The verdict rests on it.
    pub failing: bool,
}

impl Ghost {
    /// What stands in the place of a moment: `due 7.104`.
    pub fn moment(&self) -> String {
        match self.due {
            Some(due) => format!("due {due}"),
            None => "missing".to_owned(),
        }
    }
}

impl Rows {
    /// The rows, with what was expected right behind what came instead, which was sent before it arrived.
    pub(super) fn in_place(self) -> Vec<Row> {
        let mut place: Vec<usize> = (0..self.done.len()).collect();
        for (ghost, arrow) in &self.instead {
            place[*ghost] = self.last_at_once(*arrow);
        }
        let mut rows: Vec<(usize, Row)> = place.into_iter().zip(self.done).collect();
        rows.sort_by_key(|(place, _)| *place);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The last of the arrows that the same node sent at the same moment: what is said at once stays together.
    fn last_at_once(&self, row: usize) -> usize {
        let sent = |row: &Row| match row {
            Row::Arrow(arrow) => Some((arrow.from, arrow.at)),
            _ => None,
        };
        let this = self.done.get(row).and_then(sent);
        let behind = self.done.iter().skip(row + 1);
        let others = behind.take_while(|next| this.is_some() && sent(next) == this);
        row + others.count()
    }

    /// What was due before `event` and never came.
    pub(super) fn expect(&mut self, event: usize, steps: &[Caption], lanes: &[String]) {
        for (step, missing) in all_missing(steps) {
            if !missing.is_wrong && missing.before == event {
                self.open.clear();
                self.ghost(step, missing, lanes);
            }
        }
    }

    /// What never came because something else came in its place.
    pub(super) fn expect_instead(&mut self, steps: &[Caption], lanes: &[String]) {
        for (step, missing) in all_missing(steps) {
            if missing.is_wrong {
                let instead = self.row_of.get(&missing.before).copied();
                self.instead
                    .extend(instead.map(|row| (self.done.len(), row)));
                self.ghost(step, missing, lanes);
            }
        }
    }

    /// Where no party is known it is a band.
    fn ghost(&mut self, step: &Caption, missing: &MissingRow, lanes: &[String]) {
        let place = |name: &Option<String>| {
            let name = name.as_ref()?;
            lanes.iter().position(|lane| lane == name)
        };
        let (from, to) = (place(&missing.from), place(&missing.to));
        if from.is_none() && to.is_none() {
            let at = self.last_moment();
            self.band(at, format!("missing: {}", missing.words), self.part);
            return;
        }
        self.done.push(Row::Ghost(Ghost {
            before: missing.before,
            from,
            to,
            on: missing.on,
            label: named(missing),
            due: missing.due.map(At::from_nanos),
            failing: step.failing,
        }));
    }

    fn last_moment(&self) -> At {
        let moments = self.done.iter().rev().filter_map(|row| match row {
            Row::Arrow(arrow) => Some(arrow.at),
            Row::Band { at, .. } | Row::Remark { at, .. } => Some(*at),
            Row::Ghost(_) => None,
        });
        moments.max().unwrap_or(At::ZERO)
    }
}

fn all_missing(steps: &[Caption]) -> impl Iterator<Item = (&Caption, &MissingRow)> {
    steps
        .iter()
        .filter_map(|step| Some((step, step.missing.as_ref()?)))
}

/// What is expected in short, with what the message that came instead lacks, and with the parties of which there
/// are several: an arrow can lead to one only.
fn named(missing: &MissingRow) -> String {
    let mut text = in_short(&missing.words);
    if let Some(lacks) = &missing.lacks {
        text = format!("{text} with {lacks}");
    }
    let hop = missing
        .words
        .split_once(": ")
        .and_then(|(hop, _)| hop.split_once(" → "));
    if let Some((from, rest)) = hop {
        let to = rest.split(" on ").next().unwrap_or(rest);
        let to = to.split(" (").next().unwrap_or(to);
        for (names, word) in [(from, "from"), (to, "to")] {
            if names.contains(" or ") {
                text = format!("{text} {word} {names}");
            }
        }
    }
    text
}

/// What is expected, without the hop, the tests of fields and the time: `INVITE`.
pub fn in_short(words: &str) -> String {
    let what = words.split_once(": ").map_or(words, |(_, what)| what);
    let ends = [
        " matching ",
        " beginning with ",
        " ending in ",
        " containing ",
        " not containing ",
        " with ",
        " within ",
        ", ",
    ];
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
    use crate::trace::EventKind;

    #[test]
    fn a_message_that_never_came_is_drawn_where_it_was_expected() {
        let expected = |to: Option<&str>| Caption {
            missing: Some(MissingRow {
                from: Some("ue-a".to_owned()),
                to: to.map(str::to_owned),
                on: Some(RefPoint::Gm),
                words: "ue-a → p-cscf on Gm: INVITE with sdp x y within 2 s".to_owned(),
                before: 5,
                ..MissingRow::default()
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
        let mut open = expected(None);
        if let Some(missing) = &mut open.missing {
            missing.lacks = Some("sip Require precondition".to_owned());
        }
        let text = Ladder::of(&journey(), &[open], &|_| false).text(look);
        assert!(
            text.contains("│╌╌▷ INVITE with sip Require precondition"),
            "{text}"
        );
    }

    #[test]
    fn one_of_several_parties_is_named_and_drawn_towards_none_of_them() {
        let expected = |from: Option<&str>, to: Option<&str>, words: &str| Caption {
            missing: Some(MissingRow {
                from: from.map(str::to_owned),
                to: to.map(str::to_owned),
                on: Some(RefPoint::Gm),
                words: words.to_owned(),
                before: 5,
                ..MissingRow::default()
            }),
            ..own("")
        };
        let steps = [
            expected(
                Some("ue-a"),
                None,
                "ue-a → es-1 or os-1 on Data: GET with http path /x within 2 s",
            ),
            expected(
                None,
                Some("tracker"),
                "es-1 or os-1 → tracker (tls): POST within 2 s",
            ),
            expected(
                None,
                Some("es-1"),
                "anybody → es-1: an answer to INVITE, with sip status 200 within 2 s",
            ),
        ];
        let ladder = Ladder::of(&journey(), &steps, &|_| false);
        let text = ladder.text(Look {
            width: 100,
            charset: Charset::Unicode,
        });
        assert!(text.contains("│╌╌▷ GET to es-1 or os-1"), "{text}");
        assert!(text.contains("│◁╌╌ POST from es-1 or os-1"), "{text}");
        assert!(text.contains("│◁╌╌ an answer to INVITE"), "{text}");
        let tight = ladder.text(Look {
            width: 60,
            charset: Charset::Unicode,
        });
        assert!(tight.contains("an answer to INVITE ╌╌▷│"), "{tight}");
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
                is_wrong: true,
                ..MissingRow::default()
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
