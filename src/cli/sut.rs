//! `--sut`: who is under test. A profile, or guests in the place of nodes, or both.

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr, UdpSocket},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Exit, Failure, selection::mistakes, shell_word};
use crate::{
    net::tls,
    run::Field,
    spec::Feature,
    suite::{Ground, Suite},
    sut::{Guest, Profile, Ready, Way, parse_binding},
    trace::ListenTransport,
};

/// The system under test.
#[derive(Clone, Debug, Default, Args)]
pub struct SutArgs {
    /// The system under test: the FILE of a profile, or a guest in the place of a node as NAME=ADDR,
    /// NAME=cmd:COMMAND or NAME=image:IMAGE. NAME is a node, a role that has one node, or ims-core. May be
    /// given several times, with one FILE at most
    #[arg(long, value_name = "FILE|NAME=…")]
    sut: Vec<String>,

    /// How one knows that a guest given as NAME=cmd:… is ready: by a line that begins with "ready", or by
    /// its listeners taking connections
    #[arg(long, value_name = "HOW", value_parser = ["line", "probe"], default_value = "line")]
    ready: String,

    #[command(flatten)]
    place: PlaceArgs,
}

/// Where everybody is over sockets.
#[derive(Clone, Debug, Default, Args)]
pub struct PlaceArgs {
    /// Reference nodes have this address of this machine, each with ports of its own, so that whoever is under test
    /// can be on another machine [default: an address of loopback each]
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,

    /// The network, 0 to 255: 127.N.c.d for a.b.c.d on loopback; with --address 0 to 21: the ports from 10240 + 1024 N [default: 0;
    /// of a run, one that is free, unless a guest is there already]
    #[arg(long, value_name = "N")]
    network: Option<u8>,

    /// The folder of the test authority that certificates are of: authority.key and authority.pem, which are made if
    /// they are not there [default: an authority of this run alone]
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
}

impl PlaceArgs {
    /// Takes the authority that was asked for.
    pub fn take_authority(&self) -> Result<(), Failure> {
        match &self.authority {
            Some(folder) => take_authority(folder),
            None => Ok(()),
        }
    }

    /// Where everybody is, if it was said, or `fixed` says that it must not be left to chance.
    pub fn ground(&self, field: Field, fixed: bool) -> Result<Option<Ground>, Failure> {
        let at_one = match (self.address, field) {
            (None, Field::SocketsV6) => Some(Ipv6Addr::LOCALHOST.into()),
            (address, _) => address,
        };
        let is_asked = self.address.is_some() || self.network.is_some();
        if is_asked && field == Field::Memory {
            return Err(Failure::usage(
                "found --address or --network in memory, where there are none: expected --transport sockets, or a guest",
            ));
        }
        if !is_asked && !fixed {
            return Ok(None);
        }
        let network = self.network.unwrap_or(0);
        let Some(ip) = at_one else {
            return Ok(Some(Ground::Loopback { network }));
        };
        if network >= Ground::NETWORKS_AT_ONE {
            let last = Ground::NETWORKS_AT_ONE - 1;
            return Err(Failure::usage(format!(
                "--network: found {network}, expected 0 to {last}: one address has ports for no more"
            )));
        }
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(Failure::usage(format!(
                "--address: found {ip}, expected the one under which others reach this machine"
            )));
        }
        if ip.is_ipv4() && field == Field::SocketsV6 {
            return Err(Failure::usage(format!(
                "--address: found {ip} with --transport {}, expected an IPv6 address, or --transport sockets",
                field.word()
            )));
        }
        if let Err(error) = UdpSocket::bind((ip, 0)) {
            return Err(Failure::new(
                Exit::Unavailable,
                format!("--address: found {ip}, expected an address of this machine: {error}"),
            ));
        }
        Ok(Some(Ground::OneAddress { ip, network }))
    }

    /// The folder of the authority, if there is one.
    pub fn authority(&self) -> Option<&Path> {
        self.authority.as_deref()
    }

    /// What to type for the same again, with a blank before each.
    pub fn words(&self) -> String {
        let address = self.address.map(|ip| format!(" --address {ip}"));
        let network = self.network.map(|network| format!(" --network {network}"));
        let authority = self.authority.as_ref();
        let authority =
            authority.map(|folder| format!(" --authority {}", shell_word(folder.display())));
        [address, network, authority]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// The authority of this program is the one in a folder, from now on and in every run that is given the folder.
pub fn take_authority(folder: &Path) -> Result<(), Failure> {
    let (certificate, key) = (folder.join("authority.pem"), folder.join("authority.key"));
    let cannot = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: {error}", path.display()))
    };
    let kept = match fs::read_to_string(&key) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(cannot(&key, &error)),
    };
    if kept.is_none() && certificate.exists() {
        return Err(cannot(
            &key,
            &format!(
                "is not there, but {} is: an authority has both, or is made anew in a folder that has neither",
                certificate.display()
            ),
        ));
    }
    tls::choose_authority(kept.as_deref())
        .map_err(|error| cannot(&key, &format!("expected a private key in PEM: {error}")))?;
    if kept.is_some() {
        let pem = fs::read_to_string(&certificate).map_err(|error| cannot(&certificate, &error))?;
        return match tls::is_of_authority(&pem) {
            Ok(true) => Ok(()),
            Ok(false) => Err(cannot(
                &certificate,
                &"found a certificate of another key than authority.key",
            )),
            Err(error) => Err(cannot(&certificate, &error)),
        };
    }
    let (pem, secret) = tls::authority().map_err(|error| cannot(&key, &error))?;
    fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
    fs::write(&certificate, pem).map_err(|error| cannot(&certificate, &error))?;
    fs::write(&key, secret).map_err(|error| cannot(&key, &error))
}

impl SutArgs {
    /// What is under test, if anything is; the suite then waits by its timers.
    pub fn profile(&self, suite: &mut Suite) -> Result<Option<Profile>, Failure> {
        self.place.take_authority()?;
        let mut guests: Vec<Guest> = Vec::new();
        let mut files: Vec<&str> = Vec::new();
        for word in &self.sut {
            match parse_binding(word, suite) {
                Some(guest) => {
                    let mut guest = guest.map_err(|why| Failure::usage(format!("--sut {why}")))?;
                    if self.ready == "probe" {
                        guest.ready = Ready::Probe;
                    }
                    guests.push(guest);
                }
                None => files.push(word),
            }
        }
        let mut profile = match files[..] {
            [] if guests.is_empty() => return Ok(None),
            [] => return Ok(Some(Profile::of_guests(guests, suite))),
            [file] => read(Path::new(file), suite)?,
            [_, second, ..] => {
                return Err(Failure::usage(format!(
                    "--sut: found a second profile \"{second}\", expected one file at most"
                )));
            }
        };
        guests.into_iter().for_each(|guest| profile.add(guest));
        for (timer, time) in &profile.timers {
            suite.timers.set(*timer, *time);
        }
        Ok(Some(profile))
    }

    /// Where everybody is over sockets, if that is not left to chance: a guest that runs already knows it beforehand.
    pub fn ground(
        &self,
        field: Field,
        profile: Option<&Profile>,
    ) -> Result<Option<Ground>, Failure> {
        let runs = |guest: &Guest| matches!(guest.way, Way::Address { .. });
        let runs = profile.is_some_and(|profile| profile.guests.iter().any(runs));
        self.place.ground(field, runs)
    }

    /// What will go wrong with guests that run already, as they could not be told something; one line each.
    pub fn warnings(&self, suite: &Suite, profile: Option<&Profile>) -> Vec<String> {
        let Some(profile) = profile else {
            return Vec::new();
        };
        let is_under_tls = |guest: &Guest| {
            let nodes = suite.topologies.iter().flat_map(|topology| &topology.nodes);
            let mut own = nodes.filter(|node| guest.plays(node.name.as_str()));
            own.any(|node| {
                node.listen
                    .iter()
                    .any(|l| l.transport == ListenTransport::Tls)
            })
        };
        let is_blind = |guest: &&Guest| {
            matches!(guest.way, Way::Address { .. })
                && profile.features.contains(&Feature::Tls)
                && self.place.authority.is_none()
                && guest.reset.is_none()
                && is_under_tls(guest)
        };
        let blind = profile.guests.iter().filter(is_blind);
        blind
            .map(|guest| {
                format!(
                    "warning: {} runs already and is met under TLS, but without --authority it knows no certificate of \
                     this run: it will refuse everybody who has to prove who they are",
                    guest.name
                )
            })
            .collect()
    }

    /// The file of the profile, as it was given; empty if there is none.
    pub fn file(&self) -> String {
        let mut words = self.sut.iter().filter(|word| !is_binding(word));
        words.next().cloned().unwrap_or_default()
    }

    /// The guests, as they were given.
    pub fn bindings(&self) -> Vec<String> {
        self.sut
            .iter()
            .filter(|word| is_binding(word))
            .cloned()
            .collect()
    }

    /// What to type for the same again, after a space.
    pub fn words(&self) -> String {
        let words = self.sut.iter();
        let mut words: String = words
            .map(|word| format!(" --sut {}", shell_word(word)))
            .collect();
        if self.ready == "probe" {
            words.push_str(" --ready probe");
        }
        words + &self.place.words()
    }
}

fn is_binding(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.contains(['/', '.']))
}

fn read(file: &Path, suite: &Suite) -> Result<Profile, Failure> {
    let read = Profile::read(&PathBuf::from(file), suite);
    let read = read.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    read.map_err(mistakes)
}
