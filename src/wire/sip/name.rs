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
    /// Which name this is, in any case, long or compact.
    pub(crate) fn of(name: &[u8]) -> Name {
        if let [letter] = name {
            return compact(*letter);
        }
        if name.len() > LONGEST {
            return Name::Other;
        }
        let candidates = FIRST_OF_LENGTH[name.len()]..FIRST_OF_LENGTH[name.len() + 1];
        BY_LENGTH[candidates]
            .iter()
            .map(|&index| &ALL[index as usize])
            .find(|(_, text)| text.as_bytes().eq_ignore_ascii_case(name))
            .map_or(Name::Other, |(known, _)| *known)
    }

    /// The long form; "" for `Other`.
    pub(crate) fn long(self) -> &'static str {
        ALL.get(self as usize).map_or("", |(_, text)| text)
    }
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

const LONGEST: usize = 30;

/// Indices into `ALL`, shortest name first.
const BY_LENGTH: [u8; ALL.len()] = by_length();

/// Where in `BY_LENGTH` the names of each length begin.
const FIRST_OF_LENGTH: [usize; LONGEST + 2] = first_of_length();

const fn by_length() -> [u8; ALL.len()] {
    let mut sorted = [0; ALL.len()];
    let mut filled = 0;
    let mut length = 0;
    while length <= LONGEST {
        let mut index = 0;
        while index < ALL.len() {
            if ALL[index].1.len() == length {
                sorted[filled] = index as u8;
                filled += 1;
            }
            index += 1;
        }
        length += 1;
    }
    assert!(filled == ALL.len(), "a name is longer than LONGEST");
    sorted
}

const fn first_of_length() -> [usize; LONGEST + 2] {
    let mut first = [0; LONGEST + 2];
    let mut length = 0;
    while length <= LONGEST {
        let mut of_length = 0;
        let mut index = 0;
        while index < ALL.len() {
            if ALL[index].1.len() == length {
                of_length += 1;
            }
            index += 1;
        }
        first[length + 1] = first[length] + of_length;
        length += 1;
    }
    first
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
