//! The upper tester: how a guest is made to act. A call of a URL with the action as JSON, or a command with the
//! action in its environment. Our own nodes take the same JSON.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    body::{Body, Ending},
    contract::Told,
    process::Process,
};
use crate::{
    io::{Action, Shape},
    suite::document::Value,
};

/// How a guest is made to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A URL that actions are posted to.
    Post(String),
    /// A shell's command that finds the action in `PEERPROOF_ACTION` and its parts in variables.
    Command(String),
}

/// An action as JSON.
///
/// ```json
/// {"action": "fetch", "node": "ue-a", "content": "three-pieces", "swarm": "three-pieces-1f2e3d4c", "shape": "separate"}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// `register`, `deregister`, `announce`, `drop`, `ask`, `fetch`, `report`, `leave`, `revoke`, `withdraw` or `reset`.
    pub action: String,
    /// Who is to act, where a guest plays several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The fixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The swarm id it goes under in this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm: Option<String>,
    /// Numbers from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<Vec<u32>>,
    /// `separate` or `joint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// The id of a subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The variables of the contract, with an order to forget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<BTreeMap<String, String>>,
}

/// What a guest that outlives a scenario is told before the next.
const RESET: &str = "reset";

/// What came of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    Done,
    /// The guest's side says that it does not do this (127, or 501).
    Unsupported,
    /// Nobody was there, or nothing came of it in time.
    Unanswered(String),
    Failed(String),
}

/// The longest that a trigger may take to be answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for the order to forget, which stands before a scenario.
const RESETTING: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 64 << 10;

impl Trigger {
    /// `{ post = "http://127.0.0.1:9000/" }` or `{ command = "./push.sh" }`.
    pub(super) fn read(value: &Value<'_>) -> Option<Trigger> {
        let table = value.table()?;
        let (post, command) = (table.get("post"), table.get("command"));
        let read = match (post, command) {
            (Some(post), None) => {
                let url = post.str()?;
                if !url.starts_with("http://") {
                    post.note(format!(
                        "found \"{url}\", expected a URL that begins with http://"
                    ));
                }
                Some(Trigger::Post(url.to_owned()))
            }
            (None, Some(command)) => Some(Trigger::Command(command.str()?.to_owned())),
            _ => {
                value.note("expected one of post and command");
                None
            }
        };
        table.refuse_unknown();
        read
    }

    /// Pushes, and waits for what comes of it.
    pub fn push(&self, order: &Order, environment: &BTreeMap<String, String>) -> Pushed {
        let patience = match order.action.as_str() {
            RESET => RESETTING,
            _ => PATIENCE,
        };
        match self {
            Trigger::Post(url) => match post(url, order, patience) {
                Ok(200..=299) => Pushed::Done,
                Ok(501) => Pushed::Unsupported,
                Ok(status) => {
                    Pushed::Failed(format!("{url} answered {status}, expected 200 to 299"))
                }
                Err(error) if is_late(&error) => Pushed::Unanswered(format!(
                    "{url} did not answer within {} s",
                    patience.as_secs()
                )),
                Err(error) => Pushed::Unanswered(format!("{url}: {error}")),
            },
            Trigger::Command(command) => run(command, order, environment),
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn run(command: &str, order: &Order, environment: &BTreeMap<String, String>) -> Pushed {
    let json = serde_json::to_string(order).expect("an order holds words and numbers only");
    let mut environment = environment.clone();
    environment.insert("PEERPROOF_ACTION".to_owned(), json);
    for (name, value) in [
        ("PEERPROOF_DO", Some(&order.action)),
        ("PEERPROOF_CONTENT", order.content.as_ref()),
        ("PEERPROOF_SWARM", order.swarm.as_ref()),
        ("PEERPROOF_ACTOR", order.node.as_ref()),
    ] {
        if let Some(value) = value {
            environment.insert(name.to_owned(), value.clone());
        }
    }
    match run_to_end(command, &environment, PATIENCE, &AtomicBool::new(false)) {
        Ok(0) => Pushed::Done,
        Ok(127) => Pushed::Unsupported,
        Ok(status) => Pushed::Failed(format!("{command}: ended with status {status}, expected 0")),
        Err(error) => Pushed::Failed(format!("{command}: {error}")),
    }
}

/// Runs a shell's command and gives its status; one that takes longer than `limit` is ended, and so is it once `stop` is set.
pub(super) fn run_to_end(
    command: &str,
    environment: &BTreeMap<String, String>,
    limit: Duration,
    stop: &AtomicBool,
) -> io::Result<i32> {
    let mut process = Process::start(command, environment)?;
    let until = Instant::now() + limit;
    loop {
        match process.ended() {
            Some(Ending::Status(status)) => return Ok(status),
            Some(Ending::Failed(why)) => return Err(io::Error::other(why)),
            None => {}
        }
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted before it was done"));
        }
        if Instant::now() > until {
            let seconds = limit.as_secs();
            return Err(io::Error::other(format!("not done within {seconds} s")));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Posts JSON and gives the status of the answer.
fn post(url: &str, order: &Order, patience: Duration) -> io::Result<u16> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let addr: SocketAddr = host.parse().map_err(|_| {
        io::Error::other(format!("found \"{host}\", expected an address and a port"))
    })?;
    let mut stream = TcpStream::connect_timeout(&addr, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let body = serde_json::to_string(order).expect("an order holds words and numbers only");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    let line = String::from_utf8_lossy(&answer);
    let status = line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok());
    status.ok_or_else(|| io::Error::other("found no HTTP status line in the answer"))
}

impl Order {
    /// The order for an action; `None` for what no node is asked to do: stopping and crashing are done to it.
    pub fn of(node: &str, action: &Action, swarm: impl Fn(&str) -> String) -> Option<Order> {
        let order = |word: &str| Order {
            action: word.to_owned(),
            node: Some(node.to_owned()),
            ..Order::default()
        };
        let about = |word: &str, content: &str| Order {
            content: Some(content.to_owned()),
            swarm: Some(swarm(content)),
            ..order(word)
        };
        Some(match action {
            Action::Register => order("register"),
            Action::Deregister => order("deregister"),
            Action::Announce { content, pieces } => Order {
                pieces: Some(pieces.clone()),
                ..about("announce", content)
            },
            Action::Drop { content, pieces } => Order {
                pieces: Some(pieces.clone()),
                ..about("drop", content)
            },
            Action::Ask { content } => about("ask", content),
            Action::Fetch { content, shape } => Order {
                shape: Some(
                    match shape {
                        Shape::Separate => "separate",
                        Shape::Joint => "joint",
                    }
                    .to_owned(),
                ),
                ..about("fetch", content)
            },
            Action::Report { content } => about("report", content),
            Action::Leave { content } => about("leave", content),
            Action::Revoke { user } => Order {
                user: Some(user.clone()),
                ..order("revoke")
            },
            Action::Withdraw { user } => Order {
                user: Some(user.clone()),
                ..order("withdraw")
            },
            Action::Stop | Action::Crash => return None,
        })
    }

    /// The order to forget what was, and to begin again as these variables say.
    pub fn to_reset(told: &Told) -> Order {
        let variables = told.variables();
        Order {
            action: RESET.to_owned(),
            variables: Some(
                variables
                    .map(|(name, value)| (name, value.to_owned()))
                    .collect(),
            ),
            ..Order::default()
        }
    }

    /// What it tells anew, if it is the order to forget.
    pub fn told(&self) -> Option<Told> {
        let variables = self.variables.clone().unwrap_or_default();
        (self.action == RESET).then(|| Told::from_environment(variables))
    }

    /// The action of an order. The error says what is missing.
    pub fn action(&self) -> Result<Action, String> {
        let content = || {
            let given = self.content.clone();
            given.ok_or_else(|| format!("\"{}\" without \"content\"", self.action))
        };
        let pieces = || {
            let given = self.pieces.clone();
            given.ok_or_else(|| format!("\"{}\" without \"pieces\"", self.action))
        };
        let user = || {
            let given = self.user.clone();
            given.ok_or_else(|| format!("\"{}\" without \"user\"", self.action))
        };
        Ok(match self.action.as_str() {
            "register" => Action::Register,
            "deregister" => Action::Deregister,
            "announce" => Action::Announce {
                content: content()?,
                pieces: pieces()?,
            },
            "drop" => Action::Drop {
                content: content()?,
                pieces: pieces()?,
            },
            "ask" => Action::Ask {
                content: content()?,
            },
            "fetch" => Action::Fetch {
                content: content()?,
                shape: match self.shape.as_deref() {
                    None | Some("separate") => Shape::Separate,
                    Some("joint") => Shape::Joint,
                    Some(other) => {
                        return Err(format!(
                            "found the shape \"{other}\", expected separate or joint"
                        ));
                    }
                },
            },
            "report" => Action::Report {
                content: content()?,
            },
            "leave" => Action::Leave {
                content: content()?,
            },
            "revoke" => Action::Revoke { user: user()? },
            "withdraw" => Action::Withdraw { user: user()? },
            other => {
                return Err(format!(
                    "found the action \"{other}\", expected one of register, deregister, announce, drop, ask, \
                     fetch, report, leave, revoke, withdraw and reset"
                ));
            }
        })
    }
}
