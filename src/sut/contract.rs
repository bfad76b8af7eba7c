//! What a guest is told: the variables of its environment and the two files they name. Written here from what
//! reference nodes are told, and read here again by our own nodes when they are guests, so that both ends agree.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    net::tls::{self, Card, Pem},
    node::{
        Setup,
        setup::{Content, Directory, Neighbour, PieceOf, Subscriber},
    },
    spec::{Format, Options, RefPoint, Worth},
    trace::{ListenTransport, Listener},
    wire::frame::NodeName,
};

/// What stands before the name of every variable.
pub const PREFIX: &str = "PEERPROOF_";
/// In [`CONTENT_DIR`]: the manifests.
pub const MANIFEST: &str = "contents.json";

const CONTENT_DIR: &str = "CONTENT_DIR";
const SUBSCRIBERS: &str = "SUBSCRIBERS";
const TLS_AUTHORITY: &str = "TLS_AUTHORITY";
const TLS_CERTIFICATE: &str = "TLS_CERTIFICATE";
const TLS_KEY: &str = "TLS_KEY";

/// Variables without their prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told(pub BTreeMap<String, String>);

/// What a variable or a file of the contract says wrongly.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    #[error("{PREFIX}{name}: found \"{found}\", expected {expected}")]
    Variable {
        name: String,
        found: String,
        expected: &'static str,
    },
    #[error("{path}: {why}")]
    File { path: String, why: String },
}

/// A content of [`MANIFEST`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// The fixture: `three-pieces`.
    content: String,
    /// Under which swarm id it goes, and the name of its file.
    swarm: String,
    sha1: String,
    sha256: String,
    pieces: Vec<Piece>,
    /// Pieces that nodes hold at the start, by node.
    holders: BTreeMap<String, Vec<u32>>,
}

/// A piece: number from 1, first octet from 0.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece {
    n: u32,
    first: u64,
    len: u64,
    sha256: String,
}

/// A user of the file of subscribers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct User {
    id: String,
    impi: String,
    impus: Vec<String>,
    password: String,
    /// 128 bits, in hexadecimal.
    k: String,
    opc: String,
    service: bool,
    barred: bool,
    may_register: bool,
    aka: bool,
    usim_sqn: u64,
    qualified: bool,
    /// The node that registers as it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
}

/// What stands for a reference point, or one of the formats of Data, in the name of a variable.
pub(super) fn suffix_of(on: RefPoint, format: Format) -> String {
    match (on, format) {
        (RefPoint::Data, Format::Http) => "DATA_HTTP".to_owned(),
        (RefPoint::Data, _) => "DATA_MSRP".to_owned(),
        (on, _) => on.word().to_uppercase(),
    }
}

/// The names under which listeners are told, each with its listener: a second one of its kind at another address
/// is `UT_2`.
fn named(listeners: &[Listener]) -> Vec<(String, &Listener)> {
    let mut named: Vec<(String, &Listener)> = Vec::new();
    for listener in listeners {
        let kind = suffix_of(listener.on, listener.format);
        let is_same = |(name, other): &&(String, &Listener)| {
            other.addr == listener.addr && (*name == kind || name.starts_with(&format!("{kind}_")))
        };
        let name = match named.iter().find(is_same) {
            Some((name, _)) => name.clone(),
            None => (1..)
                .map(|number| match number {
                    1 => kind.clone(),
                    number => format!("{kind}_{number}"),
                })
                .find(|name| named.iter().all(|(taken, _)| taken != name))
                .unwrap_or(kind),
        };
        named.push((name, listener));
    }
    named
}

/// A node's name within the name of a variable: `P_CSCF`.
pub fn variable_name(node: &str) -> String {
    node.to_uppercase().replace('-', "_")
}

impl Told {
    /// Takes the variables of the contract out of an environment.
    pub fn from_environment(all: impl IntoIterator<Item = (String, String)>) -> Told {
        let ours = all.into_iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(PREFIX)?;
            Some((name.to_owned(), value))
        });
        Told(ours.collect())
    }

    /// As they stand in an environment.
    pub fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        let all = self.0.iter();
        all.map(|(name, value)| (format!("{PREFIX}{name}"), value.as_str()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn put(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.insert(name.into(), value.to_string());
    }

    /// What the guest is told that plays `own` nodes, as `role`. The files are written into `folder`.
    pub fn to(
        role: &str,
        own: &[&Setup],
        instance: &str,
        topology: &str,
        folder: &Path,
    ) -> io::Result<Told> {
        let mut told = Told::default();
        let Some(first) = own.first() else {
            return Ok(told);
        };
        let names: Vec<&str> = own.iter().map(|setup| setup.name.as_str()).collect();
        told.put("ROLE", role);
        told.put("NODE", names.join(" "));
        told.put("INSTANCE", instance);
        told.put("TOPOLOGY", topology);
        told.put("ARCHITECTURE", first.architecture);
        told.put("OPTIONS", first.options);
        told.put("DELIVERY", first.delivery);
        told.put("DOMAIN", &first.directory.domain);
        told.put("TRACKER_PSI", &first.directory.tracker_psi);
        told.put("TOKEN_KEY", hex(&first.token_key));
        for (on, mtu) in &first.path_mtu {
            told.put(format!("PATH_MTU_{}", suffix_of(*on, Format::Sip)), mtu);
        }
        for (name, neighbour) in &first.directory.nodes {
            let is_own = names.contains(&name.as_str());
            let of = match (is_own, names.len()) {
                (true, 1) => String::new(),
                _ => format!("_{}", variable_name(name.as_str())),
            };
            told.whereabouts(is_own, &of, neighbour);
        }
        for setup in own {
            let of = match own.len() {
                1 => String::new(),
                _ => format!("_{}", variable_name(setup.name.as_str())),
            };
            if let Some(user) = &setup.user {
                told.put(format!("USER{of}"), user);
            }
            if setup.tls {
                told.certificate(&of, setup, folder)?;
            }
        }
        told.files(first, folder)?;
        Ok(told)
    }

    fn whereabouts(&mut self, is_own: bool, of: &str, neighbour: &Neighbour) {
        let (address, listen, ports, host) = match is_own {
            true => ("ADDRESS", "LISTEN", "PORTS", "HOST"),
            false => ("PEER", "PEER", "PEER_PORTS", "PEER_HOST"),
        };
        self.put(format!("{address}{of}"), neighbour.ip);
        self.put(format!("{host}{of}"), &neighbour.host);
        if let Some((first, last)) = neighbour.ports {
            self.put(format!("{ports}{of}"), format!("{first}-{last}"));
        }
        let mut transports: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, listener) in named(&neighbour.listeners) {
            let name = format!("{listen}{of}_{name}");
            self.put(name.clone(), listener.addr);
            transports
                .entry(name)
                .or_default()
                .push(match listener.transport {
                    ListenTransport::Udp => "udp",
                    ListenTransport::Tcp => "tcp",
                    ListenTransport::Tls => "tls",
                });
        }
        for (name, words) in transports {
            self.put(format!("{name}_TRANSPORT"), words.join(","));
        }
    }

    /// What a node shows under TLS, and what it holds others to.
    fn certificate(&mut self, of: &str, setup: &Setup, folder: &Path) -> io::Result<()> {
        let pem = tls::for_guest(&card(setup, Worth::Good)).map_err(io::Error::other)?;
        let name = setup.name.as_str();
        for (variable, file, text) in [
            (
                TLS_AUTHORITY.to_owned(),
                "authority.pem".to_owned(),
                &pem.authority,
            ),
            (
                format!("{TLS_CERTIFICATE}{of}"),
                format!("{name}.pem"),
                &pem.certificate,
            ),
            (format!("{TLS_KEY}{of}"), format!("{name}.key"), &pem.key),
        ] {
            let path = folder.join(file);
            fs::write(&path, text)?;
            self.put(variable, path.display());
        }
        Ok(())
    }

    /// The certificate a node was given, if it was: `node` among `nodes` that one guest plays.
    pub fn pem(&self, node: &NodeName, nodes: usize) -> Result<Option<Pem>, ContractError> {
        let of = match nodes {
            1 => String::new(),
            _ => format!("_{}", variable_name(node.as_str())),
        };
        let Some(certificate) = self.get(&format!("{TLS_CERTIFICATE}{of}")) else {
            return Ok(None);
        };
        let file = |variable: &str| {
            let expected = "a file, as there is a certificate";
            self.get(variable)
                .ok_or_else(|| wrong(variable, "", expected))
        };
        Ok(Some(Pem {
            authority: read_text(Path::new(file(TLS_AUTHORITY)?))?,
            certificate: read_text(Path::new(certificate))?,
            key: read_text(Path::new(file(&format!("{TLS_KEY}{of}"))?))?,
        }))
    }

    fn files(&mut self, setup: &Setup, folder: &Path) -> io::Result<()> {
        let contents = folder.join("contents");
        fs::create_dir_all(&contents)?;
        let mut manifests = Vec::new();
        for content in setup.contents.iter() {
            fs::write(contents.join(&content.swarm), &content.bytes)?;
            manifests.push(manifest(content, &setup.directory));
        }
        fs::write(contents.join(MANIFEST), pretty(&manifests))?;
        let subscribers = folder.join("subscribers.json");
        let users: Vec<User> = setup
            .subscribers
            .iter()
            .map(|subscriber| user(subscriber, &setup.directory))
            .collect();
        fs::write(&subscribers, pretty(&users))?;
        self.put(CONTENT_DIR, contents.display());
        self.put(SUBSCRIBERS, subscribers.display());
        Ok(())
    }

    /// Lays what was told over a node's set-up; what was not told stays.
    pub fn lay_over(&self, setup: &mut Setup) -> Result<(), ContractError> {
        if let Some(word) = self.get("DELIVERY") {
            setup.delivery = self.word("DELIVERY", word, "a way of delivery")?;
        }
        if let Some(key) = self.get("TOKEN_KEY") {
            setup.token_key = octets(key).ok_or_else(|| wrong("TOKEN_KEY", key, "hexadecimal"))?;
        }
        for (name, value) in &self.0 {
            if let Some(on) = name.strip_prefix("PATH_MTU_") {
                let on = RefPoint::ALL
                    .iter()
                    .find(|point| point.word().to_uppercase() == on);
                let on = on.ok_or_else(|| wrong(name, value, "a reference point in its name"))?;
                let mtu = value.parse().map_err(|_| wrong(name, value, "octets"))?;
                setup.path_mtu.insert(*on, mtu);
            }
        }
        let mut directory = (*setup.directory).clone();
        if let Some(domain) = self.get("DOMAIN") {
            directory.domain = domain.to_owned();
        }
        if let Some(psi) = self.get("TRACKER_PSI") {
            directory.tracker_psi = psi.to_owned();
        }
        let own: Vec<String> = self
            .get("NODE")
            .unwrap_or(setup.name.as_str())
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        for (name, neighbour) in &mut directory.nodes {
            let is_own = own.iter().any(|own| own == name.as_str());
            let of = match (is_own, own.len()) {
                (true, 1) => String::new(),
                _ => format!("_{}", variable_name(name.as_str())),
            };
            self.lay_over_neighbour(is_own, &of, neighbour)?;
        }
        let hosts = directory.nodes.iter();
        directory.hosts = hosts
            .map(|(name, n)| (n.host.clone(), name.clone()))
            .collect();
        if let Some(path) = self.get(SUBSCRIBERS) {
            setup.subscribers = Arc::new(read_users(Path::new(path), &mut directory)?);
        }
        if let Some(path) = self.get(CONTENT_DIR) {
            setup.contents = Arc::new(read_contents(Path::new(path), &mut directory)?);
        }
        let of = match own.len() {
            1 => String::new(),
            _ => format!("_{}", variable_name(setup.name.as_str())),
        };
        if let Some(user) = self.get(&format!("USER{of}")) {
            let is_known = setup.subscribers.iter().any(|known| known.id == user);
            if !is_known {
                return Err(wrong("USER", user, "the id of a subscriber"));
            }
            setup.user = Some(user.to_owned());
        }
        if let Some(own) = directory.nodes.get(&setup.name) {
            setup.ip = own.ip;
            setup.listeners = own.listeners.clone();
            setup.holds = own.holds.clone();
        }
        let listeners = directory.nodes.values().flat_map(|node| &node.listeners);
        setup.tls = listeners
            .into_iter()
            .any(|listener| listener.transport == ListenTransport::Tls);
        setup.directory = Arc::new(directory);
        Ok(())
    }

    fn lay_over_neighbour(
        &self,
        is_own: bool,
        of: &str,
        neighbour: &mut Neighbour,
    ) -> Result<(), ContractError> {
        let (address, listen, ports, host) = match is_own {
            true => ("ADDRESS", "LISTEN", "PORTS", "HOST"),
            false => ("PEER", "PEER", "PEER_PORTS", "PEER_HOST"),
        };
        let name = format!("{address}{of}");
        if let Some(text) = self.get(&name) {
            neighbour.ip = text
                .parse()
                .map_err(|_| wrong(&name, text, "an IP address"))?;
            for listener in &mut neighbour.listeners {
                listener.addr.set_ip(neighbour.ip);
            }
        }
        if let Some(host) = self.get(&format!("{host}{of}")) {
            neighbour.host = host.to_owned();
        }
        let name = format!("{ports}{of}");
        if let Some(text) = self.get(&name) {
            let range = text.split_once('-');
            let range = range.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            let range = range.ok_or_else(|| wrong(&name, text, "the first and the last port"))?;
            neighbour.ports = Some(range);
        }
        let names: Vec<String> = named(&neighbour.listeners)
            .into_iter()
            .map(|(name, _)| format!("{listen}{of}_{name}"))
            .collect();
        for (name, listener) in names.iter().zip(&mut neighbour.listeners) {
            if let Some(text) = self.get(name) {
                let expected = "an address such as 127.0.0.1:5060";
                listener.addr = text.parse().map_err(|_| wrong(name, text, expected))?;
            }
            let told = self.get(&format!("{name}_TRANSPORT"));
            if listener.transport == ListenTransport::Tls
                && told.is_some_and(|told| told.split(',').all(|word| word != "tls"))
            {
                listener.transport = ListenTransport::Tcp;
            }
        }
        Ok(())
    }

    /// The options told, if they were.
    pub fn options(&self) -> Result<Option<Options>, ContractError> {
        let Some(text) = self.get("OPTIONS") else {
            return Ok(None);
        };
        let options = Options::all().find(|options| options.to_string() == text);
        let expected = "peer list, request and status such as ut.ims.ims";
        options
            .map(Some)
            .ok_or_else(|| wrong("OPTIONS", text, expected))
    }

    /// A word of a closed vocabulary.
    pub fn word<T: std::str::FromStr>(
        &self,
        name: &str,
        found: &str,
        expected: &'static str,
    ) -> Result<T, ContractError> {
        found.parse().map_err(|_| wrong(name, found, expected))
    }
}

/// What stands in the certificate of a node.
pub fn card(setup: &Setup, worth: Worth) -> Card {
    let own = setup.directory.nodes.get(&setup.name);
    Card {
        host: own.map_or(setup.name.as_str(), |own| &own.host).to_owned(),
        ip: setup.ip,
        worth,
    }
}

/// Where a guest says that it listens, by the names that [`Told`] uses: lays its addresses over a listener list.
/// The error names what is not an address, or what was not asked for.
pub fn lay_over_listeners(
    listen: &BTreeMap<String, String>,
    of: &str,
    listeners: &mut [Listener],
) -> Result<Vec<String>, String> {
    let mut used = Vec::new();
    let names: Vec<String> = named(listeners)
        .into_iter()
        .map(|(name, _)| format!("{of}{name}"))
        .collect();
    for (name, listener) in names.into_iter().zip(listeners) {
        if let Some(text) = listen.get(&name) {
            listener.addr = text.parse::<SocketAddr>().map_err(|_| {
                format!("found \"{text}\" for {name}, expected an address such as 127.0.0.1:5060")
            })?;
            used.push(name);
        }
    }
    Ok(used)
}

/// The names under which a ready line tells these listeners, and their addresses.
pub fn listen_table(of: &str, listeners: &[Listener]) -> BTreeMap<String, String> {
    let all = named(listeners).into_iter();
    all.map(|(name, l)| (format!("{of}{name}"), l.addr.to_string()))
        .collect()
}

/// The listeners' reference points by the names of the contract, for messages.
pub fn listener_names(listeners: &[Listener]) -> Vec<String> {
    let mut names: Vec<String> = named(listeners).into_iter().map(|(name, _)| name).collect();
    names.dedup();
    names
}

fn manifest(content: &Content, directory: &Directory) -> Manifest {
    let holders = directory.nodes.iter().filter_map(|(name, node)| {
        let (_, pieces) = node
            .holds
            .iter()
            .find(|(what, _)| *what == content.fixture)?;
        Some((name.to_string(), pieces.clone()))
    });
    Manifest {
        content: content.fixture.clone(),
        swarm: content.swarm.clone(),
        sha1: hex(&content.sha1),
        sha256: hex(&content.sha256),
        pieces: content
            .pieces
            .iter()
            .map(|piece| Piece {
                n: piece.n,
                first: piece.first,
                len: piece.len,
                sha256: hex(&piece.sha256),
            })
            .collect(),
        holders: holders.collect(),
    }
}

fn user(subscriber: &Subscriber, directory: &Directory) -> User {
    let mut nodes = directory.nodes.iter();
    let plays = |neighbour: &Neighbour| {
        neighbour.impu.is_some() && neighbour.impu.as_ref() == subscriber.impus.first()
    };
    User {
        id: subscriber.id.clone(),
        impi: subscriber.impi.clone(),
        impus: subscriber.impus.clone(),
        password: subscriber.password.clone(),
        k: hex(&subscriber.k),
        opc: hex(&subscriber.opc),
        service: subscriber.service,
        barred: subscriber.barred,
        may_register: subscriber.may_register,
        aka: subscriber.aka,
        usim_sqn: subscriber.usim_sqn,
        qualified: subscriber.qualified,
        node: nodes
            .find(|(_, n)| plays(n))
            .map(|(name, _)| name.to_string()),
    }
}

fn read_text(path: &Path) -> Result<String, ContractError> {
    fs::read_to_string(path).map_err(|error| in_file(path, error.to_string()))
}

fn read_users(path: &Path, directory: &mut Directory) -> Result<Vec<Subscriber>, ContractError> {
    let users: Vec<User> = read(path)?;
    for neighbour in directory.nodes.values_mut() {
        neighbour.impu = None;
    }
    let mut subscribers = Vec::new();
    for user in users {
        if let Some(node) = &user.node {
            let node = directory.nodes.get_mut(&NodeName::new(node));
            let node =
                node.ok_or_else(|| in_file(path, format!("there is no node {:?}", user.node)))?;
            node.impu = user.impus.first().cloned();
        }
        let key = |text: &str| {
            let octets = octets(text).and_then(|octets| octets.try_into().ok());
            octets.ok_or_else(|| in_file(path, "expected keys of 32 hexadecimal digits".to_owned()))
        };
        subscribers.push(Subscriber {
            k: key(&user.k)?,
            opc: key(&user.opc)?,
            id: user.id,
            impi: user.impi,
            impus: user.impus,
            password: user.password,
            service: user.service,
            barred: user.barred,
            may_register: user.may_register,
            aka: user.aka,
            usim_sqn: user.usim_sqn,
            qualified: user.qualified,
        });
    }
    Ok(subscribers)
}

fn read_contents(folder: &Path, directory: &mut Directory) -> Result<Vec<Content>, ContractError> {
    let path = folder.join(MANIFEST);
    let manifests: Vec<Manifest> = read(&path)?;
    for neighbour in directory.nodes.values_mut() {
        neighbour.holds.clear();
    }
    let digest = |text: &str| {
        octets(text).ok_or_else(|| in_file(&path, "expected digests in hexadecimal".to_owned()))
    };
    let sized = || in_file(&path, "expected digests of 20 and 32 octets".to_owned());
    let mut contents = Vec::new();
    for manifest in manifests {
        // The name of a file, never a way out of the folder.
        if manifest.swarm.contains(['/', '\\']) {
            return Err(in_file(
                &path,
                format!(
                    "found the swarm \"{}\", expected a file's name",
                    manifest.swarm
                ),
            ));
        }
        let file = folder.join(&manifest.swarm);
        let bytes = fs::read(&file).map_err(|error| in_file(&file, error.to_string()))?;
        for (node, pieces) in &manifest.holders {
            if let Some(node) = directory.nodes.get_mut(&NodeName::new(node)) {
                node.holds.push((manifest.content.clone(), pieces.clone()));
            }
        }
        let mut pieces = Vec::new();
        for piece in manifest.pieces {
            if piece
                .first
                .checked_add(piece.len)
                .is_none_or(|end| end > bytes.len() as u64)
            {
                return Err(in_file(
                    &file,
                    format!("piece {} ends behind the last octet", piece.n),
                ));
            }
            pieces.push(PieceOf {
                n: piece.n,
                first: piece.first,
                len: piece.len,
                sha256: digest(&piece.sha256)?.try_into().map_err(|_| sized())?,
            });
        }
        contents.push(Content {
            fixture: manifest.content,
            swarm: manifest.swarm,
            bytes: Bytes::from(bytes),
            sha1: digest(&manifest.sha1)?.try_into().map_err(|_| sized())?,
            sha256: digest(&manifest.sha256)?.try_into().map_err(|_| sized())?,
            pieces,
        });
    }
    Ok(contents)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ContractError> {
    let text = fs::read_to_string(path).map_err(|error| in_file(path, error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| in_file(path, error.to_string()))
}

fn in_file(path: &Path, why: String) -> ContractError {
    ContractError::File {
        path: path.display().to_string(),
        why,
    }
}

fn wrong(name: &str, found: &str, expected: &'static str) -> ContractError {
    ContractError::Variable {
        name: name.to_owned(),
        found: found.to_owned(),
        expected,
    }
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("words, numbers and lists only");
    text.push('\n');
    text
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok())
        .collect()
}

/// An address of a guest's own for what pushes it: a port that none of its listeners has.
pub fn control_addr(ip: IpAddr, ports: Option<(u16, u16)>) -> SocketAddr {
    SocketAddr::new(ip, ports.map_or(CONTROL_PORT, |(_, last)| last))
}

const CONTROL_PORT: u16 = 9_000;
