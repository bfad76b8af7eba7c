//! Header names: long, compact, and known ones as one small number, so that a name is compared once.

macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// A header field name that something here asks for; all others are `Other`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Name { $($variant,)* Other }

        const ALL: &[(Name, &str)] = &[$((Name::$variant, $text),)*];
    };
}

names! {
    Accept = "Accept",
    AcceptContact = "Accept-Contact",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    Allow = "Allow",
    AllowEvents = "Allow-Events",
    AuthenticationInfo = "Authentication-Info",
    Authorization = "Authorization",
    CallId = "Call-ID",
    Contact = "Contact",
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding",
    ContentLength = "Content-Length",
    ContentType = "Content-Type",
    CSeq = "CSeq",
    Date = "Date",
    Event = "Event",
    Expires = "Expires",
    From = "From",
    Identity = "Identity",
    IdentityInfo = "Identity-Info",
    MaxForwards = "Max-Forwards",
    MimeVersion = "MIME-Version",
    MinExpires = "Min-Expires",
    MinSe = "Min-SE",
    Organization = "Organization",
    PAccessNetworkInfo = "P-Access-Network-Info",
    PAssertedIdentity = "P-Asserted-Identity",
    PAssertedService = "P-Asserted-Service",
    PAssociatedUri = "P-Associated-URI",
    PCalledPartyId = "P-Called-Party-ID",
    PChargingFunctionAddresses = "P-Charging-Function-Addresses",
    PChargingVector = "P-Charging-Vector",
    PPreferredIdentity = "P-Preferred-Identity",
    PPreferredService = "P-Preferred-Service",
    PServedUser = "P-Served-User",
    PVisitedNetworkId = "P-Visited-Network-ID",
    Path = "Path",
    Priority = "Priority",
    Privacy = "Privacy",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyRequire = "Proxy-Require",
    RAck = "RAck",
    RSeq = "RSeq",
    Reason = "Reason",
    RecordRoute = "Record-Route",
    ReferTo = "Refer-To",
    ReferredBy = "Referred-By",
    RejectContact = "Reject-Contact",
    ReplyTo = "Reply-To",
    RequestDisposition = "Request-Disposition",
    Require = "Require",
    RetryAfter = "Retry-After",
    Route = "Route",
    SecurityClient = "Security-Client",
    SecurityServer = "Security-Server",
    SecurityVerify = "Security-Verify",
    Server = "Server",
    ServiceRoute = "Service-Route",
    SessionExpires = "Session-Expires",
    SipEtag = "SIP-ETag",
    SipIfMatch = "SIP-If-Match",
    Subject = "Subject",
    SubscriptionState = "Subscription-State",
    Supported = "Supported",
    Timestamp = "Timestamp",
    To = "To",
    Unsupported = "Unsupported",
    UserAgent = "User-Agent",
    Via = "Via",
    Warning = "Warning",
    WwwAuthenticate = "WWW-Authenticate",
}

impl Name {
    /// Which name this is, in any case, long or compact. One comparison at most: no two names share a slot.
    pub(crate) fn of(name: &[u8]) -> Name {
        match name {
            [] => Name::Other,
            [letter] => compact(*letter),
            _ => match ALL.get(BY_SLOT[slot(name)] as usize) {
                Some((known, text)) if is_same(text.as_bytes(), name) => *known,
                _ => Name::Other,
            },
        }
    }

    /// The long form; "" for `Other`.
    pub(crate) fn long(self) -> &'static str {
        ALL.get(self as usize).map_or("", |(_, text)| text)
    }
}

/// Most write names as the RFCs do: octet for octet is tried first, as it is several times faster.
fn is_same(known: &[u8], name: &[u8]) -> bool {
    known == name || known.eq_ignore_ascii_case(name)
}

/// RFC 3261 7.3.3 and the registrations that followed it.
fn compact(letter: u8) -> Name {
    match letter.to_ascii_lowercase() {
        b'a' => Name::AcceptContact,
        b'b' => Name::ReferredBy,
        b'c' => Name::ContentType,
        b'd' => Name::RequestDisposition,
        b'e' => Name::ContentEncoding,
        b'f' => Name::From,
        b'i' => Name::CallId,
        b'j' => Name::RejectContact,
        b'k' => Name::Supported,
        b'l' => Name::ContentLength,
        b'm' => Name::Contact,
        b'n' => Name::IdentityInfo,
        b'o' => Name::Event,
        b'r' => Name::ReferTo,
        b's' => Name::Subject,
        b't' => Name::To,
        b'u' => Name::AllowEvents,
        b'v' => Name::Via,
        b'x' => Name::SessionExpires,
        b'y' => Name::Identity,
        _ => Name::Other,
    }
}

/// Index into `ALL` of the one name that may stand in each slot; past its end where there is none.
const BY_SLOT: [u8; SLOTS] = by_slot();

const SLOTS: usize = 256;

/// Where a name of one octet or more would stand, in any case: by its length and its first, middle and last
/// octet. The factors were found by trying; a new name that falls on another does not compile and wants others.
const fn slot(name: &[u8]) -> usize {
    let [first, middle, last] = [name[0], name[name.len() / 2], name[name.len() - 1]];
    let mixed = name.len() * 11 + lower(first) * 89 + lower(last) * 64 + lower(middle) * 20;
    mixed % SLOTS
}

/// The same for both cases of a letter.
const fn lower(octet: u8) -> usize {
    (octet | 0x20) as usize
}

const fn by_slot() -> [u8; SLOTS] {
    let mut slots = [u8::MAX; SLOTS];
    assert!(ALL.len() < u8::MAX as usize, "an index is one octet");
    let mut index = 0;
    while index < ALL.len() {
        let slot = slot(ALL[index].1.as_bytes());
        assert!(slots[slot] == u8::MAX, "two names share a slot");
        slots[slot] = index as u8;
        index += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_in_any_case() {
        for (known, text) in ALL {
            assert_eq!(*known, Name::of(text.as_bytes()));
            assert_eq!(*known, Name::of(text.to_ascii_uppercase().as_bytes()));
        }
    }

    #[test]
    fn compact_names_mean_their_long_ones() {
        assert_eq!(Name::Via, Name::of(b"v"));
        assert_eq!(Name::Event, Name::of(b"O"));
        assert_eq!(Name::Other, Name::of(b"z"));
        assert_eq!(Name::Other, Name::of(b""));
        assert_eq!(Name::Other, Name::of(&[b'x'; 300]));
    }
}
