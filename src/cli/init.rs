//! `init`: a profile of a system under test to begin from, and what that system has to be told.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Exit, Failure, print, selection::Suites, sut::PlaceArgs};
use crate::{
    net::tls,
    node::Setup,
    run::{Field, parts},
    spec::{Options, Role, Worth},
    suite::{Ground, Instance, Topology},
    sut::{
        contract,
        sheet::{Network, Sheet},
    },
};

#[derive(Debug, Args)]
pub struct Init {
    /// Where the profile goes, with the provisioning sheet beside it as FILE with .md for its end; files that are
    /// there already are left alone
    #[arg(default_value = "sut.toml")]
    file: PathBuf,

    /// What is under test: a role, or ims-core
    #[arg(long, value_name = "ROLE", default_value = "tracker", value_parser = Kind::read)]
    sut: Kind,

    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    suites: Suites,
}

/// One role, or several that go by one name.
#[derive(Clone, Debug)]
struct Kind {
    name: String,
    roles: Vec<Role>,
}

impl Kind {
    fn read(text: &str) -> Result<Kind, String> {
        let roles = match text {
            "ims-core" => vec![Role::PCscf, Role::ICscf, Role::SCscf],
            text => {
                let role = text.parse::<Role>();
                vec![role.map_err(|error| format!("{error}, ims-core"))?]
            }
        };
        Ok(Kind {
            name: text.to_owned(),
            roles,
        })
    }
}

impl Init {
    pub fn run(self) -> Result<Exit, Failure> {
        let suite = self.suites.load()?;
        let sheet = self.file.with_extension("md");
        let ground = self.place.ground(Field::Sockets, true)?;
        let ground = ground.unwrap_or(Ground::Loopback { network: 0 });
        // Those of the architectures first, then those of single scenarios.
        let is_usual = |topology: &&Topology| topology.name == topology.architecture.word();
        let (usual, special): (Vec<&Topology>, Vec<&Topology>) =
            suite.topologies.iter().partition(is_usual);
        let networks: Vec<Network> = usual
            .into_iter()
            .chain(special)
            .map(|topology| {
                let bare = Instance::bare(topology, Options::default(), 0);
                let parts = parts(&suite, &bare, ground).into_iter();
                Network {
                    name: &topology.name,
                    summary: &topology.summary,
                    setups: parts.map(|part| part.setup).collect(),
                }
            })
            .filter(|network| self.sut.nodes(network).next().is_some())
            .collect();
        let drawn = Sheet {
            name: &self.sut.name,
            roles: &self.sut.roles,
            networks: &networks,
            subscribers: &suite.subscribers.all,
            timers: &suite.timers,
        }
        .draw();
        create(&self.file, &profile(&self.sut))?;
        create(&sheet, &drawn)?;
        let certificates = self.certify(&networks)?;
        let place = self.file.display();
        print(&format!(
            "{place}\n{}\n{certificates}Say in the first what your {} does; the second says what it has to be told. \
             Then: peerproof run --sut {place}{}\n",
            sheet.display(),
            self.sut.name,
            self.place.words()
        ))?;
        Ok(Exit::Good)
    }

    /// Writes certificates of the authority that was asked for, if one was: a line for each.
    fn certify(&self, networks: &[Network<'_>]) -> Result<String, Failure> {
        let Some(folder) = self.place.authority() else {
            return Ok(String::new());
        };
        self.place.take_authority()?;
        let mut certified = BTreeMap::new();
        for setup in networks.iter().flat_map(|network| self.sut.nodes(network)) {
            certified.entry(&setup.name).or_insert(setup);
        }
        let mut lines = String::new();
        for (name, setup) in certified {
            let pem = tls::for_guest(&contract::card(setup, Worth::Good));
            let pem = pem.map_err(|error| Failure::new(Exit::Fault, error.to_string()))?;
            for (end, text) in [("pem", pem.certificate), ("key", pem.key)] {
                let path = folder.join(format!("{name}.{end}"));
                fs::write(&path, text)
                    .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
                lines.push_str(&format!("{}\n", path.display()));
            }
        }
        Ok(lines)
    }
}

impl Kind {
    /// What its nodes in a network are told.
    fn nodes<'a>(&'a self, network: &'a Network<'_>) -> impl Iterator<Item = &'a Setup> {
        let setups = network.setups.iter();
        setups.filter(|setup| self.roles.contains(&setup.role))
    }
}

fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = fs::File::create_new(path).map_err(|error| {
        Failure::usage(format!(
            "{}: found {error}, expected to make a new file",
            path.display()
        ))
    })?;
    Ok(file.write_all(text.as_bytes())?)
}

/// The profile that tests read, for another role: it claims everything, as nothing is inferred.
fn profile(kind: &Kind) -> String {
    let roles: Vec<String> = kind
        .roles
        .iter()
        .map(|role| format!("\"{role}\""))
        .collect();
    let lines = TRACKER.lines().map(|line| match line.split_once('=') {
        Some((key, _)) if key.trim() == "name" => format!("name       = \"My {}\"", kind.name),
        Some((key, _)) if key.trim() == "roles" => format!("roles      = [{}]", roles.join(", ")),
        _ if line.starts_with("# ") => FIRST_LINE.to_owned(),
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

const FIRST_LINE: &str = "# What is claimed here is tested, and nothing else; every key is explained in fixtures/README.md.";

const TRACKER: &str = include_str!("../../fixtures/profiles/tracker.toml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_can_be_begun_for_every_role() {
        for &role in Role::ALL {
            let text = profile(&Kind::read(role.word()).unwrap());
            assert!(
                text.contains(&format!("roles      = [\"{role}\"]")),
                "{text}"
            );
            assert_eq!(TRACKER.lines().count(), text.lines().count());
        }
    }
}
