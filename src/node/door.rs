//! What stands in a node's door: it hears before the node does, speaks in its place, and bends what passes.
//! The node behind it is the unchanged reference.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    io::{Input, LinkEvent, Outbox, Output, TimerId},
    node::{Node, Setup},
    spec::{Format, RefPoint, Role},
    time::At,
    wire::{
        frame::{Frame, Framer, LinkId, Party, Security},
        message::Decoded,
    },
};

/// Bends what passes through a node's door.
pub trait Door: Send {
    /// A message has arrived and the node has not heard it yet.
    fn hears(&mut self, _passing: &Passing<'_>) -> Heard {
        Heard::AsItCame
    }

    /// Octets have arrived that never became a whole message: what came before a stream ended.
    fn hears_rest(&mut self, _passing: &Passing<'_>) -> Heard {
        Heard::AsItCame
    }

    /// The node has written a message and it has not gone out yet.
    fn says(&mut self, _passing: &Passing<'_>) -> Said {
        Said::AsWritten
    }
}

/// A message in the door.
pub struct Passing<'a> {
    pub at: At,
    /// What the node was told: its name, its neighbours, its contents.
    pub setup: &'a Setup,
    pub on: RefPoint,
    /// The node at the other end.
    pub peer: SocketAddr,
    pub message: &'a Decoded,
    pub bytes: &'a Bytes,
    /// Whether it went by stream; else it is a datagram.
    pub link: Option<LinkId>,
}

/// What a node hears of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    AsItCame,
    /// Nothing: it is lost on the node.
    Nothing,
    /// These messages instead, as if they had come the same way.
    Instead(Vec<Bytes>),
    /// Nothing; these go back at once in its name.
    Answer(Vec<Bytes>),
    /// The node hears it, and these go back before the node says anything.
    AnswerToo(Vec<Bytes>),
}

/// What goes out in place of what a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    AsWritten,
    Nothing,
    /// These messages instead, the same way.
    Instead(Vec<Bytes>),
    /// The same, later.
    Later(Duration),
    /// Nothing; the node hears these, as if the other end had answered.
    Answered(Vec<Bytes>),
}

impl Heard {
    pub fn as_one(bytes: impl Into<Bytes>) -> Heard {
        Heard::Instead(vec![bytes.into()])
    }
}

impl Said {
    pub fn as_one(bytes: impl Into<Bytes>) -> Said {
        Said::Instead(vec![bytes.into()])
    }
}

impl Passing<'_> {
    /// The node at the other end has this role.
    pub fn peer_is(&self, role: Role) -> bool {
        let nodes = &self.setup.directory.nodes;
        nodes
            .values()
            .any(|node| node.ip == self.peer.ip() && node.role == role)
    }

    /// The SIP request of this method, if it is one.
    pub fn request(&self, method: &str) -> Option<&crate::wire::sip::Message> {
        let sip = self.message.sip()?;
        (sip.is_request() && sip.method() == method).then_some(sip)
    }

    /// The SIP response to a request of this method, if it is one.
    pub fn response(&self, method: &str) -> Option<&crate::wire::sip::Message> {
        let sip = self.message.sip()?;
        let is_to = sip.cseq().is_ok_and(|cseq| cseq.method == method);
        (!sip.is_request() && is_to).then_some(sip)
    }
}

/// A node and what stands in its door.
pub struct Behind {
    node: Box<dyn Node>,
    door: Box<dyn Door>,
    setup: Setup,
    inner: Outbox,
    links: BTreeMap<LinkId, Way>,
    /// So much later than the node says it goes out what it says.
    delay: Duration,
    /// What goes out later, by our timer.
    held: BTreeMap<TimerId, Output>,
    timers: u64,
    /// Until when something is held on a link: what follows it waits as long.
    busy: BTreeMap<LinkId, At>,
    /// What the node is yet to hear from nobody.
    answers: VecDeque<Frame>,
}

/// Our timers count from here, the node's from one.
const FIRST_TIMER: u64 = 1 << 62;

/// Those of a second door before the first: each fires for the door that set it.
const FIRST_OUTER_TIMER: u64 = 1 << 63;

impl Behind {
    pub fn new(node: Box<dyn Node>, door: Box<dyn Door>, setup: Setup) -> Behind {
        Behind {
            node,
            door,
            setup,
            inner: Outbox::default(),
            links: BTreeMap::new(),
            delay: Duration::ZERO,
            held: BTreeMap::new(),
            timers: FIRST_TIMER,
            busy: BTreeMap::new(),
            answers: VecDeque::new(),
        }
    }

    /// The same, and slow in all it says; it may stand before another door.
    pub fn slowed(self, delay: Duration) -> Behind {
        Behind {
            delay,
            timers: FIRST_OUTER_TIMER,
            ..self
        }
    }

    fn hear(&mut self, at: At, frame: &Frame, out: &mut Outbox) {
        let decoded = Decoded::of(frame);
        let passing = Passing {
            at,
            setup: &self.setup,
            on: frame.on,
            peer: frame.src,
            message: &decoded,
            bytes: &frame.bytes,
            link: frame.link,
        };
        let heard = match frame.framed {
            true => self.door.hears(&passing),
            false => self.door.hears_rest(&passing),
        };
        match heard {
            Heard::AsItCame => self.node.handle(at, Input::Frame(frame), &mut self.inner),
            Heard::Nothing => {}
            Heard::Instead(messages) => {
                for bytes in messages {
                    let frame = Frame {
                        bytes,
                        framed: true,
                        ..frame.clone()
                    };
                    self.node.handle(at, Input::Frame(&frame), &mut self.inner);
                }
            }
            Heard::Answer(answers) => answer(frame, answers, out),
            Heard::AnswerToo(answers) => {
                answer(frame, answers, out);
                self.node.handle(at, Input::Frame(frame), &mut self.inner);
            }
        }
    }

    /// Lets out what the node has pushed, and what it says to answers that nobody gave.
    fn let_out(&mut self, at: At, out: &mut Outbox) {
        self.let_out_once(at, out);
        while let Some(frame) = self.answers.pop_front() {
            self.node.handle(at, Input::Frame(&frame), &mut self.inner);
            self.let_out_once(at, out);
        }
    }

    fn let_out_once(&mut self, at: At, out: &mut Outbox) {
        let outputs: Vec<Output> = self.inner.drain().collect();
        for output in outputs {
            match output {
                Output::Open {
                    link,
                    on,
                    format,
                    to,
                    ..
                } => {
                    self.links.insert(link, Way(on, format, to));
                    out.push(output);
                }
                Output::Datagram { on, to, ref bytes } => {
                    let way = Way(on, Format::Sip, to);
                    let said = self.said(at, way, None, bytes);
                    let again = |bytes| Output::Datagram { on, to, bytes };
                    self.send(at, said, (way, None), &output, &again, out);
                }
                Output::Send { link, ref bytes } => {
                    let Some(&way) = self.links.get(&link) else {
                        self.release(at, Duration::ZERO, output, out);
                        continue;
                    };
                    let again = |bytes| Output::Send { link, bytes };
                    for message in messages(way.1, bytes) {
                        let said = self.said(at, way, Some(link), &message);
                        let written = again(message);
                        self.send(at, said, (way, Some(link)), &written, &again, out);
                    }
                }
                Output::Close { .. } => self.release(at, self.delay, output, out),
                _ => out.push(output),
            }
        }
    }

    /// Lets an output go after a delay, and never before what is held on its link.
    fn release(&mut self, at: At, delay: Duration, output: Output, out: &mut Outbox) {
        let link = match &output {
            Output::Send { link, .. } | Output::Close { link, .. } => Some(*link),
            _ => None,
        };
        let busy = link.and_then(|link| self.busy.get(&link).copied());
        let due = busy.map_or(at + delay, |busy| busy.max(at + delay));
        if due <= at {
            out.push(output);
            return;
        }
        if let Some(link) = link {
            self.busy.insert(link, due);
        }
        let timer = TimerId(self.timers);
        self.timers += 1;
        self.held.insert(timer, output);
        out.arm(timer, due);
    }

    fn said(
        &mut self,
        at: At,
        Way(on, format, peer): Way,
        link: Option<LinkId>,
        bytes: &Bytes,
    ) -> Said {
        let decoded = Decoded::read(format, bytes.clone());
        self.door.says(&Passing {
            at,
            setup: &self.setup,
            on,
            peer,
            message: &decoded,
            bytes,
            link,
        })
    }

    fn send(
        &mut self,
        at: At,
        said: Said,
        (way, link): (Way, Option<LinkId>),
        written: &Output,
        again: &dyn Fn(Bytes) -> Output,
        out: &mut Outbox,
    ) {
        match said {
            Said::AsWritten => self.release(at, self.delay, written.clone(), out),
            Said::Nothing => {}
            Said::Instead(messages) => {
                for bytes in messages {
                    self.release(at, self.delay, again(bytes), out);
                }
            }
            Said::Later(delay) => self.release(at, self.delay + delay, written.clone(), out),
            Said::Answered(messages) => {
                let frames = messages.into_iter();
                let frames = frames.map(|bytes| frame_from(way, link, self.setup.ip, bytes));
                self.answers.extend(frames);
            }
        }
    }
}

/// Where, how and with whom is spoken.
#[derive(Clone, Copy)]
struct Way(RefPoint, Format, SocketAddr);

impl Node for Behind {
    fn role(&self) -> Role {
        self.node.role()
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Frame(frame) => self.hear(at, frame, out),
            Input::Timer(timer) if self.held.contains_key(&timer) => {
                if let Some(output) = self.held.remove(&timer) {
                    out.push(output);
                }
            }
            Input::Link(link, event) => {
                if let LinkEvent::Accepted {
                    on, format, from, ..
                } = event
                {
                    self.links.insert(link, Way(on, format, from));
                }
                self.node
                    .handle(at, Input::Link(link, event), &mut self.inner);
            }
            other => self.node.handle(at, other, &mut self.inner),
        }
        self.let_out(at, out);
    }
}

/// Sends messages back the way a frame came.
fn answer(frame: &Frame, answers: Vec<Bytes>, out: &mut Outbox) {
    for bytes in answers {
        match frame.link {
            Some(link) => out.send(link, bytes),
            None => out.datagram(frame.on, frame.src, bytes),
        }
    }
}

/// A message as the other end of a way would have sent it to `ip`.
fn frame_from(Way(on, format, peer): Way, link: Option<LinkId>, ip: IpAddr, bytes: Bytes) -> Frame {
    let dst = SocketAddr::new(ip, 0);
    Frame {
        from: Party::Unknown(peer),
        to: Party::Unknown(dst),
        src: peer,
        dst,
        on,
        format,
        link,
        security: Security::Plain,
        bytes,
        framed: true,
    }
}

/// The messages in what a node sends at once; all of it as one where they do not frame.
fn messages(format: Format, bytes: &Bytes) -> Vec<Bytes> {
    let mut framer = Framer::new(format);
    framer.feed(bytes);
    let mut found = Vec::new();
    while let Ok(Some(message)) = framer.next_message() {
        found.push(message);
    }
    match found.is_empty() || !framer.leftover().is_empty() {
        true => vec![bytes.clone()],
        false => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        node::testbed::{Bed, Cast},
        spec::{Architecture, Delivery},
    };

    /// Says one thing when it starts.
    struct Speaker;

    impl Node for Speaker {
        fn role(&self) -> Role {
            Role::Ue
        }

        fn handle(&mut self, _at: At, input: Input<'_>, out: &mut Outbox) {
            if let Input::Start = input {
                let to = SocketAddr::from(([192, 0, 2, 1], 5060));
                let bytes = Bytes::from_static(b"OPTIONS sip:a@ims.example SIP/2.0\r\n\r\n");
                out.datagram(RefPoint::Gm, to, bytes);
            }
        }
    }

    struct Late;

    impl Door for Late {
        fn says(&mut self, _passing: &Passing<'_>) -> Said {
            Said::Later(Duration::from_secs(1))
        }
    }

    struct Open;

    impl Door for Open {}

    #[test]
    fn each_of_two_doors_lets_out_what_it_held_back() {
        let cast = Cast {
            name: "ue-a",
            role: Role::Ue,
            ip: "192.0.2.10",
            listens: &[],
            user: Some("ue-a"),
            holds: &[],
        };
        let bed = Bed::new(&[cast], Architecture::Registered, Delivery::Delegate);
        let setup = bed.setup_of("ue-a");
        let inner = Behind::new(Box::new(Speaker), Box::new(Late), setup.clone());
        let mut outer =
            Behind::new(Box::new(inner), Box::new(Open), setup).slowed(Duration::from_millis(10));
        let mut out = Outbox::default();
        outer.handle(At::ZERO, Input::Start, &mut out);
        let mut now = At::ZERO;
        let mut said = Vec::new();
        loop {
            let mut due = None;
            for output in out.drain().collect::<Vec<_>>() {
                match output {
                    Output::Arm { timer, at } => due = Some((timer, at)),
                    Output::Datagram { .. } => said.push(now),
                    other => panic!("nothing else was said: {other:?}"),
                }
            }
            let Some((timer, at)) = due else { break };
            now = at;
            outer.handle(now, Input::Timer(timer), &mut out);
        }
        assert_eq!(vec![At::ZERO + Duration::from_millis(1010)], said);
    }
}
