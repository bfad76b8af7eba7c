//! Guests in containers: our own nodes, in an image built on the spot, come to the verdicts they come to within; and of
//! a run that was killed nothing is left once the next one starts. Where no engine answers, it is said aloud that
//! nothing was tested; with `CONTAINERS=required` in the environment that is a failure.

mod folder;

use std::{
    collections::{BTreeMap, HashMap},
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{self, Command as Process, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use assert_cmd::Command;
use folder::Folder;
use serde_json::Value;
use testcontainers::{
    GenericBuildableImage,
    bollard::{
        Docker,
        query_parameters::{ListContainersOptionsBuilder, RemoveImageOptionsBuilder},
    },
    core::BuildImageOptions,
    runners::AsyncBuilder,
};

const TRACKER: &str =
    "registered/step-1-2-peer-list/asks-on-ut-and-not-through-the-core@ut.ims.ims#0";

/// Entry points of the image that tests need.
const NODE: &str = r#"["/peerproof", "node"]"#;
const BROKEN: &str = r#"["/peerproof", "node", "--deviation", "tracker-takes-any-version"]"#;
const DOES_NOT_DO_THIS: &str = r#"["/bin/sh", "-c", "echo not this one; exit 127"]"#;
/// Says what it was told and whether it can change it, and listens nowhere.
const LOOKS_AROUND: &str = r#"["/bin/sh", "-c", "test -r $PEERPROOF_CONTENT_DIR/contents.json && echo contents; (echo x > $PEERPROOF_SUBSCRIBERS) || echo kept; exit 3"]"#;

#[test]
fn a_tracker_in_a_container_comes_to_the_verdicts_it_comes_to_within() {
    same_verdicts("tracker", &["--tag", "smoke"]);
}

#[test]
fn an_edge_server_in_a_container_comes_to_the_verdicts_it_comes_to_within() {
    let step = "unregistered/step-5-controller-asks-edges";
    let selectors = [
        "fills-a-cold-edge-from-the-origin",
        "gives-*",
        "redirects-over-http-only",
        "takes-a-token-of-its-client-for-its-piece-once",
    ];
    let selectors = selectors.map(|name| format!("{step}/{name}"));
    same_verdicts("es-1", &selectors.each_ref().map(String::as_str));
}

#[test]
fn a_container_can_be_killed() {
    made_to_fail(
        "es-1",
        "ctrl",
        "unregistered/step-5-controller-asks-edges/answers-480-when-the-holder-is-down",
        "exited",
    );
}

#[test]
fn a_container_can_be_frozen() {
    made_to_fail(
        "tracker",
        "s-cscf",
        "common/core/refuses-in-time-when-the-tracker-is-silent",
        "paused",
    );
}

#[test]
fn broken_rules_are_laid_to_a_guest_in_a_container() {
    let Some(image) = image("broken", BROKEN) else {
        return;
    };
    let folder = Folder::new("container-broken");
    let instance = "common/tracker-protocol/answers-error-2-to-an-earlier-version";
    let results = played(&folder, &["--sut", &image.plays("tracker"), instance], 1);
    let failed = instances(&results).find(|i| i["outcome"] == "fail");
    let failed = failed.expect("one that fails");
    assert_eq!("sut", failed["findings"][0]["blame"]);
    assert_eq!("tracker", failed["findings"][0]["node"]);
}

#[test]
fn status_127_says_that_it_does_not_do_this() {
    let Some(image) = image("unsupported", DOES_NOT_DO_THIS) else {
        return;
    };
    let folder = Folder::new("container-unsupported");
    let results = played(&folder, &["--sut", &image.plays("tracker"), TRACKER], 4);
    let outcomes: Vec<_> = instances(&results).map(|i| &i["outcome"]).collect();
    assert_eq!(vec!["unsupported"], outcomes);
    assert!(log(&folder, "tracker").contains("not this one"));
}

#[test]
fn a_container_sees_its_files_and_cannot_change_them() {
    let Some(image) = image("looks", LOOKS_AROUND) else {
        return;
    };
    let folder = Folder::new("container-looks");
    let results = played(&folder, &["--sut", &image.plays("tracker"), TRACKER], 7);
    let why = results["run"]["unavailable"].as_str().unwrap_or_default();
    assert!(why.contains("status 3"), "{why}");
    let log = log(&folder, "tracker");
    assert!(log.contains("contents\n"), "{log}");
    assert!(log.contains("kept\n"), "{log}");
}

#[test]
fn a_container_may_live_for_the_whole_run() {
    let Some(image) = image("lives", NODE) else {
        return;
    };
    let folder = Folder::new("container-lives");
    let resets = folder.path().join("resets");
    let more = format!(
        "lifetime = \"run\"\nreset = \"echo reset >> {}\"\n",
        resets.display()
    );
    fs::write(folder.path().join("sut.toml"), profile(&image, &more)).unwrap();
    let selector = "common/tracker-protocol/answers-error-2-*";
    let results = played(&folder, &["--sut", "sut.toml", selector], 0);
    let played = instances(&results)
        .filter(|i| i["outcome"] == "pass")
        .count();
    assert!(played > 1, "{results}");
    let resets = fs::read_to_string(resets).unwrap();
    assert_eq!(played - 1, resets.lines().count());
}

#[test]
fn of_a_killed_run_nothing_is_left_once_the_next_one_starts() {
    let Some(image) = image("killed", NODE) else {
        return;
    };
    let folder = Folder::new("container-killed");
    let killed = format!("killed-{}", process::id());
    let mut run = Process::new(env!("CARGO_BIN_EXE_peerproof"))
        .current_dir(folder.path())
        .args(["run", "--tag", "smoke", "--out", &killed])
        .args(["--sut", &image.plays("tracker")])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("a container of the run", || {
        (!containers_of(&killed).is_empty()).then_some(())
    });
    run.kill().unwrap();
    run.wait().unwrap();
    // The engine may be about to start one more that was asked for.
    thread::sleep(Duration::from_secs(1));
    let left = containers_of(&killed);
    assert!(!left.is_empty(), "there was nothing to be removed");

    played(&folder, &["--sut", &image.plays("tracker"), TRACKER], 0);
    assert_eq!(nothing(), containers_of(&killed));
    assert_eq!(nothing(), containers_of("run-of-container-killed"));
}

#[test]
fn an_image_that_is_not_there_is_not_fetched() {
    if !engine_answers() {
        return skip("whether images are fetched");
    }
    let folder = Folder::new("container-absent");
    let guest = "tracker=image:peerproof.invalid/no/such:tag";
    let results = played(&folder, &["--sut", guest, TRACKER], 7);
    let why = results["run"]["unavailable"].as_str().unwrap_or_default();
    assert!(why.contains("has no image"), "{why}");
}

#[test]
fn without_an_engine_the_guest_is_not_there() {
    let folder = Folder::new("container-no-engine");
    let place = format!("unix://{}/none.sock", folder.path().display());
    let why = without_engine(&folder, &place);
    assert!(why.contains("no container engine answers"), "{why}");
    assert!(why.contains(&place) && why.contains("start one"), "{why}");
}

#[test]
fn an_engine_that_says_nothing_is_none() {
    let folder = Folder::new("container-mute-engine");
    let socket = folder.path().join("mute.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let why = without_engine(&folder, &format!("unix://{}", socket.display()));
    assert!(why.contains("says nothing within 5 s"), "{why}");
}

#[test]
fn an_image_has_a_name() {
    let folder = Folder::new("container-nameless");
    let assert = peerproof(folder.path())
        .args(["run", TRACKER, "--sut", "tracker=image:"])
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("found no image"), "{said}");
}

/// What is said of a run whose engine is at `place`, and answers nothing.
fn without_engine(folder: &Folder, place: &str) -> String {
    let out = folder.path().join("run");
    peerproof(folder.path())
        .env("DOCKER_HOST", place)
        .args([
            "run",
            TRACKER,
            "--sut",
            "tracker=image:acme/tracker",
            "--out",
        ])
        .arg(&out)
        .assert()
        .code(7);
    let results = results(&out);
    results["run"]["unavailable"].as_str().unwrap().to_owned()
}

/// Plays what applies to a node over sockets, the node within and in a container, and compares.
fn same_verdicts(node: &str, selection: &[&str]) {
    let Some(image) = image(node, NODE) else {
        return;
    };
    let folder = Folder::new(&format!("container-{node}-{}", selection.len()));
    let within = folder.path().join("within");
    peerproof(folder.path())
        .args(["run", "--transport", "sockets", "--out"])
        .arg(&within)
        .args(selection)
        .assert()
        .success();
    let within = verdicts(&results(&within));
    let guest = image.plays(node);
    let arguments: Vec<&str> = ["--sut", &guest]
        .into_iter()
        .chain(selection.iter().copied())
        .collect();
    let contained = verdicts(&played(&folder, &arguments, 0));
    assert!(!contained.is_empty(), "nothing applies to {node}");
    for (instance, outcome) in &contained {
        assert_eq!(within.get(instance), Some(outcome), "{instance}");
    }
    assert!(log(&folder, node).contains("ready"));
    assert_eq!(nothing(), containers_of(&run_id(&folder)));
    say(&format!(
        "{node}: {} verdicts, the same in a container",
        contained.len()
    ));
}

/// Plays what makes a node fail, and waits for its container to be in this state. Another is under test, which has to be
/// a guest too: where there are guests, only they are tested.
fn made_to_fail(node: &str, tested: &str, scenario: &str, state: &str) {
    let Some(image) = image(node, NODE) else {
        return;
    };
    let folder = Folder::new(&format!("container-{state}"));
    let tested = format!(
        "{tested}=cmd:exec {} node {tested}",
        env!("CARGO_BIN_EXE_peerproof")
    );
    let mut run = Process::new(env!("CARGO_BIN_EXE_peerproof"))
        .current_dir(folder.path())
        .args(["run", scenario, "--slow", "--out", &run_id(&folder)])
        .args(["--sut", &tested, "--sut", &image.plays(node)])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually(&format!("a container that is {state}"), || {
        let all = containers_of(&run_id(&folder)).into_iter();
        all.map(|(_, state)| state).find(|found| found == state)
    });
    run.wait().unwrap();
    assert_eq!(nothing(), containers_of(&run_id(&folder)));
}

/// A profile of a tracker in a container, of whose table this is more.
fn profile(image: &Image, more: &str) -> String {
    format!(
        "name = \"a tracker\"\nroles = [\"tracker\"]\n\
         [claims]\narchitectures = [\"registered\", \"unregistered\"]\n\
         peer-list = [\"ut\", \"ims\"]\nrequest = [\"ims\", \"direct\"]\nstatus = [\"ims\", \"ut\"]\n\
         [[guest]]\nname = \"tracker\"\nimage = \"{}\"\n{more}",
        image.tag()
    )
}

/// What was played and came to something, and what it came to.
fn verdicts(results: &Value) -> BTreeMap<String, String> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    instances(results)
        .map(|i| (word(&i["id"]), word(&i["outcome"])))
        .filter(|(_, outcome)| !["not-applicable", "unsupported"].contains(&outcome.as_str()))
        .collect()
}

/// Plays, and reads the results; the exit code is held to.
fn played(folder: &Folder, arguments: &[&str], code: i32) -> Value {
    let out = folder.path().join(run_id(folder));
    peerproof(folder.path())
        .arg("run")
        .args(arguments)
        .arg("--out")
        .arg(&out)
        .assert()
        .code(code);
    results(&out)
}

/// The run that [`played`] makes in a folder; unlike that of any other test.
fn run_id(folder: &Folder) -> String {
    let name = folder.path().file_name().and_then(OsStr::to_str).unwrap();
    format!("run-of-{name}")
}

fn results(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("results.json")).unwrap()).unwrap()
}

fn instances(results: &Value) -> impl Iterator<Item = &Value> {
    results["instances"].as_array().unwrap().iter()
}

/// The logs that a guest left beside the traces.
fn log(folder: &Folder, guest: &str) -> String {
    let name = format!("guest-{guest}.log");
    let mut text = String::new();
    let mut folders: Vec<PathBuf> = vec![folder.path().join(run_id(folder))];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().and_then(OsStr::to_str) == Some(&name) {
                true => text.push_str(&fs::read_to_string(path).unwrap()),
                false if path.is_dir() => folders.push(path),
                false => {}
            }
        }
    }
    text
}

fn peerproof(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("peerproof").unwrap();
    command
        .current_dir(folder)
        .timeout(Duration::from_secs(300));
    command
}

/// An image of this program, gone when the last test is done that uses it.
struct Image(String);

impl Image {
    fn tag(&self) -> String {
        format!("{REPOSITORY}:{}", self.0)
    }

    fn plays(&self, node: &str) -> String {
        format!("{node}=image:{}", self.tag())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let tag = self.tag();
        let removed = asked(|docker| async move {
            let options = RemoveImageOptionsBuilder::new().force(true).build();
            docker.remove_image(&tag, Some(options), None).await
        });
        if let Err(error) = removed {
            say(&format!("an image of the tests stays: {error}"));
        }
    }
}

const REPOSITORY: &str = "peerproof-selftest";

/// Builds an image of this program from nothing, with the libraries that it is linked to and a shell; none, said aloud,
/// if no engine answers.
fn image(what: &str, entry_point: &str) -> Option<Arc<Image>> {
    static BUILT: AtomicU64 = AtomicU64::new(0);
    static IMAGES: Mutex<BTreeMap<String, Weak<Image>>> = Mutex::new(BTreeMap::new());
    if !engine_answers() {
        skip(what);
        return None;
    }
    let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(image) = images.get(what).and_then(Weak::upgrade) {
        return Some(image);
    }
    // One that is about to go is not mistaken for one that was just built.
    let number = BUILT.fetch_add(1, Ordering::Relaxed);
    let tag = format!("{what}-{}-{number}", process::id());
    let folder = Folder::new(&format!("image-{tag}"));
    let program = stripped(Path::new(env!("CARGO_BIN_EXE_peerproof")), folder.path());
    let shell = Path::new("/bin/sh");
    let mut files: Vec<(PathBuf, String)> = vec![
        (program, "/peerproof".to_owned()),
        (shell.canonicalize().unwrap(), "/bin/sh".to_owned()),
    ];
    for library in [Path::new(env!("CARGO_BIN_EXE_peerproof")), shell]
        .into_iter()
        .flat_map(libraries)
    {
        let file = (
            library.canonicalize().unwrap(),
            library.display().to_string(),
        );
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let mut lines = "FROM scratch\n".to_owned();
    for (_, place) in &files {
        lines += &format!("COPY rootfs{place} {place}\n");
    }
    lines += &format!("ENTRYPOINT {entry_point}\n");
    let mut buildable = GenericBuildableImage::new(REPOSITORY, &tag).with_dockerfile_string(lines);
    for (source, place) in files {
        buildable = buildable.with_file(source, format!("./rootfs{place}"));
    }
    let options = BuildImageOptions::new();
    let built = wait(async { buildable.build_image_with(options).await });
    built.map(drop).expect("the engine builds an image");
    let image = Arc::new(Image(tag));
    images.insert(what.to_owned(), Arc::downgrade(&image));
    Some(image)
}

/// The program without what only debuggers read, if there is a tool that takes it out.
fn stripped(program: &Path, folder: &Path) -> PathBuf {
    let small = folder.join("peerproof");
    let done = Process::new("strip")
        .arg("-o")
        .arg(&small)
        .arg(program)
        .status();
    match done {
        Ok(status) if status.success() => small,
        _ => program.to_owned(),
    }
}

/// The files that a program is linked to, its loader among them.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Process::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(PathBuf::from)
        .collect()
}

fn nothing() -> Vec<(String, String)> {
    Vec::new()
}

/// The containers of a run by their names, and their states: `running`, `exited`.
fn containers_of(run: &str) -> Vec<(String, String)> {
    let label = format!("peerproof.run={run}");
    let found = asked(|docker| async move {
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        docker.list_containers(Some(options)).await
    });
    let found = found.unwrap().into_iter();
    found
        .map(|container| {
            let names = container.names.unwrap_or_default();
            let state = container.state.map(|state| state.to_string());
            (names.join(" "), state.unwrap_or_default())
        })
        .collect()
}

fn engine_answers() -> bool {
    let answer = asked(|docker| async move {
        let ping = docker.ping();
        Ok(tokio::time::timeout(Duration::from_secs(5), ping).await)
    });
    let answers = matches!(answer, Ok(Ok(Ok(_))));
    let is_required = env::var("CONTAINERS").is_ok_and(|word| word == "required");
    assert!(
        answers || !is_required,
        "no container engine answers, and CONTAINERS=required"
    );
    answers
}

/// Asks the engine, each time over a connection of its own.
fn asked<T, F>(
    question: impl FnOnce(Docker) -> F,
) -> Result<T, testcontainers::bollard::errors::Error>
where
    F: Future<Output = Result<T, testcontainers::bollard::errors::Error>>,
{
    wait(async { question(Docker::connect_with_defaults()?).await })
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn skip(what: &str) {
    say(&format!(
        "SKIPPED: no container engine answers, so this was not tested: {what}"
    ));
}

/// Past the harness of tests, which keeps what passing tests print to itself.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Waits for something another process does.
fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain for {what}");
}
