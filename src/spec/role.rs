//! Who can take part.

use super::words;

words! {
    /// A role in the service. TR 23.844 clause 6.2 names the UE, the IMS core, the Tracker AS, Edge
    /// and Origin Servers and the CDN Controller; the CSCFs and the HSS are those of TS 23.228.
    Role, "role", {
        /// The UE that asks for content.
        Ue = "ue",
        /// A UE that serves pieces it holds.
        UserPeer = "user-peer",
        /// Proxy-CSCF.
        PCscf = "p-cscf",
        /// Interrogating-CSCF.
        ICscf = "i-cscf",
        /// Serving-CSCF.
        SCscf = "s-cscf",
        /// Home Subscriber Server.
        Hss = "hss",
        /// The application server that keeps the Tracking List.
        Tracker = "tracker",
        /// A cache of the CDN.
        EdgeServer = "edge-server",
        /// The content source.
        OriginServer = "origin-server",
        /// The one node of an unregistered CDN that IMS knows.
        Controller = "controller",
    }
}
