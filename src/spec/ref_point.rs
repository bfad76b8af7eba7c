//! Where nodes speak to each other, and in which wire format.

use super::{Role, words};

words! {
    /// A reference point. Gm, Mw, ISC, Cx and Ut are those of TS 23.228; Dedicated is the "dedicated
    /// interface with the Tracker AS" of TR 23.844 clause 6.2; Cdn (Controller, edges, origin) and
    /// Data (where pieces travel) are ours, as the text shows neither.
    RefPoint, "reference point", {
        /// UE and P-CSCF: SIP.
        Gm = "Gm",
        /// Between CSCFs: SIP.
        Mw = "Mw",
        /// S-CSCF and application server: SIP.
        Isc = "Isc",
        /// I-CSCF or S-CSCF and HSS: Diameter.
        Cx = "Cx",
        /// UE and Tracker AS: PPSTP over HTTP.
        Ut = "Ut",
        /// CDN node and Tracker AS: PPSTP over HTTP.
        Dedicated = "Dedicated",
        /// Inside the CDN: HTTP.
        Cdn = "Cdn",
        /// Pieces: MSRP or HTTP.
        Data = "Data",
    }
}

impl RefPoint {
    /// Whether these two speak to each other there.
    pub fn joins(self, one: Role, other: Role) -> bool {
        let is_user = |role| {
            use Role::{Controller, EdgeServer, OriginServer, Ue, UserPeer};
            matches!(role, Ue | UserPeer | EdgeServer | OriginServer | Controller)
        };
        let are_both = self.speakers().contains(&one) && self.speakers().contains(&other);
        are_both
            && match self {
                RefPoint::Gm => is_user(one) != is_user(other),
                RefPoint::Isc | RefPoint::Ut | RefPoint::Dedicated => {
                    (one == Role::Tracker) != (other == Role::Tracker)
                }
                RefPoint::Cx => (one == Role::Hss) != (other == Role::Hss),
                RefPoint::Mw | RefPoint::Cdn | RefPoint::Data => true,
            }
    }

    /// Who can ever speak there: the two ends that TS 23.228 and TR 23.844 6.2 give it. Servers of the CDN that are
    /// IMS users are at Gm as UEs are.
    pub const fn speakers(self) -> &'static [Role] {
        use Role::{
            Controller, EdgeServer, Hss, ICscf, OriginServer, PCscf, SCscf, Tracker, Ue, UserPeer,
        };
        match self {
            RefPoint::Gm => &[Ue, UserPeer, EdgeServer, OriginServer, Controller, PCscf],
            RefPoint::Mw => &[PCscf, ICscf, SCscf],
            RefPoint::Isc => &[SCscf, ICscf, Tracker],
            RefPoint::Cx => &[ICscf, SCscf, Hss],
            RefPoint::Ut => &[Ue, UserPeer, Tracker],
            RefPoint::Dedicated => &[EdgeServer, OriginServer, Controller, Tracker],
            RefPoint::Cdn => &[Controller, EdgeServer, OriginServer],
            RefPoint::Data => &[Ue, UserPeer, EdgeServer, OriginServer, Controller],
        }
    }
}

words! {
    /// How octets on a link are framed and read.
    Format, "wire format", {
        /// RFC 3261.
        Sip = "sip",
        /// RFC 9112.
        Http = "http",
        /// RFC 4975.
        Msrp = "msrp",
        /// RFC 6733.
        Diameter = "diameter",
    }
}
