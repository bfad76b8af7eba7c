//! The provisioning sheet: everything that a node from outside has to be told before it can take part, as one page of
//! Markdown that can be handed to whoever sets it up.

use std::{collections::BTreeMap, fmt::Write};

use super::{contract::hex, guest::ITS_OWN, trigger::Order};
use crate::{
    node::{Setup, hss},
    spec::Role,
    suite::{Subscriber, Timer, Timers},
    trace::{ListenTransport, Listener},
    wire::ppstp,
};

/// What stands on a sheet.
pub struct Sheet<'a> {
    /// As it is called: `tracker`, `ims-core`.
    pub name: &'a str,
    /// What it plays.
    pub roles: &'a [Role],
    /// Those it takes part in; the usual ones first.
    pub networks: &'a [Network<'a>],
    pub subscribers: &'a [Subscriber],
    pub timers: &'a Timers,
    /// What scenarios have it do: an order as it is posted, by its action.
    pub orders: &'a BTreeMap<String, Order>,
}

/// A topology as it is laid out.
pub struct Network<'a> {
    pub name: &'a str,
    pub summary: &'a str,
    /// What each of its nodes is told.
    pub setups: Vec<Setup>,
}

impl Sheet<'_> {
    pub fn draw(&self) -> String {
        let mut text = format!("# What {} has to be told\n\n", self.name);
        text.push_str(FOREWORD);
        self.network(&mut text);
        self.orders(&mut text);
        self.service(&mut text);
        self.users(&mut text);
        self.profiles(&mut text);
        self.contents(&mut text);
        text
    }

    /// Who is where, network by network.
    fn network(&self, text: &mut String) {
        let mut shown: Vec<String> = Vec::new();
        for Network {
            name: topology,
            summary,
            setups,
        } in self.networks
        {
            let Some(first) = setups.first() else {
                continue;
            };
            let directory = &first.directory;
            let _ = write!(
                text,
                "\n## Network `{topology}`\n\n{summary}. Home domain and realm `{}`, public service identity of the \
                 tracker `{}`. Hosts are not to be found by DNS.",
                directory.domain, directory.tracker_psi
            );
            let rows: Vec<String> = directory
                .nodes
                .iter()
                .map(|(name, node)| {
                    let own = match self.roles.contains(&node.role) {
                        true => "**",
                        false => "",
                    };
                    let listeners: Vec<String> = node.listeners.iter().map(listener).collect();
                    format!(
                        "| {own}{name}{own} | {} | `{}` | `{}` | {} |\n",
                        node.role,
                        node.host,
                        node.ip,
                        listeners.join(", ")
                    )
                })
                .collect();
            let new: Vec<&String> = rows.iter().filter(|row| !shown.contains(row)).collect();
            text.push_str(match new.len() == rows.len() {
                true => "",
                false if new.is_empty() => " Everybody is as in those above.",
                false => " As in those above, but for:",
            });
            if !new.is_empty() {
                text.push_str(
                    "\n\n| node | role | host | address | listens on |\n|---|---|---|---|---|",
                );
            }
            text.push('\n');
            new.iter().for_each(|row| text.push_str(row));
            shown.extend(rows);
        }
    }

    /// What it is told to do by its trigger, and what of that it may do by itself.
    fn orders(&self, text: &mut String) {
        text.push_str("\n## Orders\n\n");
        if self.orders.is_empty() {
            text.push_str(
                "No scenario tells it to do anything: it answers, and needs no trigger but to be told `reset`.\n",
            );
        } else {
            text.push_str(
                "What scenarios have it do. Its `trigger` gets each as JSON: posted, or in `PEERPROOF_ACTION` of a \
                 command. It answers 2xx (a command ends with 0) once it has begun, and 501 (127) to what it does not do: \
                 that is `inconclusive`, and without a trigger `unsupported`. What it does of its own accord as soon as it \
                 runs stands in `by-itself` of the profile, and is not ordered.\n\n\
                 | order | for example | `by-itself` |\n|---|---|---|\n",
            );
        }
        for (action, order) in self.orders {
            let example =
                serde_json::to_string(order).expect("an order holds words and numbers only");
            let own = match ITS_OWN.contains(&action.as_str()) {
                true => "may be",
                false => "",
            };
            let _ = writeln!(text, "| {action} | `{example}` | {own} |");
        }
        text.push_str(
            "\nWho lives longer than a scenario is told `{\"action\":\"reset\",\"variables\":{…}}` before each, with the \
             `PEERPROOF_` variables of that scenario, unless the profile has a `reset` command: it forgets what was. One \
             that refuses has nothing laid to it of what it may have kept.\n",
        );
    }

    /// How the tracker is asked, and the times that its users count on.
    fn service(&self, text: &mut String) {
        let directories = self.networks.iter().flat_map(|n| n.setups.first());
        let Some((directory, token_key)) = directories
            .map(|setup| (&setup.directory, &setup.token_key))
            .next()
        else {
            return;
        };
        let psi = &directory.tracker_psi;
        let realm = psi.rsplit('@').next().unwrap_or(psi);
        let seconds = |timer| self.timers.of(timer).as_secs();
        let _ = write!(
            text,
            "\n## Service\n\n| | |\n|---|---|\n\
             | PPSTP over HTTP (Ut, Dedicated) | `POST {}`, `{}` |\n\
             | Digest on Ut | realm `{realm}`, the username is the private identity; SHA-256 and MD5 are offered |\n\
             | in the name of whom, on Ut | `X-3GPP-Intended-Identity`: one of the user's public identities |\n\
             | through IMS | event packages `p2pcds-peers` (SUBSCRIBE) and `p2pcds-status` (PUBLISH), to `{psi}` |\n\
             | a peer is forgotten after | {} s without a word of it, or what `timers.track` of the profile says |\n\
             | a data token is good for | {} s, or what `timers.token` of the profile says |\n\
             | key of data tokens, Controller and edges | `{}` (hexadecimal, with seed 0); the format is in \
             fixtures/README.md |\n\
             | who may be a user peer | subscribers with the service that are not marked below; the policy is the \
             network's |\n",
            ppstp::PATH,
            ppstp::MEDIA_TYPE,
            seconds(Timer::Track),
            seconds(Timer::Token),
            hex(token_key),
        );
    }

    fn users(&self, text: &mut String) {
        text.push_str(
            "\n## Subscribers\n\nEvery secret is made up. K and OPc are for AKA (TS 35.206), the sequence number is what \
             the USIM saw last.\n\n| id | private identity | public identities, the default first | password | K | OPc | \
             sequence number | |\n|---|---|---|---|---|---|---|---|\n",
        );
        for user in self.subscribers {
            let marks = [
                (user.aka, "authenticates by AKA"),
                (!user.service, "has not the service"),
                (!user.qualified, "is no qualified user peer"),
                (user.barred, "the first identity is barred"),
                (!user.may_register, "may not register"),
            ];
            let marks: Vec<&str> = marks
                .into_iter()
                .filter_map(|(is_so, words)| is_so.then_some(words))
                .collect();
            let _ = writeln!(
                text,
                "| {} | `{}` | `{}` | `{}` | `{}` | `{}` | {} | {} |",
                user.id,
                user.impi,
                user.impus.join("` `"),
                user.password,
                hex(&user.k),
                hex(&user.opc),
                user.usim_sqn,
                marks.join(", ")
            );
        }
    }

    /// What the HSS gives over Cx, each shape once.
    fn profiles(&self, text: &mut String) {
        let mut setups = self.networks.iter().flat_map(|network| &network.setups);
        let Some(setup) = setups.find(|setup| setup.role == Role::Hss) else {
            return;
        };
        text.push_str(
            "\n## User profiles\n\nAs the HSS gives them over Cx (TS 29.228 annex E), each shape once: with the service \
             and without it, and the tracker's public service identity. The initial filter criteria stand in them.\n",
        );
        let mut shapes: Vec<usize> = Vec::new();
        for profile in hss::profiles(setup) {
            let criteria: usize = profile.services.iter().map(|s| s.criteria.len()).sum();
            let is_service = profile.services.iter().all(|s| s.authorization.is_none());
            let shape = criteria * 2 + usize::from(is_service);
            if !shapes.contains(&shape) {
                shapes.push(shape);
                // One element a line; white space between elements means nothing.
                let xml = profile.to_xml().trim_end().replace("><", ">\n<");
                let _ = write!(text, "\n```xml\n{xml}\n```\n");
            }
        }
    }

    fn contents(&self, text: &mut String) {
        let mut setups = self.networks.iter().flat_map(|network| &network.setups);
        let Some(setup) = setups.next() else {
            return;
        };
        text.push_str(
            "\n## Contents\n\nIts swarm id, which is also the name of its file, is another in every scenario, so that what is \
             left over from one says nothing in the next: the content's name, a hyphen and eight letters. They are the \
             same whenever a scenario is played with the same seed: `peerproof list --contents` knows all of them, and \
             `contents.json` in `PEERPROOF_CONTENT_DIR` those of the scenario at hand. Octets are counted from 0.\n\n\
             | content | piece | octets | SHA-256 |\n|---|---:|---|---|\n",
        );
        for content in setup.contents.iter() {
            let _ = writeln!(
                text,
                "| **{}** | | {} in all, SHA-1 `{}` | `{}` |",
                content.fixture,
                content.bytes.len(),
                hex(&content.sha1),
                hex(&content.sha256)
            );
            for piece in &content.pieces {
                let _ = writeln!(
                    text,
                    "| | {} | {}-{} | `{}` |",
                    piece.n,
                    piece.first,
                    piece.first + piece.len - 1,
                    hex(&piece.sha256)
                );
            }
        }
    }
}

fn listener(listener: &Listener) -> String {
    let transport = match listener.transport {
        ListenTransport::Udp => "UDP",
        ListenTransport::Tcp => "TCP",
        ListenTransport::Tls => "TLS",
    };
    format!(
        "{} {} {transport} ({})",
        listener.on,
        listener.addr.port(),
        listener.format
    )
}

const FOREWORD: &str = "\
Who takes part in the test network, with which addresses, users, keys and contents. A program that peerproof starts, or
that reads its environment, is told all of it by variables that begin with `PEERPROOF_`, with the addresses of that very
run; one that runs already is set up by this page, its own nodes standing out. It may be told what is new in each
scenario by a `reset` hook or a `trigger` of the profile: both get those variables too. Where it is itself is for it to
choose, and for the profile to say; everybody else is where this page has them, if the run is given the same
`--address` and `--network` as the page was. Where everybody shares one address, the ports of a node may be others in
another network: the tables say so. The TLS certificates of a run are in the files that
`PEERPROOF_TLS_AUTHORITY`, `_CERTIFICATE` and `_KEY` name; with `--authority` they are of an authority that stays.
";
