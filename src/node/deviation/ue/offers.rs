//! Offers that go out reworded, and answers heard as if they answered what was meant.

use crate::{
    node::deviation::{Door, Heard, Passing, Said, bend, bend::Line},
    wire::{msrp::Flag, sdp::FileRange, sip::Message},
};

/// A line as it goes out, and what an answer's line is heard as.
pub struct New {
    said: String,
    heard: String,
    instead: String,
}

impl New {
    /// The answer repeats the line.
    fn echoed(line: &str, said: String) -> New {
        New {
            heard: said.clone(),
            instead: line.to_owned(),
            said,
        }
    }
}

/// Given the media section a line stands in, and the line: the line as it goes out, if it is another.
pub type Change = Box<dyn FnMut(&str, &str) -> Option<New> + Send>;

/// Rewords the offers of its node.
pub struct Reworded {
    change: Change,
    /// By Call-ID: what is heard instead of what.
    answers: bend::Notes<Vec<(String, String)>>,
}

impl Reworded {
    pub fn new(change: Change) -> Reworded {
        Reworded {
            change,
            answers: bend::Notes::default(),
        }
    }

    fn reword(&mut self, invite: &Message) -> Option<Message> {
        let text = std::str::from_utf8(invite.body()).ok()?;
        let sections: Vec<&str> = text.split("\r\nm=").collect();
        let mut answers = Vec::new();
        let bent = bend::sdp(invite, |media, line| {
            let section = sections.get(media).copied().unwrap_or_default();
            match (self.change)(section, line) {
                Some(new) => {
                    answers.push((new.heard, new.instead));
                    Line::As(new.said)
                }
                None => Line::Kept,
            }
        });
        self.answers.put(&invite.call_id().ok()?, answers);
        bent
    }
}

impl Door for Reworded {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let invite = passing.request("INVITE");
        bend::said(invite.and_then(|invite| self.reword(invite)))
    }

    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let answer = passing.response("INVITE");
        bend::heard(answer.and_then(|answer| {
            let mut left = self.answers.get(&answer.call_id().ok()?)?.clone();
            bend::sdp(answer, |_, line| {
                match left.iter().position(|(heard, _)| heard == line) {
                    Some(at) => Line::As(left.remove(at).1),
                    None => Line::Kept,
                }
            })
        }))
    }
}

/// Misreads some lines of the offers that come, and answers as if it had not.
pub struct Misread {
    change: fn(&str) -> Option<String>,
    /// By Call-ID: media line, and the line as it came.
    offers: bend::Notes<Vec<(usize, String)>>,
}

impl Misread {
    pub fn new(change: fn(&str) -> Option<String>) -> Misread {
        Misread {
            change,
            offers: bend::Notes::default(),
        }
    }
}

impl Door for Misread {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let invite = passing.request("INVITE");
        bend::heard(invite.and_then(|invite| {
            let mut came = Vec::new();
            let bent = bend::sdp(invite, |media, line| match (self.change)(line) {
                Some(changed) => {
                    came.push((media, line.to_owned()));
                    Line::As(changed)
                }
                None => Line::Kept,
            });
            self.offers.put(&invite.call_id().ok()?, came);
            bent
        }))
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let attribute = |line: &str| line.split(':').next().map(str::to_owned);
        let answer = passing.response("INVITE");
        bend::said(answer.and_then(|answer| {
            let came = self.offers.get(&answer.call_id().ok()?)?;
            bend::sdp(answer, |media, line| {
                let mut same = came.iter().filter(|(of, _)| *of == media);
                match same.find(|(_, came)| attribute(came) == attribute(line)) {
                    Some((_, came)) => Line::As(came.clone()),
                    None => Line::Kept,
                }
            })
        }))
    }
}

/// Hears offers in a session under ids of its own where it heard the id before, and answers as if it had not.
pub struct Restarted {
    /// Whether an id is heard as another, given whether it comes with another range.
    restarts: fn(bool) -> bool,
    /// By Call-ID: each id with the range it came with first.
    used: bend::Notes<Vec<(String, String)>>,
    /// Not before something was sent whole.
    awaits_the_end: bool,
}

impl Restarted {
    pub fn new(restarts: fn(bool) -> bool) -> Restarted {
        Restarted {
            restarts,
            used: bend::Notes::default(),
            awaits_the_end: false,
        }
    }

    /// Whatever the range, once the end of something was sent.
    pub fn once_sent() -> Restarted {
        Restarted {
            awaits_the_end: true,
            ..Restarted::new(|_| true)
        }
    }

    fn restart(&mut self, invite: &Message) -> Option<Message> {
        let call = invite.call_id().ok()?;
        let text = std::str::from_utf8(invite.body()).ok()?;
        let line_of = |section: &str, begins: &str| {
            let mut lines = section.split("\r\n");
            let line = lines.find(|line| line.starts_with(begins));
            line.unwrap_or_default().to_owned()
        };
        let sections = text.split("\r\nm=").skip(1);
        let asked =
            sections.map(|section| (line_of(section, TRANSFER_ID), line_of(section, RANGE)));
        let asked: Vec<(String, String)> = asked.collect();
        let Some(used) = self.used.get(&call) else {
            self.used.put(&call, asked);
            return None;
        };
        if self.awaits_the_end {
            return None;
        }
        bend::sdp(invite, |media, line| {
            let place = media.checked_sub(1);
            let range = place.and_then(|place| Some(&asked.get(place)?.1));
            let known = used.iter().find(|(id, _)| id == line);
            match (known, range) {
                (Some((_, first)), Some(range)) if (self.restarts)(first != range) => {
                    Line::As(format!("{line}{AGAIN}"))
                }
                _ => Line::Kept,
            }
        })
    }
}

impl Door for Restarted {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let invite = passing.request("INVITE");
        bend::heard(invite.and_then(|invite| self.restart(invite)))
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        if let Some(chunk) = passing.message.msrp()
            && chunk.method() == Some("SEND")
            && chunk.flag() == Flag::Complete
        {
            self.awaits_the_end = false;
        }
        let answer = passing.response("INVITE");
        bend::said(answer.and_then(|answer| {
            bend::sdp(answer, |_, line| {
                let own = line.strip_suffix(AGAIN);
                match own.filter(|own| own.starts_with(TRANSFER_ID)) {
                    Some(own) => Line::As(own.to_owned()),
                    None => Line::Kept,
                }
            })
        }))
    }
}

/// What an id has at its end that is heard as another.
const AGAIN: &str = "again";

/// A line that says a file range, with another.
pub fn of_range(line: &str, change: impl FnOnce(u64, u64) -> (u64, u64)) -> Option<New> {
    let range = FileRange::parse(line.strip_prefix(RANGE)?).ok()?;
    let (start, stop) = change(range.start, range.stop?);
    Some(New::echoed(line, format!("{RANGE}{start}-{stop}")))
}

/// Every file range as another.
pub fn range(change: fn(u64, u64) -> (u64, u64)) -> Change {
    Box::new(move |_, line| of_range(line, change))
}

/// Every transfer id as the first.
pub fn first_transfer_id() -> Change {
    let mut first: Option<String> = None;
    Box::new(move |_, line| {
        line.strip_prefix(TRANSFER_ID)?;
        let first = first.get_or_insert_with(|| line.to_owned()).clone();
        (first != line).then(|| New::echoed(line, first))
    })
}

/// The transfer id of the rest of a piece as the one its beginning had.
pub fn old_transfer_id() -> Change {
    let mut known: bend::Notes<String> = bend::Notes::default();
    Box::new(move |section, line| {
        line.strip_prefix(TRANSFER_ID)?;
        let mut lines = section.lines();
        let range = lines.find_map(|line| line.strip_prefix(RANGE))?;
        let (_, stop) = range.split_once('-')?;
        if let Some(first) = known.get(stop) {
            return Some(New::echoed(line, first.clone()));
        }
        known.put(stop, line.to_owned());
        None
    })
}

/// The rest of a piece, but for its first octet.
pub fn late_rest() -> Change {
    let mut known: bend::Notes<u64> = bend::Notes::default();
    Box::new(move |_, line| {
        let range = FileRange::parse(line.strip_prefix(RANGE)?).ok()?;
        let stop = range.stop?;
        let first = match known.get(&stop.to_string()) {
            Some(first) => *first,
            None => {
                known.put(&stop.to_string(), range.start);
                range.start
            }
        };
        let is_rest = range.start > first && range.start < stop;
        let late = is_rest.then(|| of_range(line, |start, stop| (start + 1, stop)));
        late.flatten()
    })
}

/// `a=setup:active` as `passive`, and the other end's `active` as if it had been told so.
pub fn passive(_: &str, line: &str) -> Option<New> {
    (line == ACTIVE).then(|| New {
        said: PASSIVE.to_owned(),
        heard: ACTIVE.to_owned(),
        instead: PASSIVE.to_owned(),
    })
}

const RANGE: &str = "a=file-range:";
const TRANSFER_ID: &str = "a=file-transfer-id:";
const ACTIVE: &str = "a=setup:active";
const PASSIVE: &str = "a=setup:passive";
