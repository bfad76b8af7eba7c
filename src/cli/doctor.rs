//! `doctor`: what would spoil a run on this machine, and how to mend it. Looks, and changes nothing.

use std::{
    fmt::Write,
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::{Exit, Failure, Format, print, selection::Suites, tell};
use crate::{
    load::engine::machine::Pauses,
    net::{has_ipv6, is_free},
    suite::{Ground, Suite},
    trace::{ListenTransport, Listener},
};

/// Looks at limits, sockets, clock, cores and helpers, and says what each would spoil. Ends with 7 if scenarios could
/// not be played over sockets at all; what would only spoil a measurement is a note.
#[derive(Debug, Args)]
pub struct Doctor {
    /// For whom to write to standard output
    #[arg(long, value_enum, default_value = "human")]
    format: Format,

    #[command(flatten)]
    suites: Suites,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Seen {
    what: &'static str,
    state: State,
    /// What is there.
    found: String,
    /// What that spoils, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Good,
    /// It spoils measurements, or something that not everybody needs.
    Note,
    /// Nothing can be played over sockets.
    Bad,
}

impl Seen {
    fn good(what: &'static str, found: impl Into<String>) -> Seen {
        Seen {
            what,
            state: State::Good,
            found: found.into(),
            advice: None,
        }
    }

    fn otherwise(self, state: State, advice: impl Into<String>) -> Seen {
        Seen {
            state,
            advice: Some(advice.into()),
            ..self
        }
    }

    /// A note unless it is as it should be.
    fn note_unless(self, is_good: bool, advice: &str) -> Seen {
        match is_good {
            true => self,
            false => self.otherwise(State::Note, advice),
        }
    }
}

impl Doctor {
    pub fn run(self) -> Result<Exit, Failure> {
        let suite = self.suites.load()?;
        let seen = [
            descriptors(getrlimit(Resource::Nofile).current),
            buffers(
                number("/proc/sys/net/core/rmem_max"),
                number("/proc/sys/net/core/wmem_max"),
            ),
            ports_to_leave_from(&text("/proc/sys/net/ipv4/ip_local_port_range")),
            backlog(number("/proc/sys/net/core/somaxconn")),
            cores(
                thread::available_parallelism().map_or(1, usize::from),
                &text("/proc/loadavg"),
            ),
            memory(&text("/proc/meminfo")),
            clock_source(&text(
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            )),
            waking(),
            pauses(Pauses::of(None, WATCHED)),
            governor(&text(
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            )),
            loopback(&suite),
            ipv6(),
            engine(),
            helper(
                "tshark",
                &["--version"],
                "captures are not read again by another decoder: install tshark",
            ),
        ];
        match self.format {
            Format::Human => tell(&drawn(&seen))?,
            Format::Json => {
                let json = serde_json::to_string_pretty(&seen).expect("findings hold only words");
                print(&format!("{json}\n"))?;
            }
        }
        let is_bad = seen.iter().any(|seen| seen.state == State::Bad);
        Ok(if is_bad {
            Exit::Unavailable
        } else {
            Exit::Good
        })
    }
}

fn drawn(seen: &[Seen]) -> String {
    let mut text = String::new();
    for Seen {
        what,
        state,
        found,
        advice,
    } in seen
    {
        let mark = match state {
            State::Good => "✓",
            State::Note => "!",
            State::Bad => "✗",
        };
        let _ = writeln!(text, "{mark} {what:<19} {found}");
        if let Some(advice) = advice {
            let _ = writeln!(text, "  {:<19} {advice}", "");
        }
    }
    let count = |state| seen.iter().filter(|seen| seen.state == state).count();
    let _ = writeln!(
        text,
        "\n{} good, {} that would spoil something, {} without which nothing is played over sockets",
        count(State::Good),
        count(State::Note),
        count(State::Bad)
    );
    text
}

fn descriptors(limit: Option<u64>) -> Seen {
    let found = limit.map_or("no limit".to_owned(), |limit| format!("{limit} at a time"));
    let seen = Seen::good("descriptors", found);
    match limit {
        Some(0..256) => seen.otherwise(
            State::Bad,
            "a scenario over sockets needs some 200: ulimit -n 4096",
        ),
        Some(256..16_384) => seen.otherwise(
            State::Note,
            "load over more connections fails, not the system under test: ulimit -n 65536",
        ),
        _ => seen,
    }
}

/// Datagrams that come faster than they are read wait in a buffer of at most this size.
fn buffers(receive: Option<u64>, send: Option<u64>) -> Seen {
    let (Some(receive), Some(send)) = (receive, send) else {
        return Seen::good("socket buffers", "this system does not say");
    };
    let found = format!("at most {} KiB in, {} KiB out", receive >> 10, send >> 10);
    Seen::good("socket buffers", found).note_unless(
        receive >= 4 << 20,
        "load over UDP loses datagrams here, not in the system under test: sysctl -w net.core.rmem_max=8388608",
    )
}

fn ports_to_leave_from(range: &str) -> Seen {
    let mut ends = range
        .split_whitespace()
        .filter_map(|end| end.parse::<u32>().ok());
    let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
        return Seen::good("ports", "this system does not say");
    };
    let found = format!("{first} to {last} for connections that are opened");
    Seen::good("ports", found).note_unless(
        last.saturating_sub(first) >= 20_000,
        "load that opens connections runs out of ports: sysctl -w net.ipv4.ip_local_port_range='10240 65000'",
    )
}

fn backlog(most: Option<u64>) -> Seen {
    let Some(most) = most else {
        return Seen::good("backlog", "this system does not say");
    };
    Seen::good("backlog", format!("{most} connections may wait")).note_unless(
        most >= 1024,
        "connections that come together are refused: sysctl -w net.core.somaxconn=4096",
    )
}

fn cores(cores: usize, load: &str) -> Seen {
    let busy: Option<f64> = load
        .split_whitespace()
        .next()
        .and_then(|load| load.parse().ok());
    let found = match busy {
        Some(busy) => format!("{cores}, of which {busy:.1} were busy in the last minute"),
        None => cores.to_string(),
    };
    let seen = Seen::good("cores", found);
    if cores < 2 {
        return seen.otherwise(
            State::Note,
            "generator and system under test share one: a measurement says nothing of either",
        );
    }
    seen.note_unless(
        busy.is_none_or(|busy| busy < cores as f64 / 2.0),
        "others are at work: what is measured now is theirs too",
    )
}

fn memory(info: &str) -> Seen {
    let available = info.lines().find_map(|line| {
        let rest = line.strip_prefix("MemAvailable:")?;
        rest.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    let Some(available) = available else {
        return Seen::good("memory", "this system does not say");
    };
    Seen::good("memory", format!("{} MiB to be had", available >> 10)).note_unless(
        available >= 1 << 20,
        "a run keeps up to 16 MiB of trace for each worker, and a loaded tracker its peers: less than 1 GiB is short",
    )
}

fn clock_source(name: &str) -> Seen {
    let name = name.trim();
    if name.is_empty() {
        return Seen::good("clock", "this system does not say");
    }
    Seen::good("clock", name).note_unless(
        !matches!(name, "hpet" | "acpi_pm" | "jiffies"),
        "it takes a microsecond to be read: times below 10 µs mean nothing; boot with clocksource=tsc",
    )
}

/// How late a sleeper of a millisecond wakes at worst, and whether the clock on the wall was set meanwhile.
fn waking() -> Seen {
    let (wall, began) = (SystemTime::now(), Instant::now());
    let mut worst = Duration::ZERO;
    for _ in 0..NAPS {
        let asleep = Instant::now();
        thread::sleep(NAP);
        worst = worst.max(asleep.elapsed().saturating_sub(NAP));
    }
    let on_the_wall = wall.elapsed().unwrap_or(Duration::ZERO);
    let apart = on_the_wall.abs_diff(began.elapsed());
    woken(worst, apart)
}

const NAPS: u32 = 200;
const NAP: Duration = Duration::from_millis(1);

fn woken(worst: Duration, apart: Duration) -> Seen {
    let found = format!(
        "{:.1} ms late at worst, of {NAPS}",
        worst.as_secs_f64() * 1e3
    );
    let seen = Seen::good("waking", found);
    if apart > Duration::from_millis(10) {
        return seen.otherwise(
            State::Note,
            "the clock on the wall was set while we looked: time stamps of logs will not agree",
        );
    }
    seen.note_unless(
        worst < Duration::from_millis(5),
        "a load generator here is late itself: end what else runs, or give it cores of its own",
    )
}

const WATCHED: Duration = Duration::from_millis(500);

fn pauses(pauses: Pauses) -> Seen {
    let found = format!(
        "{:.2} % of the time, up to {:.1} ms at once",
        pauses.share * 100.0,
        pauses.longest * 1e3
    );
    // One question in a thousand is what the 99.9th percentile of the send lag leaves out.
    Seen::good("pauses", found).note_unless(
        pauses.share < 0.001,
        "the machine takes cores away while nothing else runs: a load generator is late by as much, so bench needs a larger --allowed-lag here",
    )
}

fn governor(name: &str) -> Seen {
    match name.trim() {
        "" => Seen::good("frequency", "nothing governs it here"),
        name => Seen::good("frequency", name).note_unless(
            name == "performance",
            "cores change their speed under load: cpupower frequency-set -g performance",
        ),
    }
}

/// Whether every listener of the topologies finds its address.
fn loopback(suite: &Suite) -> Seen {
    let ground = Ground::Loopback { network: NETWORK };
    let nodes = suite.topologies.iter().flat_map(|topology| &topology.nodes);
    let mut wanted: Vec<Listener> = nodes.flat_map(|node| node.listeners(ground)).collect();
    let place = |listener: &Listener| (listener.addr, listener.transport == ListenTransport::Udp);
    wanted.sort_unstable_by_key(place);
    wanted.dedup_by_key(|listener| place(listener));
    let taken: Vec<String> = wanted
        .iter()
        .filter_map(|listener| is_free(listener).err())
        .map(|error| error.to_string())
        .collect();
    let found = match taken.first() {
        None => format!(
            "{} addresses of 127.{NETWORK}.0.0/16 are free",
            wanted.len()
        ),
        Some(first) => format!("{} of {} are not free: {first}", taken.len(), wanted.len()),
    };
    let seen = Seen::good("loopback", found);
    match taken.len() {
        0 => seen,
        all if all == wanted.len() => seen.otherwise(
            State::Bad,
            "nothing is played over sockets: this system has to have all of 127.0.0.0/8, as Linux does",
        ),
        _ => seen.otherwise(
            State::Note,
            "another network of 127.0.0.0/8 is taken instead, but a guest with an address of its own may be in the way",
        ),
    }
}

/// A network that runs come to last.
const NETWORK: u8 = 250;

fn ipv6() -> Seen {
    match has_ipv6() {
        true => Seen::good("IPv6", "[::1] is there"),
        false => Seen::good("IPv6", "no [::1]").otherwise(
            State::Note,
            "--transport sockets-ipv6 ends with 7: sysctl -w net.ipv6.conf.lo.disable_ipv6=0",
        ),
    }
}

fn engine() -> Seen {
    helper(
        "docker",
        &["version", "--format", "{{.Server.Version}}"],
        "guests that are images cannot be started: start an engine, or set DOCKER_HOST",
    )
}

/// A program that not everybody needs, by the first line it prints.
fn helper(program: &'static str, arguments: &[&str], advice: &str) -> Seen {
    let called = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let found = match called {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            return Seen::good(program, text.lines().next().unwrap_or_default());
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            text.lines().next().unwrap_or("it fails").to_owned()
        }
        Err(_) => "not there".to_owned(),
    };
    Seen::good(program, found).otherwise(State::Note, advice)
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &str) -> Option<u64> {
    text(path).trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spoils_a_run_is_told_from_what_does_not() {
        let state = |seen: Seen| seen.state;
        assert_eq!(State::Bad, state(descriptors(Some(64))));
        assert_eq!(State::Note, state(descriptors(Some(1024))));
        assert_eq!(State::Good, state(descriptors(None)));
        assert_eq!(State::Note, state(buffers(Some(212_992), Some(212_992))));
        assert_eq!(State::Good, state(buffers(Some(8 << 20), Some(8 << 20))));
        assert_eq!(State::Note, state(ports_to_leave_from("40000\t41000\n")));
        assert_eq!(State::Good, state(ports_to_leave_from("32768\t60999\n")));
        assert_eq!(State::Note, state(backlog(Some(128))));
        assert_eq!(State::Note, state(cores(1, "0.00 0.00 0.00")));
        assert_eq!(State::Note, state(cores(4, "3.90 0.00 0.00")));
        assert_eq!(State::Good, state(cores(4, "0.10 0.00 0.00")));
        assert_eq!(
            State::Note,
            state(memory("MemTotal: 9 kB\nMemAvailable:  1000 kB\n"))
        );
        assert_eq!(State::Good, state(memory("MemAvailable: 9000000 kB\n")));
        assert_eq!(State::Note, state(clock_source("hpet\n")));
        assert_eq!(State::Good, state(clock_source("tsc\n")));
        assert_eq!(State::Note, state(governor("powersave\n")));
        let ms = Duration::from_millis;
        assert_eq!(State::Note, state(woken(ms(1), ms(3_600_000))));
        assert_eq!(State::Note, state(woken(ms(20), ms(0))));
        assert_eq!(State::Good, state(woken(ms(1), ms(1))));
    }
}
