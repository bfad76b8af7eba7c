//! The user profile that User-Data carries (TS 29.228 Annexes B and E): identities, and the initial
//! filter criteria that bring requests to application servers. Types, XML out, XML in. What a criterion
//! means for a request is the S-CSCF's business, save the joining of its conditions: [`TriggerPoint::holds`].

use std::fmt::Write;

use roxmltree::{Document, Node, ParsingOptions};

use crate::wire::Malformed;

/// IMSSubscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The private identity: `ue-a@private.ims.example`.
    pub private: String,
    pub services: Vec<ServiceProfile>,
}

/// A set of public identities and what is done for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceProfile {
    /// In order: the first that is not barred is the default one (TS 29.228 6.5.1.1).
    pub identities: Vec<PublicIdentity>,
    pub authorization: Option<ServiceAuthorization>,
    pub criteria: Vec<InitialFilterCriteria>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicIdentity {
    /// A SIP URI or tel URI.
    pub identity: String,
    /// May be registered, and used for nothing else (TS 29.228 B.2.1).
    pub barred: bool,
    /// 0 a distinct public user identity, 1 a distinct PSI, 2 to 4 as in TS 29.228 table E.1.
    pub identity_type: Option<u32>,
    pub display_name: Option<String>,
}

/// CoreNetworkServicesAuthorization: absent parts restrict nothing (TS 29.228 B.2.1A).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAuthorization {
    pub media_profile: Option<u32>,
    pub service_ids: Option<Vec<String>>,
}

/// When a request goes to an application server (TS 29.228 B.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialFilterCriteria {
    /// Lower is assessed first; no two are equal in one profile.
    pub priority: u32,
    /// `None`: always.
    pub trigger: Option<TriggerPoint>,
    pub server: ApplicationServer,
    pub part: Option<ProfilePart>,
}

/// Which part of the profile a criterion belongs to; without it, to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfilePart {
    Registered,
    Unregistered,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationServer {
    /// A SIP URI.
    pub name: String,
    /// What to do if it cannot be reached; absent: the call goes on (TS 23.218 6.4.1).
    pub default_handling: Option<DefaultHandling>,
    pub service_info: Option<String>,
    /// The third-party REGISTER carries the user's REGISTER in its body.
    pub include_register_request: bool,
    /// And the final response to it.
    pub include_register_response: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultHandling {
    SessionContinued,
    SessionTerminated,
}

/// A boolean expression in normal form (TS 29.228 Annex C).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerPoint {
    /// True: an AND of ORed groups. False: an OR of ANDed groups.
    pub conjunctive: bool,
    pub triggers: Vec<ServicePointTrigger>,
}

impl TriggerPoint {
    /// Whether the expression holds, given what holds of each trigger before its negation.
    pub fn holds(&self, mut is_met: impl FnMut(&ServicePointTrigger) -> bool) -> bool {
        let met: Vec<bool> = self
            .triggers
            .iter()
            .map(|trigger| is_met(trigger) != trigger.negated)
            .collect();
        let mut groups: Vec<u32> = self
            .triggers
            .iter()
            .flat_map(|trigger| trigger.groups.iter().copied())
            .collect();
        groups.sort_unstable();
        groups.dedup();
        let members = |group: u32| {
            self.triggers
                .iter()
                .zip(&met)
                .filter(move |(trigger, _)| trigger.groups.contains(&group))
                .map(|(_, &met)| met)
        };
        if self.conjunctive {
            groups.iter().all(|&group| members(group).any(|met| met))
        } else {
            groups.iter().any(|&group| members(group).all(|met| met))
        }
    }
}

/// SPT: one condition (TS 29.228 B.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePointTrigger {
    pub negated: bool,
    /// At least one.
    pub groups: Vec<u32>,
    pub condition: Condition,
    /// For REGISTER only; empty: every REGISTER.
    pub registration_types: Vec<RegistrationType>,
}

/// Contents are extended regular expressions (TS 29.228 Annex F).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Header {
        name: String,
        /// `None`: any content.
        content: Option<String>,
    },
    Method(String),
    RequestUri(String),
    SessionCase(SessionCase),
    SessionDescription {
        line: String,
        content: Option<String>,
    },
}

/// In the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionCase {
    Originating,
    TerminatingRegistered,
    TerminatingUnregistered,
    OriginatingUnregistered,
    OriginatingCdiv,
}

/// In the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationType {
    Initial,
    ReRegistration,
    DeRegistration,
}

impl Profile {
    /// Every public identity, in order.
    pub fn identities(&self) -> impl Iterator<Item = &PublicIdentity> {
        self.services
            .iter()
            .flat_map(|service| service.identities.iter())
    }

    /// The service profile of a public identity.
    pub fn service(&self, identity: &str) -> Option<&ServiceProfile> {
        self.services.iter().find(|service| {
            service
                .identities
                .iter()
                .any(|public| public.identity == identity)
        })
    }

    /// The default public identity: the first that is not barred (TS 29.228 6.5.1.1).
    pub fn default_identity(&self) -> Option<&str> {
        self.identities()
            .find(|public| !public.barred)
            .map(|public| public.identity.as_str())
    }

    /// The document, elements in the order of TS 29.228 table E.2.
    pub fn to_xml(&self) -> String {
        let mut xml = Xml::default();
        xml.text
            .push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        xml.within("IMSSubscription", |xml| {
            xml.leaf("PrivateID", &self.private);
            for service in &self.services {
                xml.within("ServiceProfile", |xml| service.write(xml));
            }
        });
        xml.text
    }

    /// Reads a document. Elements it does not know are passed over, in whatever order they stand.
    pub fn from_xml(octets: &[u8]) -> Result<Profile, Malformed> {
        let text = std::str::from_utf8(octets)
            .map_err(|error| Malformed::new(octets, error.valid_up_to(), "UTF-8"))?;
        let options = ParsingOptions {
            allow_dtd: false,
            nodes_limit: NODES,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(text, options).map_err(|error| {
            let at = offset(text, error.pos());
            Malformed::new(octets, at, format!("a user profile in XML ({error})"))
        })?;
        let root = document.root_element();
        if root.tag_name().name() != "IMSSubscription" {
            return Err(Malformed::new(
                octets,
                root.range().start,
                "IMSSubscription",
            ));
        }
        let root = Element { node: root, octets };
        Ok(Profile {
            private: root.text("PrivateID")?,
            services: root
                .children("ServiceProfile")
                .map(ServiceProfile::read)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl ServiceProfile {
    fn write(&self, xml: &mut Xml) {
        for public in &self.identities {
            xml.within("PublicIdentity", |xml| public.write(xml));
        }
        if let Some(authorization) = &self.authorization {
            xml.within("CoreNetworkServicesAuthorization", |xml| {
                authorization.write(xml);
            });
        }
        for criterion in &self.criteria {
            xml.within("InitialFilterCriteria", |xml| criterion.write(xml));
        }
    }

    fn read(element: Element<'_, '_>) -> Result<ServiceProfile, Malformed> {
        Ok(ServiceProfile {
            identities: element
                .children("PublicIdentity")
                .map(PublicIdentity::read)
                .collect::<Result<_, _>>()?,
            authorization: element
                .child("CoreNetworkServicesAuthorization")
                .map(ServiceAuthorization::read)
                .transpose()?,
            criteria: element
                .children("InitialFilterCriteria")
                .map(InitialFilterCriteria::read)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl PublicIdentity {
    fn write(&self, xml: &mut Xml) {
        if self.barred {
            xml.leaf("BarringIndication", "1");
        }
        xml.leaf("Identity", &self.identity);
        if self.identity_type.is_none() && self.display_name.is_none() {
            return;
        }
        xml.within("Extension", |xml| {
            xml.number("IdentityType", self.identity_type);
            if let Some(name) = &self.display_name {
                xml.within("Extension", |xml| xml.leaf("DisplayName", name));
            }
        });
    }

    fn read(element: Element<'_, '_>) -> Result<PublicIdentity, Malformed> {
        let extension = element.child("Extension");
        let second = extension.and_then(|extension| extension.child("Extension"));
        Ok(PublicIdentity {
            identity: element.text("Identity")?,
            barred: element.flag("BarringIndication")?.unwrap_or(false),
            identity_type: extension
                .map_or(Ok(None), |extension| extension.number("IdentityType"))?,
            display_name: second.and_then(|second| second.maybe_text("DisplayName")),
        })
    }
}

impl ServiceAuthorization {
    fn write(&self, xml: &mut Xml) {
        xml.number("SubscribedMediaProfileId", self.media_profile);
        if let Some(ids) = &self.service_ids {
            xml.within("Extension", |xml| {
                xml.within("ListOfServiceIds", |xml| {
                    for id in ids {
                        xml.leaf("ServiceId", id);
                    }
                });
            });
        }
    }

    fn read(element: Element<'_, '_>) -> Result<ServiceAuthorization, Malformed> {
        let list = element
            .child("Extension")
            .and_then(|extension| extension.child("ListOfServiceIds"));
        Ok(ServiceAuthorization {
            media_profile: element.number("SubscribedMediaProfileId")?,
            service_ids: list
                .map(|list| list.children("ServiceId").map(|id| id.own_text()).collect()),
        })
    }
}

impl InitialFilterCriteria {
    fn write(&self, xml: &mut Xml) {
        xml.number("Priority", Some(self.priority));
        if let Some(trigger) = &self.trigger {
            xml.within("TriggerPoint", |xml| {
                xml.number("ConditionTypeCNF", Some(u32::from(trigger.conjunctive)));
                for trigger in &trigger.triggers {
                    xml.within("SPT", |xml| trigger.write(xml));
                }
            });
        }
        xml.within("ApplicationServer", |xml| self.server.write(xml));
        xml.number("ProfilePartIndicator", self.part.map(|part| part as u32));
    }

    fn read(element: Element<'_, '_>) -> Result<InitialFilterCriteria, Malformed> {
        let server = element
            .child("ApplicationServer")
            .ok_or_else(|| element.lacks("ApplicationServer"))?;
        Ok(InitialFilterCriteria {
            priority: element
                .number("Priority")?
                .ok_or_else(|| element.lacks("Priority"))?,
            trigger: element
                .child("TriggerPoint")
                .map(TriggerPoint::read)
                .transpose()?,
            server: ApplicationServer::read(server)?,
            part: element.one_of(
                "ProfilePartIndicator",
                &[ProfilePart::Registered, ProfilePart::Unregistered],
            )?,
        })
    }
}

impl ApplicationServer {
    fn write(&self, xml: &mut Xml) {
        xml.leaf("ServerName", &self.name);
        let handling = self.default_handling.map(|handling| handling as u32);
        xml.number("DefaultHandling", handling);
        if let Some(information) = &self.service_info {
            xml.leaf("ServiceInfo", information);
        }
        if !self.include_register_request && !self.include_register_response {
            return;
        }
        xml.within("Extension", |xml| {
            if self.include_register_request {
                xml.text.push_str("<IncludeRegisterRequest/>");
            }
            if self.include_register_response {
                xml.text.push_str("<IncludeRegisterResponse/>");
            }
        });
    }

    fn read(element: Element<'_, '_>) -> Result<ApplicationServer, Malformed> {
        let extended = |name| {
            element
                .child("Extension")
                .is_some_and(|extension| extension.child(name).is_some())
        };
        Ok(ApplicationServer {
            name: element.text("ServerName")?,
            default_handling: element.one_of(
                "DefaultHandling",
                &[
                    DefaultHandling::SessionContinued,
                    DefaultHandling::SessionTerminated,
                ],
            )?,
            service_info: element.maybe_text("ServiceInfo"),
            include_register_request: extended("IncludeRegisterRequest"),
            include_register_response: extended("IncludeRegisterResponse"),
        })
    }
}

impl TriggerPoint {
    fn read(element: Element<'_, '_>) -> Result<TriggerPoint, Malformed> {
        Ok(TriggerPoint {
            conjunctive: element
                .flag("ConditionTypeCNF")?
                .ok_or_else(|| element.lacks("ConditionTypeCNF"))?,
            triggers: element
                .children("SPT")
                .map(ServicePointTrigger::read)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl ServicePointTrigger {
    fn write(&self, xml: &mut Xml) {
        xml.number("ConditionNegated", Some(u32::from(self.negated)));
        for &group in &self.groups {
            xml.number("Group", Some(group));
        }
        match &self.condition {
            Condition::Header { name, content } => xml.within("SIPHeader", |xml| {
                xml.leaf("Header", name);
                if let Some(content) = content {
                    xml.leaf("Content", content);
                }
            }),
            Condition::Method(method) => xml.leaf("Method", method),
            Condition::RequestUri(uri) => xml.leaf("RequestURI", uri),
            Condition::SessionCase(case) => xml.number("SessionCase", Some(*case as u32)),
            Condition::SessionDescription { line, content } => {
                xml.within("SessionDescription", |xml| {
                    xml.leaf("Line", line);
                    if let Some(content) = content {
                        xml.leaf("Content", content);
                    }
                });
            }
        }
        if self.registration_types.is_empty() {
            return;
        }
        xml.within("Extension", |xml| {
            for &kind in &self.registration_types {
                xml.number("RegistrationType", Some(kind as u32));
            }
        });
    }

    fn read(element: Element<'_, '_>) -> Result<ServicePointTrigger, Malformed> {
        let groups = element
            .children("Group")
            .map(|group| group.own_number())
            .collect::<Result<Vec<_>, _>>()?;
        if groups.is_empty() {
            return Err(element.lacks("Group"));
        }
        let types = element
            .child("Extension")
            .into_iter()
            .flat_map(|extension| extension.children("RegistrationType"))
            .map(|kind| kind.own_choice(&REGISTRATION_TYPES))
            .collect::<Result<_, _>>()?;
        Ok(ServicePointTrigger {
            negated: element.flag("ConditionNegated")?.unwrap_or(false),
            groups,
            condition: Condition::read(element)?,
            registration_types: types,
        })
    }
}

impl Condition {
    fn read(element: Element<'_, '_>) -> Result<Condition, Malformed> {
        if let Some(method) = element.maybe_text("Method") {
            return Ok(Condition::Method(method));
        }
        if let Some(uri) = element.maybe_text("RequestURI") {
            return Ok(Condition::RequestUri(uri));
        }
        if let Some(case) = element.one_of("SessionCase", &SESSION_CASES)? {
            return Ok(Condition::SessionCase(case));
        }
        if let Some(header) = element.child("SIPHeader") {
            return Ok(Condition::Header {
                name: header.text("Header")?,
                content: header.maybe_text("Content"),
            });
        }
        if let Some(description) = element.child("SessionDescription") {
            return Ok(Condition::SessionDescription {
                line: description.text("Line")?,
                content: description.maybe_text("Content"),
            });
        }
        Err(element.lacks("Method, RequestURI, SIPHeader, SessionCase or SessionDescription"))
    }
}

/// An element being read, with the document for error messages.
#[derive(Clone, Copy)]
struct Element<'a, 'input> {
    node: Node<'a, 'input>,
    octets: &'a [u8],
}

impl<'a, 'input> Element<'a, 'input> {
    fn children(self, name: &str) -> impl Iterator<Item = Element<'a, 'input>> {
        self.node
            .children()
            .filter(move |child| child.is_element() && child.tag_name().name() == name)
            .map(move |node| Element { node, ..self })
    }

    fn child(self, name: &str) -> Option<Element<'a, 'input>> {
        self.children(name).next()
    }

    /// The text inside, without white space around it.
    fn own_text(self) -> String {
        let text: String = self
            .node
            .children()
            .filter_map(|child| child.is_text().then(|| child.text()).flatten())
            .collect();
        text.trim().to_owned()
    }

    fn own_number(self) -> Result<u32, Malformed> {
        self.own_text().parse().map_err(|_| self.wrong("a number"))
    }

    fn own_choice<T: Copy>(self, choices: &[T]) -> Result<T, Malformed> {
        let number = self.own_number()? as usize;
        choices.get(number).copied().ok_or_else(|| {
            let expected = format!("a number up to {}", choices.len() - 1);
            self.wrong(&expected)
        })
    }

    fn maybe_text(self, name: &str) -> Option<String> {
        self.child(name).map(Element::own_text)
    }

    fn text(self, name: &str) -> Result<String, Malformed> {
        self.maybe_text(name).ok_or_else(|| self.lacks(name))
    }

    fn number(self, name: &str) -> Result<Option<u32>, Malformed> {
        self.child(name).map(Element::own_number).transpose()
    }

    fn one_of<T: Copy>(self, name: &str, choices: &[T]) -> Result<Option<T>, Malformed> {
        self.child(name)
            .map(|child| child.own_choice(choices))
            .transpose()
    }

    /// A boolean of XML Schema: `0`, `1`, `false` or `true`.
    fn flag(self, name: &str) -> Result<Option<bool>, Malformed> {
        let Some(child) = self.child(name) else {
            return Ok(None);
        };
        match child.own_text().as_str() {
            "0" | "false" => Ok(Some(false)),
            "1" | "true" => Ok(Some(true)),
            _ => Err(child.wrong("0, 1, false or true")),
        }
    }

    fn wrong(self, expected: &str) -> Malformed {
        let expected = format!("{expected} in {}", self.node.tag_name().name());
        Malformed::new(self.octets, self.node.range().start, expected)
    }

    fn lacks(self, name: &str) -> Malformed {
        self.wrong(name)
    }
}

/// Writes elements.
#[derive(Default)]
struct Xml {
    text: String,
}

impl Xml {
    fn within(&mut self, name: &str, inside: impl FnOnce(&mut Xml)) {
        let _ = write!(self.text, "<{name}>");
        inside(self);
        let _ = write!(self.text, "</{name}>");
    }

    fn leaf(&mut self, name: &str, text: &str) {
        self.within(name, |xml| xml.escaped(text));
    }

    fn number(&mut self, name: &str, number: Option<u32>) {
        if let Some(number) = number {
            self.leaf(name, &number.to_string());
        }
    }

    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\'' => self.text.push_str("&apos;"),
                _ => self.text.push(c),
            }
        }
    }
}

/// The offset in octets of a row and column, both from 1.
fn offset(text: &str, position: roxmltree::TextPos) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(position.row.saturating_sub(1) as usize)
        .map(str::len)
        .sum();
    let line = &text[before.min(text.len())..];
    let within: usize = line
        .chars()
        .take(position.col.saturating_sub(1) as usize)
        .map(char::len_utf8)
        .sum();
    before + within
}

const SESSION_CASES: [SessionCase; 5] = [
    SessionCase::Originating,
    SessionCase::TerminatingRegistered,
    SessionCase::TerminatingUnregistered,
    SessionCase::OriginatingUnregistered,
    SessionCase::OriginatingCdiv,
];
const REGISTRATION_TYPES: [RegistrationType; 3] = [
    RegistrationType::Initial,
    RegistrationType::ReRegistration,
    RegistrationType::DeRegistration,
];
/// A profile with more nodes than this is refused.
const NODES: u32 = 100_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spt(condition: Condition, groups: &[u32]) -> ServicePointTrigger {
        ServicePointTrigger {
            negated: false,
            groups: groups.to_vec(),
            condition,
            registration_types: Vec::new(),
        }
    }

    fn method(method: &str, groups: &[u32]) -> ServicePointTrigger {
        spt(Condition::Method(method.to_owned()), groups)
    }

    /// The example of TS 29.228 Annex C, shortened to one criterion.
    #[test]
    fn the_shape_of_annex_c_is_read() {
        let xml = br#"<?xml version="1.0" encoding="UTF-8"?>
            <IMSSubscription xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="CxDataType.xsd">
            <PrivateID>IMPI1@homedomain.com</PrivateID>
            <ServiceProfile>
              <PublicIdentity><BarringIndication>1</BarringIndication><Identity> sip:IMPU1@homedomain.com </Identity></PublicIdentity>
              <PublicIdentity><Identity> sip:IMPU2@homedomain.com </Identity></PublicIdentity>
              <InitialFilterCriteria><Priority>0</Priority>
                <TriggerPoint><ConditionTypeCNF>1</ConditionTypeCNF>
                  <SPT><ConditionNegated>0</ConditionNegated><Group>0</Group><Method>INVITE</Method></SPT>
                  <SPT><ConditionNegated>1</ConditionNegated><Group>1</Group>
                    <SIPHeader><Header>From</Header><Content>"joe"</Content></SIPHeader></SPT>
                </TriggerPoint>
                <ApplicationServer><ServerName>sip:AS1@homedomain.com</ServerName><DefaultHandling>0</DefaultHandling></ApplicationServer>
              </InitialFilterCriteria>
            </ServiceProfile></IMSSubscription>"#;
        let profile = Profile::from_xml(xml).unwrap();
        assert_eq!("IMPI1@homedomain.com", profile.private);
        assert_eq!(Some("sip:IMPU2@homedomain.com"), profile.default_identity());
        let service = profile.service("sip:IMPU1@homedomain.com").unwrap();
        let criterion = &service.criteria[0];
        assert_eq!("sip:AS1@homedomain.com", criterion.server.name);
        assert_eq!(
            Some(DefaultHandling::SessionContinued),
            criterion.server.default_handling
        );
        let trigger = criterion.trigger.as_ref().unwrap();
        let from_joe = |is_joe: bool| {
            trigger.holds(|spt| match &spt.condition {
                Condition::Method(method) => method == "INVITE",
                _ => is_joe,
            })
        };
        assert!(from_joe(false));
        assert!(!from_joe(true));
    }

    #[test]
    fn groups_are_joined_by_the_normal_form() {
        let triggers = vec![method("A", &[0]), method("B", &[0, 1]), method("C", &[1])];
        let holds = |conjunctive, true_ones: &str| {
            let trigger = TriggerPoint {
                conjunctive,
                triggers: triggers.clone(),
            };
            trigger.holds(|spt| match &spt.condition {
                Condition::Method(name) => true_ones.contains(name.as_str()),
                _ => false,
            })
        };
        assert!(holds(true, "B") && holds(true, "AC"));
        assert!(!holds(true, "A") && !holds(true, "C"));
        assert!(holds(false, "AB") && holds(false, "BC"));
        assert!(!holds(false, "AC") && !holds(false, "B"));
    }

    #[test]
    fn text_is_escaped() {
        let profile = Profile {
            private: "a&b<c>\"'".to_owned(),
            services: Vec::new(),
        };
        assert!(
            profile
                .to_xml()
                .contains("<PrivateID>a&amp;b&lt;c&gt;&quot;&apos;</PrivateID>")
        );
    }

    #[test]
    fn a_missing_priority_is_located() {
        let xml =
            b"<IMSSubscription><PrivateID>a</PrivateID><ServiceProfile><InitialFilterCriteria>\
            <ApplicationServer><ServerName>sip:x</ServerName></ApplicationServer>\
            </InitialFilterCriteria></ServiceProfile></IMSSubscription>";
        let error = Profile::from_xml(xml).unwrap_err();
        assert_eq!("Priority in InitialFilterCriteria", error.expected);
        assert!(error.found.starts_with("\"<InitialFilterCriteria>"));
    }

    #[test]
    fn broken_xml_is_located() {
        let error = Profile::from_xml(b"<IMSSubscription>\n<PrivateID></X>").unwrap_err();
        assert_eq!("\"</X>\"", error.found);
    }

    fn word() -> impl Strategy<Value = String> {
        "[a-z&<>\"'^$();.*]{1,12}"
    }

    fn trigger() -> impl Strategy<Value = ServicePointTrigger> {
        let condition = prop_oneof![
            word().prop_map(Condition::Method),
            word().prop_map(Condition::RequestUri),
            (word(), prop::option::of(word()))
                .prop_map(|(name, content)| Condition::Header { name, content }),
            prop::sample::select(&SESSION_CASES[..]).prop_map(Condition::SessionCase),
            (word(), prop::option::of(word()))
                .prop_map(|(line, content)| Condition::SessionDescription { line, content }),
        ];
        (
            any::<bool>(),
            prop::collection::vec(0u32..9, 1..3),
            condition,
            prop::collection::vec(prop::sample::select(&REGISTRATION_TYPES[..]), 0..3),
        )
            .prop_map(|(negated, groups, condition, registration_types)| {
                ServicePointTrigger {
                    negated,
                    groups,
                    condition,
                    registration_types,
                }
            })
    }

    fn criterion() -> impl Strategy<Value = InitialFilterCriteria> {
        let point = (any::<bool>(), prop::collection::vec(trigger(), 1..4)).prop_map(
            |(conjunctive, triggers)| TriggerPoint {
                conjunctive,
                triggers,
            },
        );
        (
            any::<u32>(),
            prop::option::of(point),
            word(),
            prop::option::of(word()),
            any::<[bool; 4]>(),
        )
            .prop_map(|(priority, trigger, name, service_info, flags)| {
                InitialFilterCriteria {
                    priority,
                    trigger,
                    server: ApplicationServer {
                        name,
                        default_handling: flags[0].then_some(DefaultHandling::SessionTerminated),
                        service_info,
                        include_register_request: flags[1],
                        include_register_response: flags[2],
                    },
                    part: flags[3].then_some(ProfilePart::Unregistered),
                }
            })
    }

    fn profile() -> impl Strategy<Value = Profile> {
        let identity = (
            word(),
            any::<bool>(),
            prop::option::of(0u32..5),
            prop::option::of(word()),
        )
            .prop_map(
                |(identity, barred, identity_type, display_name)| PublicIdentity {
                    identity,
                    barred,
                    identity_type,
                    display_name,
                },
            );
        let authorization = (
            prop::option::of(any::<u32>()),
            prop::option::of(prop::collection::vec(word(), 0..3)),
        )
            .prop_map(|(media_profile, service_ids)| ServiceAuthorization {
                media_profile,
                service_ids,
            });
        let service = (
            prop::collection::vec(identity, 1..3),
            prop::option::of(authorization),
            prop::collection::vec(criterion(), 0..3),
        )
            .prop_map(|(identities, authorization, criteria)| ServiceProfile {
                identities,
                authorization,
                criteria,
            });
        (word(), prop::collection::vec(service, 0..3))
            .prop_map(|(private, services)| Profile { private, services })
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(profile in profile()) {
            let read = Profile::from_xml(profile.to_xml().as_bytes());
            prop_assert_eq!(Ok(profile), read);
        }

        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Profile::from_xml(&octets);
        }

        #[test]
        fn a_damaged_profile_never_panics(profile in profile(), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
            let mut octets = profile.to_xml().into_bytes();
            let at = at.index(octets.len());
            octets[at] = octet;
            let _ = Profile::from_xml(&octets);
        }
    }
}
