//! What a certificate is worth to whoever is shown it.

use super::words;

words! {
    /// What becomes of a certificate on the way from it to a trusted authority (RFC 5280 6.1), and of the name
    /// it was asked for (RFC 9110 4.3.4).
    Worth, "worth", {
        /// It proves who shows it.
        Good = "good",
        /// Its time has run out.
        Expired = "expired",
        /// Issued by an authority that nobody here trusts.
        Untrusted = "untrusted",
        /// It proves who somebody else is.
        Misnamed = "misnamed",
    }
}
