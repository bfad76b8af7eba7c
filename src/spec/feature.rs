//! What an implementation may do or leave: the lines of its conformance statement.

use super::words;

words! {
    /// A capability that no text asks of everybody. A scenario names those it needs; an implementation that
    /// does not claim one is not tested for it.
    Feature, "feature", {
        /// SIP over UDP (RFC 3261 18 asks it of every element; a deployment may leave it).
        Udp = "udp",
        /// TLS on Ut and the dedicated interface (RFC 7846 4 asks it of every tracker; a test network may lack it).
        Tls = "tls",
        /// Registration by AKA (RFC 3310).
        Aka = "aka",
        /// Security agreement headers (RFC 3329).
        SecurityAgreement = "security-agreement",
        /// One INVITE for several pieces (RFC 5547 8.2: one media description a file).
        JointRequest = "joint-request",
        /// A policy for media: at the P-CSCF audio and messages, for users messages (TS 24.229 6.2, 6.3).
        MediaPolicy = "media-policy",
        /// The tail of a broken transfer is asked for (RFC 5547 6).
        Resumption = "resumption",
    }
}
