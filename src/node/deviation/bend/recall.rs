//! Doors that remember something from one message to another.

use crate::{
    node::deviation::{Door, Heard, Passing, Said, bend::Notes},
    wire::sip,
};

/// A door that remembers texts, such as a header as it came.
pub struct Remembering {
    memory: Notes<String>,
    hears: fn(&mut Notes<String>, &Passing<'_>) -> Heard,
    says: fn(&mut Notes<String>, &Passing<'_>) -> Said,
}

impl Remembering {
    pub fn door(
        hears: fn(&mut Notes<String>, &Passing<'_>) -> Heard,
        says: fn(&mut Notes<String>, &Passing<'_>) -> Said,
    ) -> Box<dyn Door> {
        let memory = Notes::default();
        Box::new(Remembering {
            memory,
            hears,
            says,
        })
    }
}

impl Door for Remembering {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        (self.hears)(&mut self.memory, passing)
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        (self.says)(&mut self.memory, passing)
    }
}

/// What a request and the answers to it have in common from end to end: Call-ID and CSeq, and who began.
pub fn turn(message: &sip::Message) -> String {
    let tag = message
        .from()
        .ok()
        .and_then(|from| from.tag().map(str::to_owned));
    let cseq = message.header("CSeq").unwrap_or_default();
    format!(
        "{} {cseq} {}",
        message.call_id().unwrap_or_default(),
        tag.unwrap_or_default()
    )
}
