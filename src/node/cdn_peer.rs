//! An Edge Server or Origin Server that is registered in IMS (TR 23.844 6.2.1): a user agent that serves
//! the pieces it holds and tells the tracker about them on the dedicated interface.

use super::{
    Node, Setup,
    announcer::Announcer,
    ims_user::{ImsUser, UserEvent},
    serving::Serving,
};
use crate::{
    io::{Action, Input, Outbox},
    spec::Role,
    time::At,
};

/// The node.
pub struct CdnPeer {
    setup: Setup,
    user: ImsUser,
    serving: Serving,
    announcer: Option<Announcer>,
    is_stopped: bool,
}

impl CdnPeer {
    /// `None` if the node is set up without what an IMS user needs.
    pub fn new(setup: &Setup) -> Option<CdnPeer> {
        let mut serving = Serving::new(setup);
        for content in setup.contents.iter() {
            serving.shelf.put(content, &[]);
        }
        Some(CdnPeer {
            user: ImsUser::new(setup)?,
            serving,
            announcer: Announcer::new(setup, setup.policy.cdn_server.report_interval),
            setup: setup.clone(),
            is_stopped: false,
        })
    }

    fn act(&mut self, at: At, action: &Action, out: &mut Outbox) {
        match action {
            Action::Register => self.user.register(at, out),
            Action::Deregister => self.user.deregister(at, out),
            Action::Announce { content, pieces } => {
                let known = self.setup.contents.iter().find(|c| c.fixture == *content);
                if let Some(known) = known {
                    self.serving.shelf.put(known, pieces);
                }
                self.tell(at, content, out);
            }
            Action::Drop { content, pieces } => {
                if let Some(swarm) = self.swarm(content) {
                    self.serving.shelf.remove(&swarm, pieces);
                }
                self.tell(at, content, out);
            }
            Action::Report { content } => self.tell(at, content, out),
            Action::Leave { content } => {
                if let (Some(swarm), Some(announcer)) = (self.swarm(content), &mut self.announcer) {
                    announcer.leave(at, &swarm, out);
                }
            }
            Action::Stop | Action::Crash => self.is_stopped = true,
            Action::Ask { .. }
            | Action::Fetch { .. }
            | Action::Revoke { .. }
            | Action::Withdraw { .. } => out.note("refused", "not for a CDN server to do"),
        }
    }

    /// Tells the tracker what is held; with nothing left it leaves the swarm.
    fn tell(&mut self, at: At, content: &str, out: &mut Outbox) {
        let (Some(swarm), Some(announcer)) = (self.swarm(content), &mut self.announcer) else {
            return out.note("refused", format!("no content {content}, or no tracker"));
        };
        let pieces = self.serving.shelf.pieces(&swarm);
        announcer.set_uploaded(&swarm, self.serving.uploaded(&swarm));
        match pieces.is_empty() {
            true => announcer.leave(at, &swarm, out),
            false => announcer.announce(at, &swarm, pieces, out),
        }
    }

    fn swarm(&self, fixture: &str) -> Option<String> {
        let content = self.setup.contents.iter().find(|c| c.fixture == fixture)?;
        Some(content.swarm.clone())
    }

    fn user_event(&mut self, at: At, event: UserEvent, out: &mut Outbox) {
        let rest = self.serving.user_event(at, event, &mut self.user, out);
        // What the serving side leaves is a request inside a dialog that is not there.
        if let Some(UserEvent::Request { txn, .. }) = rest {
            self.user.refuse(at, txn, 481, out);
        }
    }
}

impl Node for CdnPeer {
    fn role(&self) -> Role {
        self.setup.role
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        if self.is_stopped {
            return;
        }
        if let Input::Act(action) = input {
            return self.act(at, action, out);
        }
        if let Some(events) = self.user.take(at, &input, out) {
            for event in events {
                self.user_event(at, event, out);
            }
            return;
        }
        let announced = self.announcer.as_mut();
        if announced.is_some_and(|announcer| announcer.take(at, &input, out)) {
            return;
        }
        self.serving.take(at, &input, &mut self.user, out);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::{
        node::{
            edge_server, origin_server,
            testbed::{Bed, Cast},
        },
        spec::{Architecture, Delivery, Format::*, RefPoint::*},
        wire::{
            frame::Frame,
            http,
            ppstp::{self, Body, ErrorCode, PeerRole},
        },
    };

    fn bed() -> Bed {
        const SERVER: &[(crate::spec::RefPoint, crate::spec::Format, u16)] =
            &[(Gm, Sip, 5070), (Data, Msrp, 7777), (Data, Http, 8080)];
        let cast = |name, role, ip, listens, user, holds| Cast {
            name,
            role,
            ip,
            listens,
            user,
            holds,
        };
        let tracker = &[(Dedicated, Http, 8444)];
        let cast = [
            cast(
                "p-cscf",
                Role::PCscf,
                "192.0.2.1",
                &[(Gm, Sip, 5060)],
                None,
                &[],
            ),
            cast("tracker", Role::Tracker, "203.0.113.40", tracker, None, &[]),
            cast(
                "es-1",
                Role::EdgeServer,
                "198.51.100.21",
                SERVER,
                Some("es1"),
                &[2],
            ),
            cast(
                "os-1",
                Role::OriginServer,
                "198.51.100.30",
                SERVER,
                Some("os1"),
                &[1, 2, 3],
            ),
        ];
        let mut bed = Bed::new(&cast, Architecture::Registered, Delivery::Delegate);
        bed.script("tracker", |frame| answer(frame, ErrorCode::None));
        bed.node("es-1", edge_server::build);
        bed.node("os-1", origin_server::build);
        bed
    }

    fn answer(frame: &Frame, error: ErrorCode) -> Option<Bytes> {
        let id = &document(frame.bytes.clone()).transaction_id;
        let answer = match error {
            ErrorCode::None => ppstp::Response::ok(id, Vec::new()),
            error => ppstp::Response::failed(id, error),
        };
        let response = http::Response::build(200).body(ppstp::MEDIA_TYPE, answer.to_json());
        Some(response.finish().bytes().clone())
    }

    fn document(bytes: Bytes) -> ppstp::Request {
        let request = http::Request::parse(bytes).unwrap();
        let read = ppstp::read_request(&request.body(), ppstp::Profile::Grammar);
        read.unwrap().message
    }

    fn kinds(bed: &Bed) -> Vec<&'static str> {
        let came = bed.came_to("tracker", 0).into_iter();
        came.map(|bytes| match document(bytes).body {
            Body::Connect(connect) => connect.swarm_action[0].action.word(),
            Body::Find(_) => "FIND",
            Body::StatReport(report) if report.stat.is_empty() => "KEEP-ALIVE",
            Body::StatReport(_) => "STAT_REPORT",
        })
        .collect()
    }

    fn announce(pieces: Vec<u32>) -> Action {
        Action::Announce {
            content: "three-pieces".to_owned(),
            pieces,
        }
    }

    #[test]
    fn what_is_held_is_announced_kept_known_and_taken_back() {
        let mut bed = bed();
        bed.act("es-1", &announce(vec![2]));
        bed.act("es-1", &announce(vec![3]));
        bed.pass(Duration::from_secs(31));
        let drop = Action::Drop {
            content: "three-pieces".to_owned(),
            pieces: vec![2, 3],
        };
        bed.act("es-1", &drop);
        assert_eq!(
            vec!["JOIN", "STAT_REPORT", "KEEP-ALIVE", "LEAVE"],
            kinds(&bed)
        );

        let Body::Connect(connect) = document(bed.came_to("tracker", 0).remove(0)).body else {
            panic!("a CONNECT comes first");
        };
        let cds = connect.swarm_action[0].cds.clone().unwrap();
        assert_eq!(Some("sip:es1@ims.example"), cds.sip_uri.as_deref());
        assert_eq!(
            Some("http://198.51.100.21:8080/content/movie-0001"),
            cds.url.as_deref()
        );
        assert_eq!((Some(PeerRole::Edge), None), (cds.role, cds.content));
        assert_eq!(7777, connect.peer_addr[0].port);
    }

    #[test]
    fn an_origin_announces_the_manifest() {
        let mut bed = bed();
        bed.act("os-1", &announce(vec![3]));
        let Body::Connect(connect) = document(bed.came_to("tracker", 0).remove(0)).body else {
            panic!("a CONNECT comes first");
        };
        let cds = connect.swarm_action[0].cds.clone().unwrap();
        assert_eq!(Ok(()), cds.content.unwrap().check());
    }

    #[test]
    fn a_tracker_that_has_forgotten_is_told_anew() {
        let mut bed = bed();
        bed.act("es-1", &announce(vec![2]));
        bed.script("tracker", |frame| answer(frame, ErrorCode::ForbiddenAction));
        bed.pass(Duration::from_secs(30));
        bed.script("tracker", |frame| answer(frame, ErrorCode::None));
        bed.pass(Duration::from_secs(5));
        assert_eq!(vec!["JOIN", "KEEP-ALIVE", "JOIN"], kinds(&bed));
    }

    #[test]
    fn a_tracker_that_is_away_is_tried_again() {
        let mut bed = bed();
        bed.script("tracker", |_| None);
        bed.act("es-1", &announce(vec![2]));
        bed.pass(Duration::from_secs(4));
        bed.script("tracker", |frame| answer(frame, ErrorCode::None));
        bed.pass(Duration::from_secs(6));
        assert_eq!(vec!["JOIN", "JOIN"], kinds(&bed));
    }

    #[test]
    fn a_stopped_node_is_silent() {
        let mut bed = bed();
        bed.act("es-1", &Action::Stop);
        bed.act("es-1", &announce(vec![2]));
        assert!(kinds(&bed).is_empty());
    }
}
