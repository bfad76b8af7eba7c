//! What is asked of a node: a row of the ledger.

use super::{Clause, Role, words};

words! {
    /// How strong a requirement is, strongest first.
    Strength, "strength", {
        /// 3GPP "shall", RFC 2119 MUST. A broken one fails.
        Must = "must",
        /// 3GPP "should". A broken one is advice.
        Should = "should",
        /// 3GPP "may".
        May = "may",
        /// An observation; never fails.
        Info = "info",
    }
}

words! {
    /// What we know of a requirement's source.
    Basis, "basis", {
        /// The text of the clause was read.
        Read = "read",
        /// It follows from grammar, table or figure of a clause that was read.
        Derived = "derived",
        /// The clause was not read: standards knowledge, the number to be verified.
        NotVerified = "not-verified",
        /// The contribution to TR 23.844 clause 6.2.
        SourceText = "source-text",
        /// The scope of the study item.
        StudyScope = "study-scope",
        /// A decision of this harness; no external norm.
        Ours = "ours",
    }
}

impl Basis {
    /// Whether a finding on it is a profile finding, never a violation of a published specification.
    /// A technical report binds nobody, and our own decisions bind only us.
    pub fn is_profile(self) -> bool {
        matches!(self, Basis::SourceText | Basis::StudyScope | Basis::Ours)
    }
}

/// One row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// `UE-001`, `PPSTP-019`.
    pub id: String,
    /// One sentence, in our own words.
    pub title: String,
    /// Where it is written.
    pub clause: Clause,
    /// How well we know that.
    pub basis: Basis,
    /// How strong it is.
    pub strength: Strength,
    /// Whom it binds.
    pub role: Role,
}
