//! A guest in a container of its own, of an image that the engine of this machine has already: nothing is ever
//! fetched. A container is no child of ours, so it may outlive us; each carries the run it belongs to and the process
//! that owns it, and every [`Engine`] that is found removes first what dead processes left. Start there.
//!
//! A container shares the network of the machine. The harness gives every node an address on loopback and knows its
//! frames by the address they come from; a network of its own would put an address translator in between.

use std::{
    collections::{BTreeMap, HashMap},
    env, fmt, fs, io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    bollard::{
        Docker,
        errors::Error,
        models::{ContainerSummary, ContainerSummaryStateEnum, HostConfig, HostConfigLogConfig},
        query_parameters::{
            KillContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
        },
    },
    core::{AccessMode, Mount, client::docker_client_instance, logs::LogFrame},
    runners::AsyncRunner,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::{sleep, timeout},
};

use super::body::{Body, Ending, Log};

/// The container engine of this machine, and what one run has there. Dropped, nothing of the run is left there.
#[derive(Debug)]
pub struct Engine {
    /// The engine is asked from here only; kept for as long as we are.
    runtime: Option<Runtime>,
    docker: Docker,
    run: String,
    owner: Owner,
    /// How many containers were started.
    started: AtomicU64,
}

/// A running guest.
#[derive(Debug)]
pub struct Container {
    /// Its end is the order to stop.
    orders: Option<UnboundedSender<Order>>,
    ended: Arc<Mutex<Option<Ending>>>,
    /// Closed once the container is gone.
    gone: Receiver<()>,
    log: Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Freeze,
    Kill,
}

/// On containers: the id of the run.
const RUN: &str = "peerproof.run";
/// On containers: the process that they belong to, see [`Owner`].
const OWNER: &str = "peerproof.owner";

/// How long the engine may take to say anything.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it may take to start a container.
const START: Duration = Duration::from_secs(60);
/// How long a guest may take to end after SIGTERM, in seconds; a command has as long.
const GRACE: i32 = 2;
/// How long the engine may take to stop and remove a container, the guest's time included.
const STOPPING: Duration = Duration::from_secs(15);
/// How long what a guest printed last may take to come.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a container is looked at whose output has ended.
const LOOK: Duration = Duration::from_millis(100);

impl Engine {
    /// Finds the engine, for the run of this id, and removes what dead processes left there. The error says why there
    /// is none, and what to do.
    pub fn find(run: &str) -> Result<Engine, String> {
        // Not of the current thread: the destructor of a container that could not be started waits for its removal.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| format!("no thread for the container engine: {error}"))?;
        let answer = on(&runtime, ANSWER, async {
            let docker = docker_client_instance().await.map_err(|e| e.to_string())?;
            docker.ping().await.map_err(|e| e.to_string())?;
            Ok::<_, String>(docker)
        });
        let docker = match answer.unwrap_or_else(|| Err(silence(ANSWER))) {
            Ok(docker) => docker,
            Err(why) => {
                runtime.shutdown_background();
                let place = env::var("DOCKER_HOST");
                let place = place.map_or(String::new(), |place| format!(" at DOCKER_HOST={place}"));
                return Err(format!(
                    "no container engine answers{place}: {why}: start one, or say in DOCKER_HOST where it is"
                ));
            }
        };
        let engine = Engine {
            runtime: Some(runtime),
            docker,
            run: run.to_owned(),
            owner: Owner::this(),
            started: AtomicU64::new(0),
        };
        engine.sweep(Owner::is_dead)?;
        Ok(engine)
    }

    /// Starts a container of `image`, with more variables in its environment; it sees `folder` where it is, and cannot
    /// write there. What goes wrong is told as its end.
    pub fn start(
        &self,
        guest: &str,
        image: &str,
        variables: BTreeMap<String, String>,
        folder: &Path,
    ) -> Container {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let wanted = Wanted {
            name: container_name(&self.run, self.owner.pid, guest, number),
            image: image.to_owned(),
            labels: [
                (RUN.to_owned(), self.run.clone()),
                (OWNER.to_owned(), self.owner.to_string()),
            ],
            variables,
            folder: folder.to_string_lossy().into_owned(),
        };
        let (orders, received) = unbounded_channel();
        let (alive, gone) = mpsc::channel();
        let (log, ended) = (Log::default(), Arc::default());
        let (listens, silent) = oneshot::channel();
        let ear = Ear {
            log: log.clone(),
            _listens: listens,
        };
        let life = Life {
            docker: self.docker.clone(),
            name: wanted.name.clone(),
            orders: received,
            ended: Arc::clone(&ended),
            silent,
            is_silent: false,
            is_frozen: false,
        };
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                life.live(wanted, ear).await;
                drop(alive);
            });
        }
        Container {
            orders: Some(orders),
            ended,
            gone,
            log,
        }
    }

    /// Removes the containers whose owner `is_over` finds to be done; it is told whether they run.
    fn sweep(&self, is_over: impl Fn(&Owner, bool) -> bool) -> Result<(), String> {
        let docker = self.docker.clone();
        let ours = self
            .ask(ANSWER, async move { list(&docker).await })
            .map_err(|why| format!("the container engine does not list containers: {why}"))?;
        for container in ours {
            let owner = container.labels.as_ref().and_then(|all| all.get(OWNER));
            let Some(owner) = owner.and_then(|owner| Owner::read(owner)) else {
                continue;
            };
            let Some(id) = container
                .id
                .clone()
                .filter(|_| is_over(&owner, runs(&container)))
            else {
                continue;
            };
            let docker = self.docker.clone();
            let told = id.clone();
            self.ask(STOPPING, async move { remove(&docker, &id).await })
                .map_err(|why| {
                    format!(
                        "a container that a dead run left cannot be removed: {why}: docker rm --force {told}"
                    )
                })?;
        }
        Ok(())
    }

    fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, String> {
        let runtime = self.runtime.as_ref().expect("taken only when dropped");
        match on(runtime, limit, question) {
            Some(answer) => answer.map_err(|error| error.to_string()),
            None => Err(silence(limit)),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let own = self.owner.clone();
        // What cannot be removed now is removed by the next run.
        let _ = self.sweep(|owner, runs| *owner == own || owner.is_dead(runs));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for a future, from within another runtime or without; none if it takes longer than `limit`.
fn on<T: Send + 'static>(
    runtime: &Runtime,
    limit: Duration,
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::channel();
    runtime.spawn(async move {
        if let Ok(value) = timeout(limit, future).await {
            // Nobody waits any longer if the limit is past.
            let _ = done.send(value);
        }
    });
    result.recv().ok()
}

fn silence(limit: Duration) -> String {
    format!("it says nothing within {} s", limit.as_secs())
}

/// Containers of ours, of whatever run.
async fn list(docker: &Docker) -> Result<Vec<ContainerSummary>, Error> {
    let filters = HashMap::from([("label", vec![OWNER])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    docker.list_containers(Some(options)).await
}

fn runs(container: &ContainerSummary) -> bool {
    !matches!(
        container.state,
        Some(
            ContainerSummaryStateEnum::CREATED
                | ContainerSummaryStateEnum::DEAD
                | ContainerSummaryStateEnum::EXITED
        )
    )
}

/// Ends and removes a container; that there is none, or soon will be, is as good.
async fn remove(docker: &Docker, name: &str) -> Result<(), Error> {
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    match docker.remove_container(name, Some(options)).await {
        Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => Ok(()),
        done => done,
    }
}

/// What an engine takes as a name; no two containers of a machine have the same.
fn container_name(run: &str, pid: u32, guest: &str, number: u64) -> String {
    let run: String = run
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c,
            _ => '-',
        })
        .take(40)
        .collect();
    format!("peerproof-{run}-{pid}-{guest}-{number}")
}

/// What a container is made of.
struct Wanted {
    name: String,
    image: String,
    labels: [(String, String); 2],
    variables: BTreeMap<String, String>,
    folder: String,
}

/// A container from its start to its removal.
struct Life {
    docker: Docker,
    name: String,
    orders: UnboundedReceiver<Order>,
    ended: Arc<Mutex<Option<Ending>>>,
    /// Closed once it has printed everything, see [`Ear`].
    silent: oneshot::Receiver<()>,
    is_silent: bool,
    is_frozen: bool,
}

/// Hears what a container prints; dropped when it has printed everything.
struct Ear {
    log: Log,
    _listens: oneshot::Sender<()>,
}

impl Ear {
    fn hear(&self, frame: &LogFrame) {
        match frame {
            LogFrame::StdOut(bytes) => self.log.printed(bytes),
            LogFrame::StdErr(bytes) => self.log.complained(bytes),
        }
    }
}

impl Life {
    async fn live(mut self, wanted: Wanted, ear: Ear) {
        let started = timeout(START, start(&self.docker, wanted, ear)).await;
        match started.unwrap_or_else(|_| Err(silence(START))) {
            Ok(container) => {
                self.watch(&container).await;
                self.stop(&container).await;
            }
            Err(why) => self.end(Ending::Failed(format!("could not be started: {why}"))),
        }
        // What stays is removed with the engine, or by the next run.
        let _ = timeout(STOPPING, remove(&self.docker, &self.name)).await;
    }

    /// Carries orders out until there are no more.
    async fn watch(&mut self, container: &ContainerAsync<GenericImage>) {
        loop {
            let has_ended = self.has_ended();
            tokio::select! {
                order = self.orders.recv() => {
                    let Some(order) = order else {
                        return;
                    };
                    if let Err(why) = self.carry_out(order, container).await {
                        self.end(Ending::Failed(format!("could not be stopped: {why}")));
                    }
                }
                _ = &mut self.silent, if !self.is_silent => self.is_silent = true,
                () = sleep(LOOK), if self.is_silent && !has_ended => {}
            }
            if self.is_silent && !self.has_ended() {
                match container.exit_code().await {
                    Ok(None) => {}
                    Ok(Some(status)) => {
                        self.end(Ending::Status(i32::try_from(status).unwrap_or(-1)));
                    }
                    Err(error) => self.end(Ending::Failed(format!("is gone: {error}"))),
                }
            }
        }
    }

    async fn carry_out(
        &mut self,
        order: Order,
        container: &ContainerAsync<GenericImage>,
    ) -> Result<(), String> {
        match order {
            Order::Freeze => {
                self.is_frozen = true;
                let paused = container.pause().await;
                paused.map_err(|error| error.to_string())
            }
            Order::Kill => {
                let options = None::<KillContainerOptions>;
                let killed = self.docker.kill_container(&self.name, options).await;
                killed.map_err(|error| error.to_string())
            }
        }
    }

    /// SIGTERM, and SIGKILL a moment later.
    async fn stop(&mut self, container: &ContainerAsync<GenericImage>) {
        if self.has_ended() {
            return;
        }
        let stopped = timeout(STOPPING, async {
            if self.is_frozen {
                // It could not heed the signal.
                container.unpause().await?;
            }
            container.stop_with_timeout(Some(GRACE)).await
        });
        // Whatever comes of it, it is removed by force.
        if let Ok(Ok(())) = stopped.await
            && !self.is_silent
        {
            let _ = timeout(LAST_WORDS, &mut self.silent).await;
        }
    }

    fn has_ended(&self) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.is_some()
    }

    fn end(&self, ending: Ending) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get_or_insert(ending);
    }
}

/// The error is in words that follow "could not be started".
async fn start(
    docker: &Docker,
    wanted: Wanted,
    ear: Ear,
) -> Result<ContainerAsync<GenericImage>, String> {
    let image = &wanted.image;
    // By what it is, not by what it is called: a name that is not there would be fetched.
    let id = match docker.inspect_image(image).await {
        Ok(found) => found.id.unwrap_or_default(),
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => {
            return Err(format!(
                "the container engine has no image \"{image}\": build or load it first, images are never fetched"
            ));
        }
        Err(error) => return Err(format!("the image \"{image}\": {error}")),
    };
    let Some((kind, digest)) = id.split_once(':') else {
        return Err(format!(
            "the image \"{image}\": found the id \"{id}\", expected a digest such as sha256:…"
        ));
    };
    let mount = Mount::bind_mount(&wanted.folder, &wanted.folder);
    let mut request = GenericImage::new(kind, digest)
        .with_container_name(&wanted.name)
        .with_labels(wanted.labels)
        .with_mount(mount.with_access_mode(AccessMode::ReadOnly))
        .with_startup_timeout(START)
        .with_host_config_modifier(shape)
        .with_log_consumer(move |frame: &LogFrame| ear.hear(frame));
    for (name, value) in &wanted.variables {
        request = request.with_env_var(name, value);
    }
    request.start().await.map_err(|error| error.to_string())
}

/// The network of the machine; and the engine keeps no more of what it prints than we do.
fn shape(config: &mut HostConfig) {
    config.network_mode = Some("host".to_owned());
    config.publish_all_ports = None;
    let options = [("max-size", "16m"), ("max-file", "1")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config.log_config = Some(HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from(options)),
    });
}

impl Body for Container {
    fn log(&self) -> &Log {
        &self.log
    }

    fn ended(&mut self) -> Option<Ending> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn freeze(&mut self) -> io::Result<()> {
        self.order(Order::Freeze)
    }

    fn kill(&mut self) -> io::Result<()> {
        self.order(Order::Kill)
    }
}

impl Container {
    fn order(&self, order: Order) -> io::Result<()> {
        let sent = self.orders.as_ref().map(|orders| orders.send(order));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(io::Error::other("it is gone")),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.orders.take());
        // Its addresses are free once it is gone. One that takes longer is left to the engine's end.
        let _ = self.gone.recv_timeout(STOPPING);
    }
}

/// The process that a container belongs to, such that no other process of this machine is ever taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    /// When it was started, in the kernel's ticks: numbers of processes are used again.
    since: String,
    /// Which start of which machine, and whose numbers.
    place: String,
}

impl Owner {
    fn this() -> Owner {
        let pid = std::process::id();
        Owner {
            pid,
            since: since(pid).unwrap_or_default(),
            place: place(),
        }
    }

    /// Reads a label; none if it is not one of ours.
    fn read(label: &str) -> Option<Owner> {
        let mut parts = label.splitn(3, ' ');
        Some(Owner {
            pid: parts.next()?.parse().ok()?,
            since: parts.next()?.to_owned(),
            place: parts.next()?.to_owned(),
        })
    }

    /// Whether the process is no more, so far as can be told from here: if it was of another machine, of another start
    /// of this one, or numbered by somebody else, only a container that does not run is nobody's.
    fn is_dead(&self, runs: bool) -> bool {
        match self.place == place() {
            true => since(self.pid).as_deref() != Some(&self.since),
            false => !runs,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pid, self.since, self.place)
    }
}

fn place() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let numbers = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), numbers.display())
}

/// When a process was started; none if it has ended.
fn since(pid: u32) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    since_of(&line)
}

/// The 22nd field of the line in proc(5); the second is a name that may hold anything.
fn since_of(line: &str) -> Option<String> {
    let (_, fields) = line.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let is_over = matches!(fields.first(), Some(&("Z" | "X")) | None);
    let since = fields.get(19).filter(|_| !is_over)?;
    Some((*since).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_dead_once_its_process_is() {
        let this = Owner::this();
        assert_eq!(Some(this.clone()), Owner::read(&this.to_string()));
        assert!(!this.is_dead(true) && !this.is_dead(false));

        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let owner = Owner {
            pid: child.id(),
            since: since(child.id()).unwrap(),
            ..this.clone()
        };
        assert!(!owner.is_dead(true));
        let another = Owner {
            since: this.since.clone() + "0",
            ..owner.clone()
        };
        assert!(another.is_dead(true));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(owner.is_dead(true));
    }

    #[test]
    fn what_runs_elsewhere_is_left_alone() {
        let owner = Owner {
            place: "elsewhere".to_owned(),
            ..Owner::this()
        };
        assert!(!owner.is_dead(true));
        assert!(owner.is_dead(false));
        assert_eq!(None, Owner::read("1"));
        assert_eq!(None, Owner::read("one two three"));
    }

    #[test]
    fn the_start_of_a_process_is_found_behind_any_name() {
        let line = "7 (a) b) c) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n";
        assert_eq!(Some("4711".to_owned()), since_of(line));
        assert_eq!(None, since_of(&line.replace(" S ", " Z ")));
        assert_eq!(None, since_of(""));
    }

    #[test]
    fn names_are_such_as_engines_take() {
        let name = container_name("my run/ä", 7, "es-1", 3);
        assert_eq!("peerproof-my-run---7-es-1-3", name);
    }
}
