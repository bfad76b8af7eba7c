//! What the Tracking List answers to a PPSTP request: the state machine of RFC 7846 2.3 and the actions
//! of 4.1. A request that fails changes nothing, unless the rules say that an invalid action ends a
//! registration.

use super::{
    Answered, Asker, Empty, Excess, InvalidAction, Joined, KeptAliveBy, MOST_MEMBERSHIPS,
    MOST_SWARMS, Membership, Reuse, TrackingList, Unqualified, kind,
};
use crate::{
    time::At,
    wire::ppstp::{
        AbilityNat, Action, ActionCds, AddressKind, Body, Connect, ErrorCode, Find, Listed,
        PeerAddr, PeerCds, PeerMode, PeerNum, PeerRole, Pieces, Request, Response, Stat,
        StatReport, SwarmAction, SwarmResult,
    },
};

/// How many peers are listed when the asker does not say; RFC 7846 4.1.1 allows any sample.
const SAMPLE: u64 = 20;

/// What becomes of a request of which some is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// The rest has its effect (RFC 7846 4.1: each swarm has its result).
    Parts,
    /// It has none.
    Whole,
}

impl TrackingList {
    /// Answers a request of an asker whose identity the door has proved, and who may use the service.
    pub fn answer(&mut self, at: At, asker: &Asker, request: &Request) -> Response {
        self.answer_to(at, asker, request, Extent::Parts)
    }

    /// The same, but a request of which some is invalid fails as a whole.
    pub fn answer_whole(&mut self, at: At, asker: &Asker, request: &Request) -> Response {
        self.answer_to(at, asker, request, Extent::Whole)
    }

    fn answer_to(&mut self, at: At, asker: &Asker, request: &Request, extent: Extent) -> Response {
        let outcome = match &request.body {
            Body::Connect(connect) => self.connect_once(at, asker, request, connect, extent),
            Body::Find(find) => self.find(at, asker, request, find),
            Body::StatReport(report) => self.report(at, asker, request, report, extent),
        };
        outcome.unwrap_or_else(|error| Response::failed(&request.transaction_id, error))
    }

    /// The list of a swarm as its member `peer_id` would get it now; its track timer does not begin anew.
    pub fn view(
        &mut self,
        at: At,
        peer_id: &str,
        swarm_id: &str,
        most: Option<u64>,
    ) -> Option<SwarmResult> {
        let (swarm, member) = self.membership(peer_id, swarm_id)?;
        Some(self.listing(at, Membership { swarm, member }, most))
    }

    /// A CONNECT that comes again in the same registration has its effect once (RFC 7846 4.3).
    fn connect_once(
        &mut self,
        at: At,
        asker: &Asker,
        request: &Request,
        connect: &Connect,
        extent: Extent,
    ) -> Result<Response, ErrorCode> {
        if !self.rules.remembers_transactions {
            return self.connect(at, asker, request, connect, extent);
        }
        let names = (&*asker.owner, &*request.peer_id, &*request.transaction_id);
        let key = self.recent.key(names);
        let content = self.recent.key(connect);
        let life = self.life(&request.peer_id);
        if let Some(answered) = self.recent.get(at, key)
            && answered.life == life
        {
            if answered.content == content {
                let response = answered.response.clone();
                if let Some(peer) = self.peer(&request.peer_id) {
                    self.touch(at, peer);
                }
                return Ok(response);
            }
            if self.rules.reuse == Reuse::Refuse {
                return Err(ErrorCode::BadRequest);
            }
        }
        let response = self.connect(at, asker, request, connect, extent)?;
        let answered = Answered {
            content,
            life: self.life(&request.peer_id),
            until: at + self.rules.track_timeout,
            response: response.clone(),
        };
        self.recent.put(at, key, answered);
        Ok(response)
    }

    fn life(&self, peer_id: &str) -> Option<u32> {
        self.peer(peer_id).map(|peer| self.peers[peer].life)
    }

    fn connect(
        &mut self,
        at: At,
        asker: &Asker,
        request: &Request,
        connect: &Connect,
        extent: Extent,
    ) -> Result<Response, ErrorCode> {
        let known = self.tracked(asker, request)?;
        let most = self.most(connect.peer_num.as_ref())?;
        check_manifests(connect)?;
        let verdicts = self.judge(known, asker, connect);
        if !verdicts.contains(&true) {
            if known.is_none() && self.rules.registers_whoever_errs {
                self.register(at, &request.peer_id, &asker.owner);
            }
            if let (Some(peer), InvalidAction::Terminate) = (known, self.rules.invalid_action) {
                self.remove(peer);
            }
            return Err(ErrorCode::ForbiddenAction);
        }
        if extent == Extent::Whole && verdicts.contains(&false) {
            return Err(ErrorCode::ForbiddenAction);
        }
        let peer = known.unwrap_or_else(|| self.register(at, &request.peer_id, &asker.owner));
        self.touch(at, peer);
        if !connect.peer_addr.is_empty() {
            let addrs = self.listable(asker.role, connect).into();
            self.set_addrs(peer, addrs);
        }
        let valid = || {
            connect
                .swarm_action
                .iter()
                .zip(&verdicts)
                .filter(|(_, v)| **v)
        };
        for (action, _) in valid().filter(|(a, _)| a.action == Action::Join) {
            self.apply_join(peer, asker, action);
        }
        for (action, _) in valid().filter(|(a, _)| a.action == Action::Leave) {
            if let Some(&swarm) = self.swarm_of.get(&*action.swarm_id) {
                self.leave(peer, swarm);
            }
        }
        let results = connect.swarm_action.iter().zip(&verdicts);
        let results = results.map(|(action, &is_valid)| {
            let lists = action.action == Action::Join
                && (action.peer_mode == PeerMode::Leech || connect.peer_num.is_some());
            match self.membership(&request.peer_id, &action.swarm_id) {
                Some((swarm, member)) if is_valid && lists => {
                    self.listing(at, Membership { swarm, member }, most)
                }
                _ => bare(&action.swarm_id, is_valid),
            }
        });
        let mut response = Response::ok(&request.transaction_id, results.collect());
        response.peer_addr = self.reflexive(asker, connect.peer_num.as_ref());
        if self.peers[peer].memberships.is_empty() && self.rules.leaving_ends {
            self.remove(peer);
        }
        Ok(response)
    }

    /// Which actions are valid. The combinations of RFC 7846 Table 6 stand or fall together.
    fn judge(&self, known: Option<u32>, asker: &Asker, connect: &Connect) -> Vec<bool> {
        let actions = &connect.swarm_action;
        let seeds = |a: &SwarmAction| a.action == Action::Join && a.peer_mode == PeerMode::Seeder;
        let is_forbidden = match known {
            // Rows 2 and 4: nobody leaves who is not there.
            None => actions.iter().any(|a| a.action == Action::Leave) || self.is_crowded(asker),
            // Row 7: a SEEDER does not join while tracked.
            Some(_) => actions.iter().any(seeds),
        };
        if is_forbidden || names_a_swarm_twice(actions) {
            return vec![false; actions.len()];
        }
        let valid = |action: &SwarmAction| match action.action {
            Action::Leave => self.is_member(known, &action.swarm_id),
            Action::Join => self.may_join(known, asker, connect, action),
        };
        actions.iter().map(valid).collect()
    }

    fn is_crowded(&self, asker: &Asker) -> bool {
        self.owners.count(&asker.owner) >= self.rules.peers_per_owner
    }

    fn is_member(&self, peer: Option<u32>, swarm_id: &str) -> bool {
        let swarm = self.swarm_of.get(swarm_id);
        match (peer, swarm) {
            (Some(peer), Some(&swarm)) => self.peers[peer].member_of(swarm).is_some(),
            _ => false,
        }
    }

    fn may_join(
        &self,
        known: Option<u32>,
        asker: &Asker,
        connect: &Connect,
        action: &SwarmAction,
    ) -> bool {
        let joined = known.map_or(0, |peer| self.peers[peer].memberships.len());
        let has_room = joined + connect.swarm_action.len() <= MOST_MEMBERSHIPS;
        let is_reachable =
            connect.peer_addr.is_empty() || !self.listable(asker.role, connect).is_empty();
        let announced = action.cds.as_ref().and_then(|cds| cds.content.as_ref());
        let swarm = self.swarm_of.get(&*action.swarm_id);
        let manifest = match swarm {
            Some(&swarm) => self.swarms[swarm].manifest.as_deref(),
            None => None,
        };
        let is_known = match (swarm, announced, manifest) {
            (_, Some(announced), Some(manifest)) => announced == manifest,
            (_, Some(_), None) => matches!(asker.role, PeerRole::Origin | PeerRole::Controller),
            (Some(_), None, _) => true,
            (None, None, _) => {
                (action.peer_mode == PeerMode::Seeder || self.rules.leech_opens_swarm)
                    && self.swarm_count() < MOST_SWARMS
            }
        };
        let claims = action.cds.as_ref().map(|cds| &cds.pieces);
        let is_true = match (claims, announced.or(manifest)) {
            (Some(claims), Some(manifest)) => claims.is_within(&manifest.numbers()),
            _ => true,
        };
        has_room
            && is_reachable
            && is_known
            && is_true
            && !self.is_listed_already(known, asker, swarm)
    }

    /// A CDN node is in a swarm under one peer id only.
    fn is_listed_already(&self, known: Option<u32>, asker: &Asker, swarm: Option<&u32>) -> bool {
        let (Some(&swarm), true) = (swarm, asker.role != PeerRole::User) else {
            return false;
        };
        let mut own = self.owners.peers(&asker.owner, &self.peers);
        own.any(|peer| Some(peer) != known && self.peers[peer].member_of(swarm).is_some())
    }

    fn apply_join(&mut self, peer: u32, asker: &Asker, action: &SwarmAction) {
        let swarm = self.open(&action.swarm_id);
        let announced = action.cds.as_ref().and_then(|cds| cds.content.as_ref());
        if let (Some(manifest), None) = (announced, &self.swarms[swarm].manifest) {
            self.set_manifest(swarm, manifest.clone());
        }
        let manifest = self.swarms[swarm].manifest.as_deref();
        let holds_all = action.cds.is_none() && action.peer_mode == PeerMode::Seeder;
        let pieces = match (&action.cds, manifest) {
            (Some(cds), _) => Some(cds.pieces.clone()),
            (None, Some(manifest)) if holds_all => Some(manifest.numbers()),
            (None, _) => None,
        };
        let is_ours = action.cds.is_some() || manifest.is_some();
        let cds = is_ours.then(|| self.described(asker, action.cds.as_ref()));
        let joined = Joined {
            mode: action.peer_mode,
            role: asker.role,
            // Nobody is listed by an address it did not give.
            is_listed: self.may_be_told(asker) && self.peers[peer].addrs.len() > 0,
            cds,
            pieces,
            holds_all,
        };
        self.join(peer, swarm, joined);
    }

    /// Whether others may be told of whoever joins: of a user peer, if the network's policy finds it qualified.
    fn may_be_told(&self, asker: &Asker) -> bool {
        asker.is_qualified
            || match self.rules.unqualified {
                Unqualified::Hidden => false,
                Unqualified::HiddenOnUt => asker.seen.is_none(),
                Unqualified::Listed => true,
            }
    }

    /// How a peer is reached for pieces: under an identity of its own, at a URL that may be shown.
    fn described(&self, asker: &Asker, cds: Option<&ActionCds>) -> PeerCds {
        let own = |uri: &&String| asker.identities.contains(uri);
        let sip_uri = cds.and_then(|cds| cds.sip_uri.as_ref()).filter(own);
        let url = cds.and_then(|cds| cds.url.as_ref());
        PeerCds {
            sip_uri: sip_uri.or(asker.identities.first()).cloned(),
            url: url.filter(|url| !self.rules.hidden.has(url)).cloned(),
            pieces: Pieces::new(),
            role: Some(asker.role),
        }
    }

    /// The addresses that may be listed, the preferred first; of a Controller one.
    fn listable(&self, role: PeerRole, connect: &Connect) -> Vec<PeerAddr> {
        let shown = |addr: &&PeerAddr| !self.rules.hidden.ips.contains(&addr.ip);
        let mut addrs: Vec<PeerAddr> = connect.peer_addr.iter().filter(shown).cloned().collect();
        addrs.sort_by_key(|addr| std::cmp::Reverse(addr.priority));
        if let Some(kind) = kind(role) {
            addrs.truncate(1);
            addrs.iter_mut().for_each(|addr| addr.kind = kind);
        }
        addrs
    }

    fn find(
        &mut self,
        at: At,
        asker: &Asker,
        request: &Request,
        find: &Find,
    ) -> Result<Response, ErrorCode> {
        let peer = self
            .tracked(asker, request)?
            .ok_or(self.rules.unregistered)?;
        let most = self.most(find.peer_num.as_ref())?;
        let (swarm, member) = self
            .membership(&request.peer_id, &find.swarm_id)
            .ok_or(ErrorCode::ForbiddenAction)?;
        if !matches!(
            self.rules.kept_alive_by,
            KeptAliveBy::AnyButFinds | KeptAliveBy::Connects
        ) {
            self.touch(at, peer);
        }
        let result = self.listing(at, Membership { swarm, member }, most);
        let mut response = Response::ok(&request.transaction_id, vec![result]);
        response.peer_addr = self.reflexive(asker, find.peer_num.as_ref());
        Ok(response)
    }

    fn report(
        &mut self,
        at: At,
        asker: &Asker,
        request: &Request,
        report: &StatReport,
        extent: Extent,
    ) -> Result<Response, ErrorCode> {
        let peer = self
            .tracked(asker, request)?
            .ok_or(self.rules.unregistered)?;
        let is_true = |stat: &Stat| self.reported(&request.peer_id, stat).is_some();
        if extent == Extent::Whole && !report.stat.iter().all(is_true) {
            return Err(ErrorCode::ForbiddenAction);
        }
        let results: Vec<SwarmResult> = report
            .stat
            .iter()
            .map(|stat| bare(&stat.swarm_id, self.apply_stat(&request.peer_id, stat)))
            .collect();
        if !results.is_empty() && results.iter().all(|result| !result.successful) {
            return Err(ErrorCode::ForbiddenAction);
        }
        let keeps_alive = match self.rules.kept_alive_by {
            KeptAliveBy::AnyRequest | KeptAliveBy::AnyButFinds => true,
            KeptAliveBy::AnyButEmptyReports => !results.is_empty(),
            KeptAliveBy::Connects => false,
        };
        if keeps_alive {
            self.touch(at, peer);
        }
        Ok(Response::ok(&request.transaction_id, results))
    }

    /// Stores what a peer reports of one swarm; false if it is not in it, or claims what there is not.
    fn apply_stat(&mut self, peer_id: &str, stat: &Stat) -> bool {
        let Some((swarm, member)) = self.reported(peer_id, stat) else {
            return false;
        };
        if let Some(cds) = &stat.cds {
            self.swarms[swarm].members[member as usize].holds_all = false;
            self.set_pieces(swarm, member, cds.pieces.clone());
        }
        self.swarms[swarm].told[member as usize].counters = stat.into();
        true
    }

    /// What a report of one swarm is about: `None` if its peer is not in it, or claims what there is not.
    fn reported(&self, peer_id: &str, stat: &Stat) -> Option<(u32, u32)> {
        let (swarm, member) = self.membership(peer_id, &stat.swarm_id)?;
        let at = &self.swarms[swarm];
        let claims = stat.cds.as_ref().map(|cds| &cds.pieces);
        let is_true = match (claims, &at.manifest) {
            (Some(claims), Some(_)) => claims.is_within(&at.numbers),
            _ => true,
        };
        is_true.then_some((swarm, member))
    }

    /// The asker's registration, if it has one; an error if the peer id is somebody else's.
    fn tracked(&self, asker: &Asker, request: &Request) -> Result<Option<u32>, ErrorCode> {
        let is_bound = match request.body {
            Body::StatReport(_) => self.rules.binds_reports,
            Body::Connect(_) | Body::Find(_) => self.rules.binds_peer_ids,
        };
        match self.peer(&request.peer_id) {
            Some(peer) if is_bound && self.owners.name(self.peers[peer].owner) != &*asker.owner => {
                Err(self.rules.taken)
            }
            known => Ok(known),
        }
    }

    fn most(&self, peer_num: Option<&PeerNum>) -> Result<Option<u64>, ErrorCode> {
        match peer_num.map(|num| num.peer_count) {
            Some(count)
                if count > self.rules.most_listed && self.rules.excess == Excess::Refuse =>
            {
                Err(ErrorCode::BadRequest)
            }
            count => Ok(count),
        }
    }

    /// The list of a swarm for one of its members. Whoever turns out to have been silent for too long is removed
    /// instead of listed, though its timer was not come to yet.
    fn listing(&mut self, at: At, asker: Membership, most: Option<u64>) -> SwarmResult {
        let draw = self.random.next_u64();
        let count = most.unwrap_or(SAMPLE).min(self.rules.most_listed) as usize;
        let rules = (self.rules.order, self.rules.covers);
        let key = self.swarms[asker.swarm].members[asker.member as usize].peer;
        // Taken out while the list is read.
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut asker = asker;
        loop {
            let swarm = &self.swarms[asker.swarm];
            let member_of = |peer: u32| self.peers[peer].member_of(asker.swarm);
            let chosen = scratch.choose(swarm, asker, count, rules, draw, &member_of);
            let chosen = chosen.map(|index| swarm.members[index as usize].peer);
            let silent = chosen.filter(|peer| self.peers[*peer].is_silent(at));
            let silent: Vec<u32> = silent.collect();
            if silent.is_empty() {
                break;
            }
            for peer in silent {
                let removed = self.remove(peer);
                self.removed.push(removed);
            }
            let member = self.peers[key].member_of(asker.swarm);
            asker.member = member.expect("whoever asks is not removed: it is never chosen");
        }
        let chosen = scratch.chosen();
        let mut peers: Vec<Listed> = Vec::with_capacity(count);
        let count_of = |index: &u32| self.entry_count(asker.swarm, *index);
        let entry = |index, place| Listed::from(self.entry(asker.swarm, index, place));
        peers.extend(chosen.clone().map(|index| entry(index, 0)));
        // Further addresses, where there is room left.
        let several = chosen.filter(|index| count_of(index) > 1);
        let more = several.flat_map(|index| (1..count_of(&index)).map(move |place| (index, place)));
        let room = count.saturating_sub(peers.len());
        peers.extend(more.take(room).map(|(index, place)| entry(index, place)));
        let swarm = &self.swarms[asker.swarm];
        let result = SwarmResult {
            swarm_id: swarm.id.to_string(),
            successful: true,
            peers: (!peers.is_empty() || self.rules.empty == Empty::EmptyArray).then_some(peers),
            manifest: swarm.manifest.clone(),
        };
        self.scratch = scratch;
        result
    }

    /// Where the asker was seen; not told to one behind STUN or TURN (RFC 7846 4.1.1).
    fn reflexive(&self, asker: &Asker, peer_num: Option<&PeerNum>) -> Option<PeerAddr> {
        let nat = peer_num.and_then(|num| num.ability_nat);
        if !self.rules.reflexive || matches!(nat, Some(AbilityNat::Stun | AbilityNat::Turn)) {
            return None;
        }
        let mut addr = PeerAddr::host(asker.seen?, 1);
        addr.kind = AddressKind::Reflexive;
        Some(addr)
    }
}

impl super::Hidden {
    /// Whether a URL leads to a hidden host or address.
    fn has(&self, url: &str) -> bool {
        let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = match host.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let host = host.to_ascii_lowercase();
        self.hosts.contains(&host) || host.parse().is_ok_and(|ip| self.ips.contains(&ip))
    }
}

/// A result without a list.
fn bare(swarm_id: &str, successful: bool) -> SwarmResult {
    SwarmResult {
        swarm_id: swarm_id.to_owned(),
        successful,
        peers: None,
        manifest: None,
    }
}

/// A manifest that does not cover its content is badly formed.
fn check_manifests(connect: &Connect) -> Result<(), ErrorCode> {
    let announced = connect
        .swarm_action
        .iter()
        .filter_map(|a| a.cds.as_ref()?.content.as_ref());
    for manifest in announced {
        manifest.check().map_err(|_| ErrorCode::BadRequest)?;
    }
    Ok(())
}

fn names_a_swarm_twice(actions: &[SwarmAction]) -> bool {
    let mut names: Vec<&str> = actions.iter().map(|a| &*a.swarm_id).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}
