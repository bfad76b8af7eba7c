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
    spec::{Feature, Options, Role, Worth},
    suite::{Ground, Instance, Suite, Topology, Verb},
    sut::{
        Profile, contract,
        sheet::{Network, Sheet},
        trigger::Order,
    },
};

#[derive(Debug, Args)]
pub struct Init {
    /// Where the profile goes, with the provisioning sheet beside it as FILE with .md for its end; files that are
    /// there already are left alone
    #[arg(default_value = "sut.toml")]
    file: PathBuf,

    /// What is under test: a role, or ims-core
    #[arg(long, value_name = "ROLE", default_value = "tracker")]
    sut: String,

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
    /// The error names the roles, and of a node the one that it has.
    fn read(text: &str, suite: &Suite) -> Result<Kind, String> {
        let roles = match text {
            "ims-core" => vec![Role::PCscf, Role::ICscf, Role::SCscf],
            text => {
                let role = text.parse::<Role>();
                vec![role.map_err(|error| {
                    let mut topologies = suite.topologies.iter();
                    let node = topologies.find_map(|topology| topology.node(text));
                    let node = node.map(|node| {
                        format!(" ({text} is a node of the role {0}: --sut {0})", node.role)
                    });
                    format!("{error}, ims-core{}", node.unwrap_or_default())
                })?]
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
        let sut = Kind::read(&self.sut, &suite);
        let sut = sut.map_err(|error| Failure::usage(format!("--sut: {error}")))?;
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
            .filter(|network| sut.nodes(network).next().is_some())
            .collect();
        let drawn = Sheet {
            name: &sut.name,
            roles: &sut.roles,
            networks: &networks,
            subscribers: &suite.subscribers.all,
            timers: &suite.timers,
            orders: &sut.orders(&suite),
        }
        .draw();
        create(&self.file, &profile(&sut, &suite))?;
        create(&sheet, &drawn)?;
        let certificates = self.certify(&sut, &networks)?;
        let place = self.file.display();
        print(&format!(
            "{place}\n{}\n{certificates}Say in the first what your {} does and how it is reached; the second says what it has to be told. \
             Then: peerproof run --sut {place}{}\n",
            sheet.display(),
            sut.name,
            self.place.words()
        ))?;
        Ok(Exit::Good)
    }

    /// Writes certificates of the authority that was asked for, if one was: a line for each.
    fn certify(&self, sut: &Kind, networks: &[Network<'_>]) -> Result<String, Failure> {
        let Some(folder) = self.place.authority() else {
            return Ok(String::new());
        };
        self.place.take_authority()?;
        let mut certified = BTreeMap::new();
        for setup in networks.iter().flat_map(|network| sut.nodes(network)) {
            certified.entry(&setup.name).or_insert(setup);
        }
        let mut lines = String::new();
        for (name, setup) in certified {
            let pem = tls::for_guest(&contract::card(setup, Worth::Good));
            let pem = pem.map_err(|error| Failure::new(Exit::Fault, error.to_string()))?;
            for (end, text) in [("pem", pem.certificate), ("key", pem.key)] {
                let path = folder.join(format!("{name}.{end}"));
                create(&path, &text)?;
                lines.push_str(&format!("{}\n", path.display()));
            }
        }
        Ok(lines)
    }
}

impl Kind {
    /// What scenarios have nodes of its do: the first order of each action.
    fn orders(&self, suite: &Suite) -> BTreeMap<String, Order> {
        let mut orders = BTreeMap::new();
        let instances = suite.scenarios.iter().flat_map(|s| Instance::of(s, 0));
        for instance in instances {
            let Some(topology) = instance.topology(suite) else {
                continue;
            };
            for step in instance.steps(suite) {
                let Verb::Do(act) = &step.verb else {
                    continue;
                };
                let node = topology.node(&act.node);
                if node.is_some_and(|node| self.roles.contains(&node.role))
                    && let Some(order) = Order::of(&act.node, &act.action, |content| {
                        format!("{content}-1f2e3d4c")
                    })
                {
                    orders.entry(order.action.clone()).or_insert(order);
                }
            }
        }
        orders
    }

    /// What its nodes in a network are told.
    fn nodes<'a>(&'a self, network: &'a Network<'_>) -> impl Iterator<Item = &'a Setup> {
        let setups = network.setups.iter();
        setups.filter(|setup| self.roles.contains(&setup.role))
    }
}

fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = fs::File::create_new(path).map_err(|error| {
        let found = match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                "found a file, expected none: nothing is written over".to_owned()
            }
            _ => format!("found {error}, expected to make a new file"),
        };
        Failure::usage(format!("{}: {found}", path.display()))
    })?;
    Ok(file.write_all(text.as_bytes())?)
}

/// A profile that claims whatever a role is tested for, as nothing is inferred; what is not to be claimed is taken out.
fn profile(kind: &Kind, suite: &Suite) -> String {
    let words = |words: Vec<&str>| {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let roles = words(kind.roles.iter().map(|role| role.word()).collect());
    let features = Profile::worth_claiming(&kind.roles, suite);
    let features = words(features.into_iter().map(Feature::word).collect());
    let name = &kind.name;
    format!(
        r#"# What is claimed here is tested, and nothing else: take out what yours does not do. Every key is explained in
# fixtures/README.md; peerproof lint FILE checks this file.
name  = "My {name}"
roles = {roles}

[claims]
architectures = ["registered", "unregistered"]
# Where the text leaves a choice: what yours does. Of a choice left out, what is seen is told and never judged.
peer-list     = ["ut", "ims"]
request       = ["ims", "direct"]
status        = ["ims", "ut"]
delivery      = ["delegate", "relay", "redirect"]
# What no text asks of everybody; every one that a test of this role needs.
features      = {features}

# How yours is configured, if otherwise than this.
[timers]
# track = "180s"    # after which a tracker forgets a peer it does not hear of
# token = "60s"     # how long a Controller's data tokens are good

# How it is reached; or say so on the command line: --sut {name}=…
# [[guest]]
# name    = "{name}"
# address = "192.0.2.7"                     # it runs already; else command = "./mine", or image = "acme/mine:1.0"
# trigger = {{ post = "http://192.0.2.7:9000/" }}    # who makes it act, and tells it what is new in each scenario
# reset   = "./tell-mine.sh"                # or this does the latter, before each

# Known failures; once one passes, the run ends with 8.
# [[waiver]]
# scenario = "common/security/*"
# reason   = "Ticket 4711: …"

# What has to be forgiven where the texts contradict themselves is told as advice, by a name. What it asks to be
# forgiven is no advice: leniencies = ["AMB-01"], above [claims].
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Names;

    #[test]
    fn a_profile_can_be_begun_for_every_role() {
        let suite = Suite::embedded(Names::default()).expect("it has no mistakes");
        for &role in Role::ALL {
            let text = profile(&Kind::read(role.word(), &suite).unwrap(), &suite);
            let read = Profile::parse("sut.toml", &text, &suite);
            let read = read.unwrap_or_else(|mistakes| panic!("{role}: {mistakes}"));
            assert_eq!(vec![role], read.roles);
            assert!(read.guests.is_empty() && read.waivers.is_empty());
        }
    }
}
