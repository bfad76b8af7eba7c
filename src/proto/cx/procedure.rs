//! The six procedures of Cx as types, and their AVPs (TS 29.228 6.1 to 6.3, TS 29.229 6.1).

use super::profile::Profile;
use crate::wire::{
    Malformed,
    diameter::{
        Avp, Avps, Group, Message, Outcome,
        dictionary::{self as d, Attribute, Command},
    },
};

/// What one peer asks of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CxRequest {
    Uar(Uar),
    Sar(Sar),
    Lir(Lir),
    Mar(Mar),
    Rtr(Rtr),
    Ppr(Ppr),
}

/// What the other answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CxAnswer {
    Uaa(Uaa),
    Saa(Saa),
    Lia(Lia),
    Maa(Maa),
    Rta(Rta),
    Ppa(Ppa),
}

/// User-Authorization-Request (TS 29.228 table 6.1.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uar {
    pub private: String,
    pub public: String,
    pub visited_network: String,
    pub authorization: Option<AuthorizationType>,
}

/// User-Authorization-Answer (TS 29.228 table 6.1.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uaa {
    pub outcome: Outcome,
    /// The assigned S-CSCF, a SIP URI.
    pub server: Option<String>,
    pub capabilities: Option<Capabilities>,
}

/// Server-Assignment-Request (TS 29.228 table 6.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sar {
    pub private: Option<String>,
    /// One, but for some de-registrations.
    pub publics: Vec<String>,
    /// The asking S-CSCF, a SIP URI.
    pub server: String,
    pub assignment: AssignmentType,
    pub has_profile: bool,
}

/// Server-Assignment-Answer (TS 29.228 table 6.1.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saa {
    pub outcome: Outcome,
    pub private: Option<String>,
    pub profile: Option<Profile>,
    pub charging: Option<Charging>,
    /// The S-CSCF assigned before, if it is another one.
    pub server: Option<String>,
}

/// Location-Info-Request (TS 29.228 table 6.1.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lir {
    pub public: String,
    pub originating: bool,
    pub authorization: Option<AuthorizationType>,
}

/// Location-Info-Answer (TS 29.228 table 6.1.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lia {
    pub outcome: Outcome,
    /// The assigned S-CSCF, or the application server of a PSI: a SIP URI.
    pub server: Option<String>,
    pub capabilities: Option<Capabilities>,
    /// `server` is an application server (TS 29.229 6.3.59).
    pub psi_direct: bool,
}

/// Multimedia-Auth-Request (TS 29.228 tables 6.3.1 and 6.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mar {
    pub private: String,
    pub public: String,
    /// The asking S-CSCF, a SIP URI.
    pub server: String,
    pub scheme: String,
    /// How many vectors are wanted.
    pub items: u32,
    /// After a synchronisation failure.
    pub resync: Option<Resync>,
}

/// RAND as it was sent to the UE, AUTS as it came back (TS 29.229 6.3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resync {
    pub rand: [u8; 16],
    pub auts: [u8; 14],
}

/// Multimedia-Auth-Answer (TS 29.228 tables 6.3.4 and 6.3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maa {
    pub outcome: Outcome,
    pub private: Option<String>,
    pub public: Option<String>,
    /// In the order in which they are to be used.
    pub items: Vec<AuthItem>,
}

/// Something to authenticate a user with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthItem {
    Aka(AkaItem),
    Digest(DigestItem),
}

/// An authentication vector (TS 29.229 6.3.10, 6.3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AkaItem {
    pub number: Option<u32>,
    pub rand: [u8; 16],
    pub autn: [u8; 16],
    pub xres: Vec<u8>,
    pub confidentiality_key: Vec<u8>,
    pub integrity_key: Vec<u8>,
}

/// What SIP Digest needs (TS 29.228 table 6.3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestItem {
    pub realm: String,
    /// MD5 if absent.
    pub algorithm: Option<String>,
    pub qop: String,
    /// 32 hexadecimal digits.
    pub ha1: String,
}

/// Registration-Termination-Request (TS 29.228 table 6.1.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtr {
    pub private: String,
    /// Empty: all of the private identity.
    pub publics: Vec<String>,
    pub reason: DeregistrationReason,
    /// For the user to read.
    pub text: Option<String>,
}

/// Registration-Termination-Answer (TS 29.228 table 6.1.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rta {
    pub outcome: Outcome,
}

/// Push-Profile-Request (TS 29.228 table 6.2.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ppr {
    pub private: String,
    pub profile: Option<Profile>,
    pub charging: Option<Charging>,
    /// After a change of password.
    pub digest: Option<DigestItem>,
}

/// Push-Profile-Answer (TS 29.228 table 6.2.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ppa {
    pub outcome: Outcome,
}

/// What an S-CSCF must or should be able to do (TS 29.228 6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub mandatory: Vec<u32>,
    pub optional: Vec<u32>,
    /// S-CSCFs to choose from; if there are any, the numbers are to be passed over.
    pub servers: Vec<String>,
}

/// Charging-Information: Diameter URIs (TS 29.229 6.3.19).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charging {
    pub primary_event: Option<String>,
    pub secondary_event: Option<String>,
    pub primary_collection: Option<String>,
    pub secondary_collection: Option<String>,
}

/// Declares an Enumerated AVP by its numbers.
macro_rules! enumerated {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)+ }

        impl $name {
            fn read(avp: Avp<'_>) -> Result<$name, Malformed> {
                match avp.number()? {
                    $($number => Ok($name::$variant),)+
                    _ => Err(avp.wrong("a number that is defined")),
                }
            }
        }
    };
}

enumerated! {
    /// User-Authorization-Type (TS 29.229 6.3.24).
    AuthorizationType {
        Registration = 0,
        DeRegistration = 1,
        RegistrationAndCapabilities = 2,
    }
}

enumerated! {
    /// Server-Assignment-Type (TS 29.229 6.3.15), as far as Cx uses it.
    AssignmentType {
        NoAssignment = 0,
        Registration = 1,
        ReRegistration = 2,
        UnregisteredUser = 3,
        TimeoutDeregistration = 4,
        UserDeregistration = 5,
        TimeoutDeregistrationStoreServerName = 6,
        UserDeregistrationStoreServerName = 7,
        AdministrativeDeregistration = 8,
        AuthenticationFailure = 9,
        AuthenticationTimeout = 10,
        DeregistrationTooMuchData = 11,
    }
}

enumerated! {
    /// Reason-Code (TS 29.229 6.3.17).
    DeregistrationReason {
        PermanentTermination = 0,
        NewServerAssigned = 1,
        ServerChange = 2,
        RemoveSCscf = 3,
    }
}

/// SIP-Authentication-Scheme values (TS 29.229 6.3.9).
pub const SCHEME_AKA: &str = "Digest-AKAv1-MD5";
pub const SCHEME_DIGEST: &str = "SIP Digest";
pub const SCHEME_UNKNOWN: &str = "Unknown";

/// A result of Cx itself, in Experimental-Result.
pub const fn experimental(code: u32) -> Outcome {
    Outcome::Experimental {
        vendor: d::VENDOR_3GPP,
        code,
    }
}

impl CxRequest {
    pub fn command(&self) -> &'static Command {
        match self {
            CxRequest::Uar(_) => &d::UAR,
            CxRequest::Sar(_) => &d::SAR,
            CxRequest::Lir(_) => &d::LIR,
            CxRequest::Mar(_) => &d::MAR,
            CxRequest::Rtr(_) => &d::RTR,
            CxRequest::Ppr(_) => &d::PPR,
        }
    }

    /// The answer that is an outcome and nothing else.
    pub fn refused(&self, outcome: Outcome) -> CxAnswer {
        match self {
            CxRequest::Uar(_) => CxAnswer::Uaa(Uaa::only(outcome)),
            CxRequest::Sar(_) => CxAnswer::Saa(Saa::only(outcome)),
            CxRequest::Lir(_) => CxAnswer::Lia(Lia::only(outcome)),
            CxRequest::Mar(_) => CxAnswer::Maa(Maa::only(outcome)),
            CxRequest::Rtr(_) => CxAnswer::Rta(Rta { outcome }),
            CxRequest::Ppr(_) => CxAnswer::Ppa(Ppa { outcome }),
        }
    }

    /// The AVPs that are the command's own.
    pub(super) fn avps(&self) -> Avps {
        match self {
            CxRequest::Uar(uar) => uar.avps(),
            CxRequest::Sar(sar) => sar.avps(),
            CxRequest::Lir(lir) => lir.avps(),
            CxRequest::Mar(mar) => mar.avps(),
            CxRequest::Rtr(rtr) => rtr.avps(),
            CxRequest::Ppr(ppr) => ppr.avps(),
        }
    }

    /// `None` if it is no command of Cx.
    pub(super) fn read(message: &Message) -> Option<Result<CxRequest, Malformed>> {
        Some(match message.command()?.request {
            "UAR" => Uar::read(message).map(CxRequest::Uar),
            "SAR" => Sar::read(message).map(CxRequest::Sar),
            "LIR" => Lir::read(message).map(CxRequest::Lir),
            "MAR" => Mar::read(message).map(CxRequest::Mar),
            "RTR" => Rtr::read(message).map(CxRequest::Rtr),
            "PPR" => Ppr::read(message).map(CxRequest::Ppr),
            _ => return None,
        })
    }
}

impl CxAnswer {
    pub fn outcome(&self) -> Outcome {
        match self {
            CxAnswer::Uaa(uaa) => uaa.outcome,
            CxAnswer::Saa(saa) => saa.outcome,
            CxAnswer::Lia(lia) => lia.outcome,
            CxAnswer::Maa(maa) => maa.outcome,
            CxAnswer::Rta(rta) => rta.outcome,
            CxAnswer::Ppa(ppa) => ppa.outcome,
        }
    }

    pub(super) fn avps(&self) -> Avps {
        match self {
            CxAnswer::Uaa(uaa) => uaa.avps(),
            CxAnswer::Saa(saa) => saa.avps(),
            CxAnswer::Lia(lia) => lia.avps(),
            CxAnswer::Maa(maa) => maa.avps(),
            CxAnswer::Rta(_) | CxAnswer::Ppa(_) => Avps::new(),
        }
    }

    /// Reads an answer to `command`; base results from agents in between count as answers too.
    pub(super) fn read(command: &Command, message: &Message) -> Result<CxAnswer, Malformed> {
        let outcome = message.outcome()?.ok_or_else(|| {
            let end = message.bytes().len();
            Malformed::new(message.bytes(), end, "Result-Code or Experimental-Result")
        })?;
        Ok(match command.answer {
            "UAA" => CxAnswer::Uaa(Uaa {
                outcome,
                server: text(message, &d::SERVER_NAME)?,
                capabilities: capabilities(message)?,
            }),
            "SAA" => CxAnswer::Saa(Saa {
                outcome,
                private: text(message, &d::USER_NAME)?,
                profile: profile(message)?,
                charging: charging(message)?,
                server: text(message, &d::SERVER_NAME)?,
            }),
            "LIA" => CxAnswer::Lia(Lia {
                outcome,
                server: text(message, &d::SERVER_NAME)?,
                capabilities: capabilities(message)?,
                psi_direct: message.number(&d::LIA_FLAGS)?.unwrap_or(0) & PSI_DIRECT != 0,
            }),
            "MAA" => CxAnswer::Maa(Maa {
                outcome,
                private: text(message, &d::USER_NAME)?,
                public: text(message, &d::PUBLIC_IDENTITY)?,
                items: items(message)?,
            }),
            "RTA" => CxAnswer::Rta(Rta { outcome }),
            _ => CxAnswer::Ppa(Ppa { outcome }),
        })
    }
}

impl Uar {
    fn avps(&self) -> Avps {
        let avps = Avps::new()
            .text(&d::USER_NAME, &self.private)
            .text(&d::PUBLIC_IDENTITY, &self.public)
            .text(&d::VISITED_NETWORK_IDENTIFIER, &self.visited_network);
        match self.authorization {
            Some(kind) => avps.number(&d::USER_AUTHORIZATION_TYPE, kind as u32),
            None => avps,
        }
    }

    fn read(message: &Message) -> Result<Uar, Malformed> {
        Ok(Uar {
            private: demanded(message, &d::USER_NAME)?,
            public: demanded(message, &d::PUBLIC_IDENTITY)?,
            visited_network: message
                .octets(&d::VISITED_NETWORK_IDENTIFIER)
                .map(|octets| String::from_utf8_lossy(octets).into_owned())
                .ok_or_else(|| lacks(message, &d::VISITED_NETWORK_IDENTIFIER))?,
            authorization: authorization(message)?,
        })
    }
}

impl Uaa {
    /// An answer that is its outcome only.
    pub fn only(outcome: Outcome) -> Uaa {
        Uaa {
            outcome,
            server: None,
            capabilities: None,
        }
    }

    fn avps(&self) -> Avps {
        let avps = put_text(Avps::new(), &d::SERVER_NAME, self.server.as_deref());
        put_capabilities(avps, self.capabilities.as_ref())
    }
}

impl Sar {
    fn avps(&self) -> Avps {
        let avps = put_text(Avps::new(), &d::USER_NAME, self.private.as_deref());
        self.publics
            .iter()
            .fold(avps, |avps, public| avps.text(&d::PUBLIC_IDENTITY, public))
            .text(&d::SERVER_NAME, &self.server)
            .number(&d::SERVER_ASSIGNMENT_TYPE, self.assignment as u32)
            .number(&d::USER_DATA_ALREADY_AVAILABLE, u32::from(self.has_profile))
    }

    fn read(message: &Message) -> Result<Sar, Malformed> {
        let assignment = message
            .find(&d::SERVER_ASSIGNMENT_TYPE)
            .ok_or_else(|| lacks(message, &d::SERVER_ASSIGNMENT_TYPE))?;
        Ok(Sar {
            private: text(message, &d::USER_NAME)?,
            publics: texts(message, &d::PUBLIC_IDENTITY)?,
            server: demanded(message, &d::SERVER_NAME)?,
            assignment: AssignmentType::read(assignment)?,
            has_profile: message.number(&d::USER_DATA_ALREADY_AVAILABLE)? == Some(1),
        })
    }
}

impl Saa {
    pub fn only(outcome: Outcome) -> Saa {
        Saa {
            outcome,
            private: None,
            profile: None,
            charging: None,
            server: None,
        }
    }

    fn avps(&self) -> Avps {
        let avps = put_text(Avps::new(), &d::USER_NAME, self.private.as_deref());
        let avps = put_profile(avps, self.profile.as_ref());
        let avps = put_charging(avps, self.charging.as_ref());
        put_text(avps, &d::SERVER_NAME, self.server.as_deref())
    }
}

impl Lir {
    fn avps(&self) -> Avps {
        let mut avps = Avps::new();
        if self.originating {
            avps = avps.number(&d::ORIGINATING_REQUEST, 0);
        }
        avps = avps.text(&d::PUBLIC_IDENTITY, &self.public);
        match self.authorization {
            Some(kind) => avps.number(&d::USER_AUTHORIZATION_TYPE, kind as u32),
            None => avps,
        }
    }

    fn read(message: &Message) -> Result<Lir, Malformed> {
        Ok(Lir {
            public: demanded(message, &d::PUBLIC_IDENTITY)?,
            originating: message.find(&d::ORIGINATING_REQUEST).is_some(),
            authorization: authorization(message)?,
        })
    }
}

impl Lia {
    pub fn only(outcome: Outcome) -> Lia {
        Lia {
            outcome,
            server: None,
            capabilities: None,
            psi_direct: false,
        }
    }

    fn avps(&self) -> Avps {
        let avps = put_text(Avps::new(), &d::SERVER_NAME, self.server.as_deref());
        let avps = put_capabilities(avps, self.capabilities.as_ref());
        if self.psi_direct {
            avps.number(&d::LIA_FLAGS, PSI_DIRECT)
        } else {
            avps
        }
    }
}

impl Mar {
    fn avps(&self) -> Avps {
        let mut item = Avps::new().text(&d::SIP_AUTHENTICATION_SCHEME, &self.scheme);
        if let Some(resync) = &self.resync {
            let octets = [&resync.rand[..], &resync.auts[..]].concat();
            item = item.octets(&d::SIP_AUTHORIZATION, &octets);
        }
        Avps::new()
            .text(&d::USER_NAME, &self.private)
            .text(&d::PUBLIC_IDENTITY, &self.public)
            .group(&d::SIP_AUTH_DATA_ITEM, item)
            .number(&d::SIP_NUMBER_AUTH_ITEMS, self.items)
            .text(&d::SERVER_NAME, &self.server)
    }

    fn read(message: &Message) -> Result<Mar, Malformed> {
        let item = message
            .find(&d::SIP_AUTH_DATA_ITEM)
            .ok_or_else(|| lacks(message, &d::SIP_AUTH_DATA_ITEM))?;
        let inside = item.group()?;
        let scheme = inside
            .text(&d::SIP_AUTHENTICATION_SCHEME)?
            .ok_or_else(|| item.wrong(d::SIP_AUTHENTICATION_SCHEME.name))?;
        Ok(Mar {
            private: demanded(message, &d::USER_NAME)?,
            public: demanded(message, &d::PUBLIC_IDENTITY)?,
            server: demanded(message, &d::SERVER_NAME)?,
            scheme: scheme.to_owned(),
            items: message.number(&d::SIP_NUMBER_AUTH_ITEMS)?.unwrap_or(1),
            resync: inside
                .find(&d::SIP_AUTHORIZATION)
                .map(Resync::read)
                .transpose()?,
        })
    }
}

impl Resync {
    fn read(avp: Avp<'_>) -> Result<Resync, Malformed> {
        let (rand, auts) = avp.data().split_at(avp.data().len().min(16));
        match (rand.try_into(), auts.try_into()) {
            (Ok(rand), Ok(auts)) => Ok(Resync { rand, auts }),
            _ => Err(avp.wrong("30 octets, RAND and AUTS,")),
        }
    }
}

impl Maa {
    pub fn only(outcome: Outcome) -> Maa {
        Maa {
            outcome,
            private: None,
            public: None,
            items: Vec::new(),
        }
    }

    fn avps(&self) -> Avps {
        let avps = put_text(Avps::new(), &d::USER_NAME, self.private.as_deref());
        let mut avps = put_text(avps, &d::PUBLIC_IDENTITY, self.public.as_deref());
        if !self.items.is_empty() {
            avps = avps.number(&d::SIP_NUMBER_AUTH_ITEMS, self.items.len() as u32);
        }
        self.items.iter().fold(avps, |avps, item| {
            avps.group(&d::SIP_AUTH_DATA_ITEM, item.avps())
        })
    }
}

impl AuthItem {
    fn avps(&self) -> Avps {
        match self {
            AuthItem::Aka(aka) => aka.avps(),
            AuthItem::Digest(digest) => Avps::new()
                .text(&d::SIP_AUTHENTICATION_SCHEME, SCHEME_DIGEST)
                .group(&d::SIP_DIGEST_AUTHENTICATE, digest.avps()),
        }
    }

    fn read(avp: Avp<'_>) -> Result<AuthItem, Malformed> {
        let item = avp.group()?;
        if let Some(digest) = item.find(&d::SIP_DIGEST_AUTHENTICATE) {
            return DigestItem::read(digest).map(AuthItem::Digest);
        }
        AkaItem::read(avp, &item).map(AuthItem::Aka)
    }
}

impl AkaItem {
    fn avps(&self) -> Avps {
        let mut avps = Avps::new();
        if let Some(number) = self.number {
            avps = avps.number(&d::SIP_ITEM_NUMBER, number);
        }
        let challenge = [self.rand, self.autn].concat();
        avps.text(&d::SIP_AUTHENTICATION_SCHEME, SCHEME_AKA)
            .octets(&d::SIP_AUTHENTICATE, &challenge)
            .octets(&d::SIP_AUTHORIZATION, &self.xres)
            .octets(&d::CONFIDENTIALITY_KEY, &self.confidentiality_key)
            .octets(&d::INTEGRITY_KEY, &self.integrity_key)
    }

    fn read(avp: Avp<'_>, item: &Group<'_>) -> Result<AkaItem, Malformed> {
        let octets = |attribute: &Attribute| {
            item.octets(attribute)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| avp.wrong(attribute.name))
        };
        let challenge = item
            .find(&d::SIP_AUTHENTICATE)
            .ok_or_else(|| avp.wrong(d::SIP_AUTHENTICATE.name))?;
        let (rand, autn) = challenge.data().split_at(challenge.data().len().min(16));
        let (Ok(rand), Ok(autn)) = (rand.try_into(), autn.try_into()) else {
            return Err(challenge.wrong("32 octets, RAND and AUTN,"));
        };
        Ok(AkaItem {
            number: item.number(&d::SIP_ITEM_NUMBER)?,
            rand,
            autn,
            xres: octets(&d::SIP_AUTHORIZATION)?,
            confidentiality_key: octets(&d::CONFIDENTIALITY_KEY)?,
            integrity_key: octets(&d::INTEGRITY_KEY)?,
        })
    }
}

impl DigestItem {
    fn avps(&self) -> Avps {
        let avps = Avps::new().text(&d::DIGEST_REALM, &self.realm);
        put_text(avps, &d::DIGEST_ALGORITHM, self.algorithm.as_deref())
            .text(&d::DIGEST_QOP, &self.qop)
            .text(&d::DIGEST_HA1, &self.ha1)
    }

    fn read(avp: Avp<'_>) -> Result<DigestItem, Malformed> {
        let inside = avp.group()?;
        let demanded = |attribute: &Attribute| {
            inside
                .text(attribute)?
                .map(str::to_owned)
                .ok_or_else(|| avp.wrong(attribute.name))
        };
        Ok(DigestItem {
            realm: demanded(&d::DIGEST_REALM)?,
            algorithm: inside.text(&d::DIGEST_ALGORITHM)?.map(str::to_owned),
            qop: demanded(&d::DIGEST_QOP)?,
            ha1: demanded(&d::DIGEST_HA1)?,
        })
    }
}

impl Rtr {
    fn avps(&self) -> Avps {
        let reason = Avps::new().number(&d::REASON_CODE, self.reason as u32);
        let reason = put_text(reason, &d::REASON_INFO, self.text.as_deref());
        let avps = Avps::new().text(&d::USER_NAME, &self.private);
        self.publics
            .iter()
            .fold(avps, |avps, public| avps.text(&d::PUBLIC_IDENTITY, public))
            .group(&d::DEREGISTRATION_REASON, reason)
    }

    fn read(message: &Message) -> Result<Rtr, Malformed> {
        let reason = message
            .find(&d::DEREGISTRATION_REASON)
            .ok_or_else(|| lacks(message, &d::DEREGISTRATION_REASON))?;
        let inside = reason.group()?;
        let code = inside
            .find(&d::REASON_CODE)
            .ok_or_else(|| reason.wrong(d::REASON_CODE.name))?;
        Ok(Rtr {
            private: demanded(message, &d::USER_NAME)?,
            publics: texts(message, &d::PUBLIC_IDENTITY)?,
            reason: DeregistrationReason::read(code)?,
            text: inside.text(&d::REASON_INFO)?.map(str::to_owned),
        })
    }
}

impl Ppr {
    fn avps(&self) -> Avps {
        let avps = Avps::new().text(&d::USER_NAME, &self.private);
        let avps = put_profile(avps, self.profile.as_ref());
        let avps = put_charging(avps, self.charging.as_ref());
        match &self.digest {
            Some(digest) => avps.group(
                &d::SIP_AUTH_DATA_ITEM,
                AuthItem::Digest(digest.clone()).avps(),
            ),
            None => avps,
        }
    }

    fn read(message: &Message) -> Result<Ppr, Malformed> {
        let digest = items(message)?.into_iter().find_map(|item| match item {
            AuthItem::Digest(digest) => Some(digest),
            AuthItem::Aka(_) => None,
        });
        Ok(Ppr {
            private: demanded(message, &d::USER_NAME)?,
            profile: profile(message)?,
            charging: charging(message)?,
            digest,
        })
    }
}

fn text(message: &Message, attribute: &Attribute) -> Result<Option<String>, Malformed> {
    Ok(message.text(attribute)?.map(str::to_owned))
}

fn texts(message: &Message, attribute: &Attribute) -> Result<Vec<String>, Malformed> {
    message
        .all(attribute)
        .map(|avp| avp.text().map(str::to_owned))
        .collect()
}

fn demanded(message: &Message, attribute: &Attribute) -> Result<String, Malformed> {
    text(message, attribute)?.ok_or_else(|| lacks(message, attribute))
}

fn lacks(message: &Message, attribute: &Attribute) -> Malformed {
    Malformed::new(message.bytes(), message.bytes().len(), attribute.name)
}

fn authorization(message: &Message) -> Result<Option<AuthorizationType>, Malformed> {
    message
        .find(&d::USER_AUTHORIZATION_TYPE)
        .map(AuthorizationType::read)
        .transpose()
}

fn items(message: &Message) -> Result<Vec<AuthItem>, Malformed> {
    message
        .all(&d::SIP_AUTH_DATA_ITEM)
        .map(AuthItem::read)
        .collect()
}

/// An error in the XML is located in the message.
fn profile(message: &Message) -> Result<Option<Profile>, Malformed> {
    let Some(avp) = message.find(&d::USER_DATA) else {
        return Ok(None);
    };
    Profile::from_xml(avp.data())
        .map(Some)
        .map_err(|error| Malformed {
            at: error.at + avp.at() + (avp.octets().len() - avp.data().len()),
            ..error
        })
}

fn capabilities(message: &Message) -> Result<Option<Capabilities>, Malformed> {
    let Some(avp) = message.find(&d::SERVER_CAPABILITIES) else {
        return Ok(None);
    };
    let inside = avp.group()?;
    let mut capabilities = Capabilities::default();
    for avp in inside.iter() {
        if avp.is(&d::MANDATORY_CAPABILITY) {
            capabilities.mandatory.push(avp.number()?);
        } else if avp.is(&d::OPTIONAL_CAPABILITY) {
            capabilities.optional.push(avp.number()?);
        } else if avp.is(&d::SERVER_NAME) {
            capabilities.servers.push(avp.text()?.to_owned());
        }
    }
    Ok(Some(capabilities))
}

fn charging(message: &Message) -> Result<Option<Charging>, Malformed> {
    let Some(avp) = message.find(&d::CHARGING_INFORMATION) else {
        return Ok(None);
    };
    let inside = avp.group()?;
    let text = |attribute: &Attribute| Ok(inside.text(attribute)?.map(str::to_owned));
    Ok(Some(Charging {
        primary_event: text(&d::PRIMARY_EVENT_CHARGING_FUNCTION_NAME)?,
        secondary_event: text(&d::SECONDARY_EVENT_CHARGING_FUNCTION_NAME)?,
        primary_collection: text(&d::PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME)?,
        secondary_collection: text(&d::SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME)?,
    }))
}

fn put_text(avps: Avps, attribute: &Attribute, text: Option<&str>) -> Avps {
    match text {
        Some(text) => avps.text(attribute, text),
        None => avps,
    }
}

fn put_profile(avps: Avps, profile: Option<&Profile>) -> Avps {
    match profile {
        Some(profile) => avps.text(&d::USER_DATA, &profile.to_xml()),
        None => avps,
    }
}

fn put_capabilities(avps: Avps, capabilities: Option<&Capabilities>) -> Avps {
    let Some(capabilities) = capabilities else {
        return avps;
    };
    let mut inside = Avps::new();
    for &number in &capabilities.mandatory {
        inside = inside.number(&d::MANDATORY_CAPABILITY, number);
    }
    for &number in &capabilities.optional {
        inside = inside.number(&d::OPTIONAL_CAPABILITY, number);
    }
    for server in &capabilities.servers {
        inside = inside.text(&d::SERVER_NAME, server);
    }
    avps.group(&d::SERVER_CAPABILITIES, inside)
}

fn put_charging(avps: Avps, charging: Option<&Charging>) -> Avps {
    let Some(charging) = charging else {
        return avps;
    };
    let names = [
        (
            &d::PRIMARY_EVENT_CHARGING_FUNCTION_NAME,
            &charging.primary_event,
        ),
        (
            &d::SECONDARY_EVENT_CHARGING_FUNCTION_NAME,
            &charging.secondary_event,
        ),
        (
            &d::PRIMARY_CHARGING_COLLECTION_FUNCTION_NAME,
            &charging.primary_collection,
        ),
        (
            &d::SECONDARY_CHARGING_COLLECTION_FUNCTION_NAME,
            &charging.secondary_collection,
        ),
    ];
    let inside = names
        .into_iter()
        .fold(Avps::new(), |inside, (attribute, name)| {
            put_text(inside, attribute, name.as_deref())
        });
    avps.group(&d::CHARGING_INFORMATION, inside)
}

/// Bit 0 of LIA-Flags (TS 29.229 6.3.59).
const PSI_DIRECT: u32 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::diameter::{Builder, Header};

    fn carried(request: &CxRequest) -> Message {
        let bytes = Builder::request(request.command(), 1, 2)
            .avps(request.avps())
            .finish();
        Message::parse(bytes).unwrap()
    }

    fn answered(command: &Command, answer: &CxAnswer) -> Result<CxAnswer, Malformed> {
        let header = Header {
            flags: Header::REQUEST,
            command: command.code,
            application: command.application,
            hop_by_hop: 1,
            end_to_end: 2,
        };
        let bytes = Builder::answer(&header)
            .avps(Avps::new().outcome(answer.outcome()))
            .avps(answer.avps())
            .finish();
        CxAnswer::read(command, &Message::parse(bytes).unwrap())
    }

    fn aka() -> AkaItem {
        AkaItem {
            number: Some(0),
            rand: [1; 16],
            autn: [2; 16],
            xres: vec![3; 8],
            confidentiality_key: vec![4; 16],
            integrity_key: vec![5; 16],
        }
    }

    fn word() -> impl Strategy<Value = String> {
        "[ -~]{0,20}"
    }

    fn charging() -> impl Strategy<Value = Charging> {
        prop::collection::vec(prop::option::of(word()), 4).prop_map(|names| Charging {
            primary_event: names[0].clone(),
            secondary_event: names[1].clone(),
            primary_collection: names[2].clone(),
            secondary_collection: names[3].clone(),
        })
    }

    fn digest() -> impl Strategy<Value = DigestItem> {
        (word(), prop::option::of(word()), word(), word()).prop_map(
            |(realm, algorithm, qop, ha1)| DigestItem {
                realm,
                algorithm,
                qop,
                ha1,
            },
        )
    }

    fn requests() -> impl Strategy<Value = CxRequest> {
        let authorization = prop::option::of(prop::sample::select(vec![
            AuthorizationType::Registration,
            AuthorizationType::DeRegistration,
            AuthorizationType::RegistrationAndCapabilities,
        ]));
        prop_oneof![
            (word(), word(), word(), authorization.clone()).prop_map(
                |(private, public, visited_network, authorization)| CxRequest::Uar(Uar {
                    private,
                    public,
                    visited_network,
                    authorization
                })
            ),
            (
                prop::option::of(word()),
                prop::collection::vec(word(), 0..3),
                word(),
                any::<bool>()
            )
                .prop_map(|(private, publics, server, has_profile)| {
                    CxRequest::Sar(Sar {
                        private,
                        publics,
                        server,
                        assignment: AssignmentType::UserDeregistration,
                        has_profile,
                    })
                }),
            (word(), any::<bool>(), authorization).prop_map(
                |(public, originating, authorization)| CxRequest::Lir(Lir {
                    public,
                    originating,
                    authorization
                })
            ),
            (word(), word(), word(), any::<u32>(), any::<bool>()).prop_map(
                |(private, public, scheme, items, resync)| CxRequest::Mar(Mar {
                    private,
                    public,
                    server: "sip:s".to_owned(),
                    scheme,
                    items,
                    resync: resync.then_some(Resync {
                        rand: [7; 16],
                        auts: [8; 14]
                    }),
                })
            ),
            (
                word(),
                prop::collection::vec(word(), 0..3),
                prop::option::of(word())
            )
                .prop_map(|(private, publics, text)| CxRequest::Rtr(Rtr {
                    private,
                    publics,
                    reason: DeregistrationReason::ServerChange,
                    text
                })),
            (
                word(),
                prop::option::of(charging()),
                prop::option::of(digest())
            )
                .prop_map(|(private, charging, digest)| CxRequest::Ppr(Ppr {
                    private,
                    profile: None,
                    charging,
                    digest
                })),
        ]
    }

    fn answers() -> impl Strategy<Value = (&'static Command, CxAnswer)> {
        let outcome = (any::<bool>(), 2001u32..5100).prop_map(|(base, code)| {
            if base {
                Outcome::Base(code)
            } else {
                experimental(code)
            }
        });
        let outcome = outcome.boxed();
        let capabilities = (
            prop::collection::vec(any::<u32>(), 0..3),
            prop::collection::vec(any::<u32>(), 0..3),
            prop::collection::vec(word(), 0..3),
        )
            .prop_map(|(mandatory, optional, servers)| Capabilities {
                mandatory,
                optional,
                servers,
            });
        let located = (
            outcome.clone(),
            prop::option::of(word()),
            prop::option::of(capabilities),
            any::<bool>(),
        )
            .boxed();
        prop_oneof![
            located
                .clone()
                .prop_map(|(outcome, server, capabilities, _)| {
                    let uaa = Uaa {
                        outcome,
                        server,
                        capabilities,
                    };
                    (&d::UAR, CxAnswer::Uaa(uaa))
                }),
            located.prop_map(|(outcome, server, capabilities, psi_direct)| {
                let lia = Lia {
                    outcome,
                    server,
                    capabilities,
                    psi_direct,
                };
                (&d::LIR, CxAnswer::Lia(lia))
            }),
            (
                outcome.clone(),
                prop::option::of(word()),
                prop::option::of(charging())
            )
                .prop_map(|(outcome, server, charging)| {
                    let profile = Profile {
                        private: "a".to_owned(),
                        services: Vec::new(),
                    };
                    let saa = Saa {
                        outcome,
                        private: Some("a".to_owned()),
                        profile: Some(profile),
                        charging,
                        server,
                    };
                    (&d::SAR, CxAnswer::Saa(saa))
                }),
            (outcome.clone(), digest()).prop_map(|(outcome, digest)| {
                let maa = Maa {
                    outcome,
                    private: None,
                    public: Some("sip:a".to_owned()),
                    items: vec![AuthItem::Digest(digest), AuthItem::Aka(aka())],
                };
                (&d::MAR, CxAnswer::Maa(maa))
            }),
            outcome
                .clone()
                .prop_map(|outcome| (&d::RTR, CxAnswer::Rta(Rta { outcome }))),
            outcome.prop_map(|outcome| (&d::PPR, CxAnswer::Ppa(Ppa { outcome }))),
        ]
    }

    proptest! {
        #[test]
        fn reading_a_request_undoes_writing(request in requests()) {
            prop_assert_eq!(Some(Ok(request.clone())), CxRequest::read(&carried(&request)));
        }

        #[test]
        fn reading_an_answer_undoes_writing((command, answer) in answers()) {
            prop_assert_eq!(Ok(answer.clone()), answered(command, &answer));
        }

        #[test]
        fn a_damaged_request_never_panics(request in requests(), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
            let mut bytes = carried(&request).bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = octet;
            if let Ok(message) = Message::parse(bytes.into()) {
                let _ = CxRequest::read(&message);
                let _ = CxAnswer::read(&d::SAR, &message);
            }
        }
    }

    #[test]
    fn an_undefined_assignment_type_is_located() {
        let bytes = Builder::request(&d::SAR, 1, 2)
            .avps(
                Avps::new()
                    .text(&d::SERVER_NAME, "s")
                    .number(&d::SERVER_ASSIGNMENT_TYPE, 99),
            )
            .finish();
        let message = Message::parse(bytes).unwrap();
        let error = CxRequest::read(&message).unwrap().unwrap_err();
        assert_eq!(20 + 16 + 12, error.at);
        assert_eq!(
            "a number that is defined in Server-Assignment-Type",
            error.expected
        );
    }

    #[test]
    fn an_error_in_a_profile_is_located_in_the_message() {
        let bytes = Builder::request(&d::PPR, 1, 2)
            .avps(
                Avps::new()
                    .text(&d::USER_NAME, "a")
                    .text(&d::USER_DATA, "<Other/>"),
            )
            .finish();
        let message = Message::parse(bytes.clone()).unwrap();
        let error = CxRequest::read(&message).unwrap().unwrap_err();
        assert_eq!("\"<Other/>\"", error.found);
        assert_eq!(b"<Other/>", &bytes[error.at..]);
    }

    #[test]
    fn a_short_challenge_is_refused() {
        let item = Avps::new()
            .text(&d::SIP_AUTHENTICATION_SCHEME, SCHEME_AKA)
            .octets(&d::SIP_AUTHENTICATE, &[0; 31]);
        let bytes = Builder::request(&d::MAR, 1, 2)
            .avps(Avps::new().group(&d::SIP_AUTH_DATA_ITEM, item))
            .finish();
        let message = Message::parse(bytes).unwrap();
        let error = items(&message).unwrap_err();
        assert!(error.expected.starts_with("32 octets"), "{error}");
    }
}
