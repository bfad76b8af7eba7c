//! Checks that hold in every scenario, whatever its steps say. Each looks at the evidence alone and names
//! the party that broke a rule. A new check is one file and one line in [`TABLE`].

mod controller;
mod counting;
mod guessing;
mod headers;
mod hiding;
mod integrity;
mod peer_choice;
mod proxying;
mod registration;
mod repeating;
mod session;
mod silence;
mod status;
mod timing;

use super::{Case, Finding};

pub(super) use status::assembled;

/// A rule that is looked at in every trace.
pub struct Check {
    pub name: &'static str,
    pub summary: &'static str,
    pub judge: fn(&Case<'_>) -> Vec<Finding>,
}

/// Every check.
pub const TABLE: &[Check] = &[
    Check {
        name: "controller",
        summary: "the Controller asks a holder for each piece before it accepts, and frees it after",
        judge: controller::judge,
    },
    Check {
        name: "counting",
        summary: "octets are counted from 1, and what follows a break begins where it was",
        judge: counting::judge,
    },
    Check {
        name: "guessing",
        summary: "MSRP session ids of one party do not follow from one another",
        judge: guessing::judge,
    },
    Check {
        name: "headers",
        summary: "each CSCF adds, keeps and removes the header fields it must, hop by hop",
        judge: headers::judge,
    },
    Check {
        name: "hiding",
        summary: "no address of an unregistered CDN's servers reaches the UE but where it must",
        judge: hiding::judge,
    },
    Check {
        name: "integrity",
        summary: "the octets that travel are those of the content, where the ranges say",
        judge: integrity::judge,
    },
    Check {
        name: "peer-choice",
        summary: "a UE asks only peers it was told of, for pieces they hold",
        judge: peer_choice::judge,
    },
    Check {
        name: "proxying",
        summary: "a P-CSCF gives no success that the core did not give",
        judge: proxying::judge,
    },
    Check {
        name: "registration",
        summary: "REGISTER and its answer carry what each hop must put there",
        judge: registration::judge,
    },
    Check {
        name: "repeating",
        summary: "requests over UDP are sent again when their time has come",
        judge: repeating::judge,
    },
    Check {
        name: "session",
        summary: "offers, answers and dialogs of a piece transfer agree",
        judge: session::judge,
    },
    Check {
        name: "silence",
        summary: "the signalling path that was not chosen stays unused",
        judge: silence::judge,
    },
    Check {
        name: "status",
        summary: "a UE claims a piece only once its last octet arrived, and rightly",
        judge: status::judge,
    },
    Check {
        name: "timing",
        summary: "provisional answers come in time",
        judge: timing::judge,
    },
];
