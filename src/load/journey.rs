//! What is asked at an arrival, and whether the answer is right. Every answer is looked at for its shape; one
//! in so many is read whole and held against what is known to be true.

use bytes::Bytes;

use crate::{time::At, wire::http};

/// What one kind of load asks, and how it judges.
pub trait Journey: Send {
    /// What may be asked: small, since all of a run are computed before it.
    type Ask: Copy + Send;

    /// What each kind of question is called.
    const KINDS: &'static [&'static str];

    /// Which kind a question is: its place in [`Journey::KINDS`].
    fn kind(ask: Self::Ask) -> usize;

    /// Whether it makes sense to ask it now: false if it follows upon something that was not answered.
    fn is_possible(&self, _ask: Self::Ask) -> bool {
        true
    }

    /// The question in octets.
    fn request(&mut self, ask: Self::Ask, number: u64) -> Bytes;

    /// What is wrong with an answer, if anything.
    fn judge(&mut self, asked: Asked<Self::Ask>, answer: &http::Response) -> Result<(), Wrong>;
}

/// A question that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Asked<A> {
    pub ask: A,
    pub number: u64,
    /// When it left, and when its answer was there.
    pub sent: At,
    pub came: At,
    pub depth: Depth,
}

/// How closely an answer is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Whether it is an answer to this question, and has what it has to have.
    Shape,
    /// Also whether all that it says is true.
    Whole,
}

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub what: WrongWhat,
    /// What was found, and what was expected.
    pub why: String,
}

/// In which respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongWhat {
    /// A status that says that it was not done.
    Status,
    /// Not an answer to this question, or not all of one.
    Shape,
    /// It says what is not so.
    Content,
}

impl Wrong {
    pub fn status(found: u16, expected: &str) -> Wrong {
        Wrong {
            what: WrongWhat::Status,
            why: format!("status {found}, expected {expected}"),
        }
    }

    pub fn shape(why: impl Into<String>) -> Wrong {
        Wrong {
            what: WrongWhat::Shape,
            why: why.into(),
        }
    }

    pub fn content(why: impl Into<String>) -> Wrong {
        Wrong {
            what: WrongWhat::Content,
            why: why.into(),
        }
    }
}
