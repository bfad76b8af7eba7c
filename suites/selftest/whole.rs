//! The whole suite of the program, and everything in it that can be played.

use peerproof::{
    judge::CHECKS,
    node::deviation,
    suite::{Instance, Names, Suite},
};

pub fn suite() -> Suite {
    let checks: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    let deviations = deviation::names();
    let names = Names {
        deviations: Some(&deviations),
        checks: Some(&checks),
    };
    Suite::embedded(names).unwrap()
}

pub fn all(suite: &Suite, seed: u64) -> Vec<Instance> {
    let scenarios = suite.scenarios.iter();
    scenarios.flat_map(|s| Instance::of(s, seed)).collect()
}
