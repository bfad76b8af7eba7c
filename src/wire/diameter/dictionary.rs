//! Names, codes and types: the base protocol as far as Cx uses it (RFC 6733), and Cx (TS 29.229). Each
//! table is visible and constant; [`ATTRIBUTES`] and [`COMMANDS`] list all.

/// 3GPP (TS 29.229 6).
pub const VENDOR_3GPP: u32 = 10415;
/// ETSI (TS 29.229 5.6).
pub const VENDOR_ETSI: u32 = 13019;
/// The Cx and Dx application (TS 29.229 6).
pub const APPLICATION_CX: u32 = 16_777_216;
/// The base protocol, for messages between neighbours.
pub const APPLICATION_BASE: u32 = 0;

/// How the octets of an AVP are read (RFC 6733 4.2, 4.3, 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Address,
    DiameterIdentity,
    DiameterUri,
    Enumerated,
    Grouped,
    OctetString,
    Time,
    Unsigned32,
    Utf8String,
}

/// What an AVP code means.
#[derive(Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: &'static str,
    pub code: u32,
    pub vendor: Option<u32>,
    pub kind: Kind,
    /// Whether the M bit is set when we send it.
    pub mandatory: bool,
}

impl Attribute {
    const fn base(name: &'static str, code: u32, kind: Kind, mandatory: bool) -> Attribute {
        Attribute {
            name,
            code,
            vendor: None,
            kind,
            mandatory,
        }
    }

    const fn cx(name: &'static str, code: u32, kind: Kind, mandatory: bool) -> Attribute {
        Attribute {
            name,
            code,
            vendor: Some(VENDOR_3GPP),
            kind,
            mandatory,
        }
    }

    /// The AVP flags it is sent with.
    pub fn flags(&self) -> u8 {
        let vendor = if self.vendor.is_some() { 0x80 } else { 0 };
        let mandatory = if self.mandatory { 0x40 } else { 0 };
        vendor | mandatory
    }
}

/// The attribute of that code and vendor.
pub fn attribute(code: u32, vendor: Option<u32>) -> Option<&'static Attribute> {
    ATTRIBUTES
        .iter()
        .copied()
        .find(|a| a.code == code && a.vendor == vendor)
}

/// The attribute of that name, as the documents write it.
pub fn attribute_named(name: &str) -> Option<&'static Attribute> {
    ATTRIBUTES.iter().copied().find(|a| a.name == name)
}

/// A command: both its messages, and what their grammars demand.
#[derive(Debug)]
pub struct Command {
    pub code: u32,
    pub application: u32,
    /// `UAR`.
    pub request: &'static str,
    /// `UAA`.
    pub answer: &'static str,
    pub proxiable: bool,
    pub in_request: &'static [&'static Attribute],
    pub in_answer: &'static [&'static Attribute],
}

/// The command of that application and code.
pub fn command(application: u32, code: u32) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .copied()
        .find(|c| c.application == application && c.code == code)
}

/// Capabilities-Exchange: RFC 6733 5.3.1 and 5.3.2.
pub const CER: Command = Command {
    code: 257,
    application: APPLICATION_BASE,
    request: "CER",
    answer: "CEA",
    proxiable: false,
    in_request: &[
        &ORIGIN_HOST,
        &ORIGIN_REALM,
        &HOST_IP_ADDRESS,
        &VENDOR_ID,
        &PRODUCT_NAME,
    ],
    in_answer: &[
        &RESULT_CODE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
        &HOST_IP_ADDRESS,
        &VENDOR_ID,
        &PRODUCT_NAME,
    ],
};

/// Device-Watchdog: RFC 6733 5.5.1 and 5.5.2.
pub const DWR: Command = Command {
    code: 280,
    application: APPLICATION_BASE,
    request: "DWR",
    answer: "DWA",
    proxiable: false,
    in_request: &[&ORIGIN_HOST, &ORIGIN_REALM],
    in_answer: &[&RESULT_CODE, &ORIGIN_HOST, &ORIGIN_REALM],
};

/// Disconnect-Peer: RFC 6733 5.4.1 and 5.4.2.
pub const DPR: Command = Command {
    code: 282,
    application: APPLICATION_BASE,
    request: "DPR",
    answer: "DPA",
    proxiable: false,
    in_request: &[&ORIGIN_HOST, &ORIGIN_REALM, &DISCONNECT_CAUSE],
    in_answer: &[&RESULT_CODE, &ORIGIN_HOST, &ORIGIN_REALM],
};

/// User-Authorization: TS 29.229 6.1.1 and 6.1.2.
pub const UAR: Command = Command {
    code: 300,
    application: APPLICATION_CX,
    request: "UAR",
    answer: "UAA",
    proxiable: true,
    in_request: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
        &DESTINATION_REALM,
        &USER_NAME,
        &PUBLIC_IDENTITY,
        &VISITED_NETWORK_IDENTIFIER,
    ],
    in_answer: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
    ],
};

/// Server-Assignment: TS 29.229 6.1.3 and 6.1.4.
pub const SAR: Command = Command {
    code: 301,
    application: APPLICATION_CX,
    request: "SAR",
    answer: "SAA",
    proxiable: true,
    in_request: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
        &DESTINATION_REALM,
        &SERVER_NAME,
        &SERVER_ASSIGNMENT_TYPE,
        &USER_DATA_ALREADY_AVAILABLE,
    ],
    in_answer: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
    ],
};

/// Location-Info: TS 29.229 6.1.5 and 6.1.6.
pub const LIR: Command = Command {
    code: 302,
    application: APPLICATION_CX,
    request: "LIR",
    answer: "LIA",
    proxiable: true,
    in_request: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
        &DESTINATION_REALM,
        &PUBLIC_IDENTITY,
    ],
    in_answer: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
    ],
};

/// Multimedia-Auth: TS 29.229 6.1.7 and 6.1.8.
pub const MAR: Command = Command {
    code: 303,
    application: APPLICATION_CX,
    request: "MAR",
    answer: "MAA",
    proxiable: true,
    in_request: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
        &DESTINATION_REALM,
        &USER_NAME,
        &PUBLIC_IDENTITY,
        &SIP_AUTH_DATA_ITEM,
        &SIP_NUMBER_AUTH_ITEMS,
        &SERVER_NAME,
    ],
    in_answer: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
    ],
};

/// Registration-Termination: TS 29.229 6.1.9 and 6.1.10.
pub const RTR: Command = Command {
    code: 304,
    application: APPLICATION_CX,
    request: "RTR",
    answer: "RTA",
    proxiable: true,
    in_request: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
        &DESTINATION_REALM,
        &USER_NAME,
        &DEREGISTRATION_REASON,
    ],
    in_answer: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
    ],
};

/// Push-Profile: TS 29.229 6.1.11 and 6.1.12.
pub const PPR: Command = Command {
    code: 305,
    application: APPLICATION_CX,
    request: "PPR",
    answer: "PPA",
    proxiable: true,
    in_request: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
        &DESTINATION_HOST,
        &DESTINATION_REALM,
        &USER_NAME,
    ],
    in_answer: &[
        &SESSION_ID,
        &VENDOR_SPECIFIC_APPLICATION_ID,
        &AUTH_SESSION_STATE,
        &ORIGIN_HOST,
        &ORIGIN_REALM,
    ],
};

/// Every command.
pub const COMMANDS: &[&Command] = &[&CER, &DWR, &DPR, &UAR, &SAR, &LIR, &MAR, &RTR, &PPR];

// RFC 6733 4.5.
pub const USER_NAME: Attribute = Attribute::base("User-Name", 1, Kind::Utf8String, true);
pub const PROXY_STATE: Attribute = Attribute::base("Proxy-State", 33, Kind::OctetString, true);
pub const HOST_IP_ADDRESS: Attribute = Attribute::base("Host-IP-Address", 257, Kind::Address, true);
pub const AUTH_APPLICATION_ID: Attribute =
    Attribute::base("Auth-Application-Id", 258, Kind::Unsigned32, true);
pub const ACCT_APPLICATION_ID: Attribute =
    Attribute::base("Acct-Application-Id", 259, Kind::Unsigned32, true);
pub const VENDOR_SPECIFIC_APPLICATION_ID: Attribute =
    Attribute::base("Vendor-Specific-Application-Id", 260, Kind::Grouped, true);
pub const SESSION_ID: Attribute = Attribute::base("Session-Id", 263, Kind::Utf8String, true);
pub const ORIGIN_HOST: Attribute =
    Attribute::base("Origin-Host", 264, Kind::DiameterIdentity, true);
pub const SUPPORTED_VENDOR_ID: Attribute =
    Attribute::base("Supported-Vendor-Id", 265, Kind::Unsigned32, true);
pub const VENDOR_ID: Attribute = Attribute::base("Vendor-Id", 266, Kind::Unsigned32, true);
pub const FIRMWARE_REVISION: Attribute =
    Attribute::base("Firmware-Revision", 267, Kind::Unsigned32, false);
pub const RESULT_CODE: Attribute = Attribute::base("Result-Code", 268, Kind::Unsigned32, true);
pub const PRODUCT_NAME: Attribute = Attribute::base("Product-Name", 269, Kind::Utf8String, false);
pub const DISCONNECT_CAUSE: Attribute =
    Attribute::base("Disconnect-Cause", 273, Kind::Enumerated, true);
pub const AUTH_SESSION_STATE: Attribute =
    Attribute::base("Auth-Session-State", 277, Kind::Enumerated, true);
pub const ORIGIN_STATE_ID: Attribute =
    Attribute::base("Origin-State-Id", 278, Kind::Unsigned32, true);
pub const FAILED_AVP: Attribute = Attribute::base("Failed-AVP", 279, Kind::Grouped, true);
pub const PROXY_HOST: Attribute = Attribute::base("Proxy-Host", 280, Kind::DiameterIdentity, true);
pub const ERROR_MESSAGE: Attribute = Attribute::base("Error-Message", 281, Kind::Utf8String, false);
pub const ROUTE_RECORD: Attribute =
    Attribute::base("Route-Record", 282, Kind::DiameterIdentity, true);
pub const DESTINATION_REALM: Attribute =
    Attribute::base("Destination-Realm", 283, Kind::DiameterIdentity, true);
pub const PROXY_INFO: Attribute = Attribute::base("Proxy-Info", 284, Kind::Grouped, true);
pub const DESTINATION_HOST: Attribute =
    Attribute::base("Destination-Host", 293, Kind::DiameterIdentity, true);
pub const ERROR_REPORTING_HOST: Attribute =
    Attribute::base("Error-Reporting-Host", 294, Kind::DiameterIdentity, false);
pub const ORIGIN_REALM: Attribute =
    Attribute::base("Origin-Realm", 296, Kind::DiameterIdentity, true);
pub const EXPERIMENTAL_RESULT: Attribute =
    Attribute::base("Experimental-Result", 297, Kind::Grouped, true);
pub const EXPERIMENTAL_RESULT_CODE: Attribute =
    Attribute::base("Experimental-Result-Code", 298, Kind::Unsigned32, true);
pub const INBAND_SECURITY_ID: Attribute =
    Attribute::base("Inband-Security-Id", 299, Kind::Unsigned32, true);

// RFC 4740 (clause not verified), used by TS 29.229 6.3.36; codes and flags by its table 6.3.1.
pub const DIGEST_REALM: Attribute = Attribute::base("Digest-Realm", 104, Kind::Utf8String, true);
pub const DIGEST_QOP: Attribute = Attribute::base("Digest-QoP", 110, Kind::Utf8String, true);
pub const DIGEST_ALGORITHM: Attribute =
    Attribute::base("Digest-Algorithm", 111, Kind::Utf8String, true);
pub const DIGEST_HA1: Attribute = Attribute::base("Digest-HA1", 121, Kind::Utf8String, true);

// Overload and priority, as table 6.3.1 of TS 29.229 borrows them; sent without the M bit.
pub const DRMP: Attribute = Attribute::base("DRMP", 301, Kind::Enumerated, false);
pub const OC_SUPPORTED_FEATURES: Attribute =
    Attribute::base("OC-Supported-Features", 621, Kind::Grouped, false);
pub const OC_OLR: Attribute = Attribute::base("OC-OLR", 623, Kind::Grouped, false);

// TS 29.229 table 6.3.1.
pub const VISITED_NETWORK_IDENTIFIER: Attribute =
    Attribute::cx("Visited-Network-Identifier", 600, Kind::OctetString, true);
pub const PUBLIC_IDENTITY: Attribute =
    Attribute::cx("Public-Identity", 601, Kind::Utf8String, true);
pub const SERVER_NAME: Attribute = Attribute::cx("Server-Name", 602, Kind::Utf8String, true);
pub const SERVER_CAPABILITIES: Attribute =
    Attribute::cx("Server-Capabilities", 603, Kind::Grouped, true);
pub const MANDATORY_CAPABILITY: Attribute =
    Attribute::cx("Mandatory-Capability", 604, Kind::Unsigned32, true);
pub const OPTIONAL_CAPABILITY: Attribute =
    Attribute::cx("Optional-Capability", 605, Kind::Unsigned32, true);
pub const USER_DATA: Attribute = Attribute::cx("User-Data", 606, Kind::OctetString, true);
pub const SIP_NUMBER_AUTH_ITEMS: Attribute =
    Attribute::cx("SIP-Number-Auth-Items", 607, Kind::Unsigned32, true);
pub const SIP_AUTHENTICATION_SCHEME: Attribute =
    Attribute::cx("SIP-Authentication-Scheme", 608, Kind::Utf8String, true);
pub const SIP_AUTHENTICATE: Attribute =
    Attribute::cx("SIP-Authenticate", 609, Kind::OctetString, true);
pub const SIP_AUTHORIZATION: Attribute =
    Attribute::cx("SIP-Authorization", 610, Kind::OctetString, true);
pub const SIP_AUTHENTICATION_CONTEXT: Attribute =
    Attribute::cx("SIP-Authentication-Context", 611, Kind::OctetString, true);
pub const SIP_AUTH_DATA_ITEM: Attribute =
    Attribute::cx("SIP-Auth-Data-Item", 612, Kind::Grouped, true);
pub const SIP_ITEM_NUMBER: Attribute =
    Attribute::cx("SIP-Item-Number", 613, Kind::Unsigned32, true);
pub const SERVER_ASSIGNMENT_TYPE: Attribute =
    Attribute::cx("Server-Assignment-Type", 614, Kind::Enumerated, true);
pub const DEREGISTRATION_REASON: Attribute =
    Attribute::cx("Deregistration-Reason", 615, Kind::Grouped, true);
pub const REASON_CODE: Attribute = Attribute::cx("Reason-Code", 616, Kind::Enumerated, true);
pub const REASON_INFO: Attribute = Attribute::cx("Reason-Info", 617, Kind::Utf8String, true);
pub const CHARGING_INFORMATION: Attribute =
    Attribute::cx("Charging-Information", 618, Kind::Grouped, true);
pub const PRIMARY_EVENT_CHARGING_FUNCTION_NAME: Attribute = Attribute::cx(
    "Primary-Event-Charging-Function-Name",
    619,
    Kind::DiameterUri,
    true,
);
pub const SECONDARY_EVENT_CHARGING_FUNCTION_NAME: Attribute = Attribute::cx(
    "Secondary-Event-Charging-Function-Name",
    620,
    Kind::DiameterUri,
    true,
);
pub const PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME: Attribute = Attribute::cx(
    "Primary-Charging-Collection-Function-Name",
    621,
    Kind::DiameterUri,
    true,
);
pub const SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME: Attribute = Attribute::cx(
    "Secondary-Charging-Collection-Function-Name",
    622,
    Kind::DiameterUri,
    true,
);
pub const USER_AUTHORIZATION_TYPE: Attribute =
    Attribute::cx("User-Authorization-Type", 623, Kind::Enumerated, true);
pub const USER_DATA_ALREADY_AVAILABLE: Attribute =
    Attribute::cx("User-Data-Already-Available", 624, Kind::Enumerated, true);
pub const CONFIDENTIALITY_KEY: Attribute =
    Attribute::cx("Confidentiality-Key", 625, Kind::OctetString, true);
pub const INTEGRITY_KEY: Attribute = Attribute::cx("Integrity-Key", 626, Kind::OctetString, true);
pub const SUPPORTED_FEATURES: Attribute =
    Attribute::cx("Supported-Features", 628, Kind::Grouped, false);
pub const FEATURE_LIST_ID: Attribute =
    Attribute::cx("Feature-List-ID", 629, Kind::Unsigned32, false);
pub const FEATURE_LIST: Attribute = Attribute::cx("Feature-List", 630, Kind::Unsigned32, false);
pub const SUPPORTED_APPLICATIONS: Attribute =
    Attribute::cx("Supported-Applications", 631, Kind::Grouped, false);
pub const ASSOCIATED_IDENTITIES: Attribute =
    Attribute::cx("Associated-Identities", 632, Kind::Grouped, false);
pub const ORIGINATING_REQUEST: Attribute =
    Attribute::cx("Originating-Request", 633, Kind::Enumerated, true);
pub const WILDCARDED_PUBLIC_IDENTITY: Attribute =
    Attribute::cx("Wildcarded-Public-Identity", 634, Kind::Utf8String, false);
pub const SIP_DIGEST_AUTHENTICATE: Attribute =
    Attribute::cx("SIP-Digest-Authenticate", 635, Kind::Grouped, false);
pub const UAR_FLAGS: Attribute = Attribute::cx("UAR-Flags", 637, Kind::Unsigned32, false);
pub const LOOSE_ROUTE_INDICATION: Attribute =
    Attribute::cx("Loose-Route-Indication", 638, Kind::Enumerated, false);
pub const SCSCF_RESTORATION_INFO: Attribute =
    Attribute::cx("SCSCF-Restoration-Info", 639, Kind::Grouped, false);
pub const PATH: Attribute = Attribute::cx("Path", 640, Kind::OctetString, false);
pub const CONTACT: Attribute = Attribute::cx("Contact", 641, Kind::OctetString, false);
pub const SUBSCRIPTION_INFO: Attribute =
    Attribute::cx("Subscription-Info", 642, Kind::Grouped, false);
pub const CALL_ID_SIP_HEADER: Attribute =
    Attribute::cx("Call-ID-SIP-Header", 643, Kind::OctetString, false);
pub const FROM_SIP_HEADER: Attribute =
    Attribute::cx("From-SIP-Header", 644, Kind::OctetString, false);
pub const TO_SIP_HEADER: Attribute = Attribute::cx("To-SIP-Header", 645, Kind::OctetString, false);
pub const RECORD_ROUTE: Attribute = Attribute::cx("Record-Route", 646, Kind::OctetString, false);
pub const ASSOCIATED_REGISTERED_IDENTITIES: Attribute = Attribute::cx(
    "Associated-Registered-Identities",
    647,
    Kind::Grouped,
    false,
);
pub const MULTIPLE_REGISTRATION_INDICATION: Attribute = Attribute::cx(
    "Multiple-Registration-Indication",
    648,
    Kind::Enumerated,
    false,
);
pub const RESTORATION_INFO: Attribute =
    Attribute::cx("Restoration-Info", 649, Kind::Grouped, false);
pub const SESSION_PRIORITY: Attribute =
    Attribute::cx("Session-Priority", 650, Kind::Enumerated, false);
pub const IDENTITY_WITH_EMERGENCY_REGISTRATION: Attribute = Attribute::cx(
    "Identity-with-Emergency-Registration",
    651,
    Kind::Grouped,
    false,
);
pub const PRIVILEDGED_SENDER_INDICATION: Attribute = Attribute::cx(
    "Priviledged-Sender-Indication",
    652,
    Kind::Enumerated,
    false,
);
pub const LIA_FLAGS: Attribute = Attribute::cx("LIA-Flags", 653, Kind::Unsigned32, false);
pub const INITIAL_CSEQ_SEQUENCE_NUMBER: Attribute =
    Attribute::cx("Initial-CSeq-Sequence-Number", 654, Kind::Unsigned32, false);
pub const SAR_FLAGS: Attribute = Attribute::cx("SAR-Flags", 655, Kind::Unsigned32, false);
pub const ALLOWED_WAF_WWSF_IDENTITIES: Attribute =
    Attribute::cx("Allowed-WAF-WWSF-Identities", 656, Kind::Grouped, false);
pub const WEBRTC_AUTHENTICATION_FUNCTION_NAME: Attribute = Attribute::cx(
    "WebRTC-Authentication-Function-Name",
    657,
    Kind::Utf8String,
    false,
);
pub const WEBRTC_WEB_SERVER_FUNCTION_NAME: Attribute = Attribute::cx(
    "WebRTC-Web-Server-Function-Name",
    658,
    Kind::Utf8String,
    false,
);
pub const RTR_FLAGS: Attribute = Attribute::cx("RTR-Flags", 659, Kind::Unsigned32, false);
pub const P_CSCF_SUBSCRIPTION_INFO: Attribute =
    Attribute::cx("P-CSCF-Subscription-Info", 660, Kind::Grouped, false);
pub const REGISTRATION_TIME_OUT: Attribute =
    Attribute::cx("Registration-Time-Out", 661, Kind::Time, false);

/// Every attribute.
pub const ATTRIBUTES: &[&Attribute] = &[
    &USER_NAME,
    &PROXY_STATE,
    &HOST_IP_ADDRESS,
    &AUTH_APPLICATION_ID,
    &ACCT_APPLICATION_ID,
    &VENDOR_SPECIFIC_APPLICATION_ID,
    &SESSION_ID,
    &ORIGIN_HOST,
    &SUPPORTED_VENDOR_ID,
    &VENDOR_ID,
    &FIRMWARE_REVISION,
    &RESULT_CODE,
    &PRODUCT_NAME,
    &DISCONNECT_CAUSE,
    &AUTH_SESSION_STATE,
    &ORIGIN_STATE_ID,
    &FAILED_AVP,
    &PROXY_HOST,
    &ERROR_MESSAGE,
    &ROUTE_RECORD,
    &DESTINATION_REALM,
    &PROXY_INFO,
    &DESTINATION_HOST,
    &ERROR_REPORTING_HOST,
    &ORIGIN_REALM,
    &EXPERIMENTAL_RESULT,
    &EXPERIMENTAL_RESULT_CODE,
    &INBAND_SECURITY_ID,
    &DIGEST_REALM,
    &DIGEST_QOP,
    &DIGEST_ALGORITHM,
    &DIGEST_HA1,
    &DRMP,
    &OC_SUPPORTED_FEATURES,
    &OC_OLR,
    &VISITED_NETWORK_IDENTIFIER,
    &PUBLIC_IDENTITY,
    &SERVER_NAME,
    &SERVER_CAPABILITIES,
    &MANDATORY_CAPABILITY,
    &OPTIONAL_CAPABILITY,
    &USER_DATA,
    &SIP_NUMBER_AUTH_ITEMS,
    &SIP_AUTHENTICATION_SCHEME,
    &SIP_AUTHENTICATE,
    &SIP_AUTHORIZATION,
    &SIP_AUTHENTICATION_CONTEXT,
    &SIP_AUTH_DATA_ITEM,
    &SIP_ITEM_NUMBER,
    &SERVER_ASSIGNMENT_TYPE,
    &DEREGISTRATION_REASON,
    &REASON_CODE,
    &REASON_INFO,
    &CHARGING_INFORMATION,
    &PRIMARY_EVENT_CHARGING_FUNCTION_NAME,
    &SECONDARY_EVENT_CHARGING_FUNCTION_NAME,
    &PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME,
    &SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME,
    &USER_AUTHORIZATION_TYPE,
    &USER_DATA_ALREADY_AVAILABLE,
    &CONFIDENTIALITY_KEY,
    &INTEGRITY_KEY,
    &SUPPORTED_FEATURES,
    &FEATURE_LIST_ID,
    &FEATURE_LIST,
    &SUPPORTED_APPLICATIONS,
    &ASSOCIATED_IDENTITIES,
    &ORIGINATING_REQUEST,
    &WILDCARDED_PUBLIC_IDENTITY,
    &SIP_DIGEST_AUTHENTICATE,
    &UAR_FLAGS,
    &LOOSE_ROUTE_INDICATION,
    &SCSCF_RESTORATION_INFO,
    &PATH,
    &CONTACT,
    &SUBSCRIPTION_INFO,
    &CALL_ID_SIP_HEADER,
    &FROM_SIP_HEADER,
    &TO_SIP_HEADER,
    &RECORD_ROUTE,
    &ASSOCIATED_REGISTERED_IDENTITIES,
    &MULTIPLE_REGISTRATION_INDICATION,
    &RESTORATION_INFO,
    &SESSION_PRIORITY,
    &IDENTITY_WITH_EMERGENCY_REGISTRATION,
    &PRIVILEDGED_SENDER_INDICATION,
    &LIA_FLAGS,
    &INITIAL_CSEQ_SEQUENCE_NUMBER,
    &SAR_FLAGS,
    &ALLOWED_WAF_WWSF_IDENTITIES,
    &WEBRTC_AUTHENTICATION_FUNCTION_NAME,
    &WEBRTC_WEB_SERVER_FUNCTION_NAME,
    &RTR_FLAGS,
    &P_CSCF_SUBSCRIPTION_INFO,
    &REGISTRATION_TIME_OUT,
];

/// Values of Result-Code (RFC 6733 7.1).
pub mod result {
    pub const SUCCESS: u32 = 2001;
    pub const COMMAND_UNSUPPORTED: u32 = 3001;
    pub const UNABLE_TO_DELIVER: u32 = 3002;
    pub const REALM_NOT_SERVED: u32 = 3003;
    pub const TOO_BUSY: u32 = 3004;
    pub const APPLICATION_UNSUPPORTED: u32 = 3007;
    pub const INVALID_HDR_BITS: u32 = 3008;
    pub const INVALID_AVP_BITS: u32 = 3009;
    pub const AVP_UNSUPPORTED: u32 = 5001;
    pub const UNKNOWN_SESSION_ID: u32 = 5002;
    pub const AUTHORIZATION_REJECTED: u32 = 5003;
    pub const INVALID_AVP_VALUE: u32 = 5004;
    pub const MISSING_AVP: u32 = 5005;
    pub const AVP_OCCURS_TOO_MANY_TIMES: u32 = 5009;
    pub const NO_COMMON_APPLICATION: u32 = 5010;
    pub const UNABLE_TO_COMPLY: u32 = 5012;
    pub const INVALID_AVP_LENGTH: u32 = 5014;
}

/// Values of Experimental-Result-Code under vendor 3GPP (TS 29.229 6.2).
pub mod experimental {
    pub const FIRST_REGISTRATION: u32 = 2001;
    pub const SUBSEQUENT_REGISTRATION: u32 = 2002;
    pub const UNREGISTERED_SERVICE: u32 = 2003;
    pub const SUCCESS_SERVER_NAME_NOT_STORED: u32 = 2004;
    pub const USER_UNKNOWN: u32 = 5001;
    pub const IDENTITIES_DONT_MATCH: u32 = 5002;
    pub const IDENTITY_NOT_REGISTERED: u32 = 5003;
    pub const ROAMING_NOT_ALLOWED: u32 = 5004;
    pub const IDENTITY_ALREADY_REGISTERED: u32 = 5005;
    pub const AUTH_SCHEME_NOT_SUPPORTED: u32 = 5006;
    pub const IN_ASSIGNMENT_TYPE: u32 = 5007;
    pub const TOO_MUCH_DATA: u32 = 5008;
    pub const NOT_SUPPORTED_USER_DATA: u32 = 5009;
    pub const FEATURE_UNSUPPORTED: u32 = 5011;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_and_no_code_stands_twice() {
        let names: BTreeSet<_> = ATTRIBUTES.iter().map(|a| a.name).collect();
        let codes: BTreeSet<_> = ATTRIBUTES.iter().map(|a| (a.vendor, a.code)).collect();
        assert_eq!(ATTRIBUTES.len(), names.len());
        assert_eq!(ATTRIBUTES.len(), codes.len());
    }

    #[test]
    fn names_and_codes_find_the_same_row() {
        for a in ATTRIBUTES {
            assert_eq!(Some(*a), attribute(a.code, a.vendor));
            assert_eq!(Some(*a), attribute_named(a.name));
        }
    }
}
