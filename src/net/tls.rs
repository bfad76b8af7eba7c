//! TLS on real sockets: a test authority made when the program starts, a certificate for each node, and what
//! the other end's certificate is worth. A server of ours takes any certificate and tells its node what it is
//! worth: the node decides. A client of ours ends the handshake if it does not trust what it is shown.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    spec::Worth,
    wire::frame::{Identity, NodeName},
};

/// What the TLS of a run is made from.
#[derive(Clone, Debug)]
pub struct Tls {
    papers: Papers,
    /// Nodes of ours that show a certificate as servers.
    servers: BTreeMap<NodeName, Card>,
}

/// What is in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Card {
    /// The node's name as it writes itself, which is also its identity.
    pub host: String,
    pub ip: IpAddr,
    pub worth: Worth,
}

/// Where certificates come from.
#[derive(Clone)]
enum Papers {
    /// The authority of this program.
    Issued(&'static Authority),
    /// Files that somebody else's authority wrote, by host.
    Given(Arc<Given>),
}

impl fmt::Debug for Papers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Papers::Issued(_) => "issued here",
            Papers::Given(_) => "given",
        })
    }
}

/// A certificate, its key, and the authority that others are held to; all as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

struct Given {
    roots: Arc<RootCertStore>,
    bundles: BTreeMap<String, Bundle>,
}

/// A certificate with those behind it, and its key.
type Bundle = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Two authorities, of which one is trusted.
struct Authority {
    trusted: CertifiedIssuer<'static, KeyPair>,
    stranger: CertifiedIssuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

/// What cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("a certificate cannot be made: {0}")]
    Issue(#[from] rcgen::Error),
    #[error("found {0}, expected a certificate, its key and an authority as PEM")]
    Pem(#[from] pem::Error),
    #[error("found what TLS cannot use: {0}")]
    Unusable(#[from] Error),
    #[error("certificates were issued already, and another authority cannot take over")]
    Late,
    #[error("found an authority that nobody can be held to: {0}")]
    Authority(#[from] rustls::client::VerifierBuilderError),
}

impl Tls {
    /// Certificates of the authority of this program.
    pub fn issued(servers: BTreeMap<NodeName, Card>) -> Result<Tls, TlsError> {
        Ok(Tls {
            papers: Papers::Issued(Authority::of_this_program()?),
            servers,
        })
    }

    /// The certificates of these files, by the host that shows them.
    pub fn given(
        pems: BTreeMap<String, Pem>,
        servers: BTreeMap<NodeName, Card>,
    ) -> Result<Tls, TlsError> {
        let mut roots = RootCertStore::empty();
        let mut bundles = BTreeMap::new();
        for (host, pem) in pems {
            for root in CertificateDer::pem_slice_iter(pem.authority.as_bytes()) {
                roots.add(root?)?;
            }
            let chain = CertificateDer::pem_slice_iter(pem.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes())?;
            bundles.insert(host, (chain.collect::<Result<_, _>>()?, key));
        }
        let given = Given {
            roots: Arc::new(roots),
            bundles,
        };
        let tls = Tls {
            papers: Papers::Given(Arc::new(given)),
            servers,
        };
        // What is wrong with the files is said now, not at the first connection.
        for server in tls.servers.keys() {
            tls.acceptor(server)?;
        }
        tls.connector(None, &[])?;
        Ok(tls)
    }

    /// Whether others have certificates of the same authority, so that they can be held to it.
    pub fn is_shared(&self) -> bool {
        matches!(self.papers, Papers::Given(_))
    }

    /// What accepts connections to a node.
    pub fn acceptor(&self, node: &NodeName) -> Result<TlsAcceptor, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(Anybody));
        let (chain, key) = self.show(self.servers.get(node))?;
        Ok(TlsAcceptor::from(Arc::new(
            builder.with_single_cert(chain, key)?,
        )))
    }

    /// What opens a connection, showing the certificate of `client` if it is given, to a server whose own is
    /// worth one of `trusts`.
    pub fn connector(
        &self,
        client: Option<(&Identity, IpAddr)>,
        trusts: &'static [Worth],
    ) -> Result<TlsConnector, TlsError> {
        let choosy = Choosy {
            inner: WebPkiServerVerifier::builder_with_provider(self.roots(), provider()).build()?,
            trusts,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(choosy));
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((identity, ip)) => {
                let (chain, key) = self.show(Some(&Card {
                    host: identity.name.to_string(),
                    ip,
                    worth: identity.worth,
                }))?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Who showed these certificates, if somebody did.
    pub fn shown(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<Identity> {
        let (own, others) = chain?.split_first()?;
        let parsed = webpki::EndEntityCert::try_from(own).ok()?;
        let name = parsed.valid_dns_names().next()?.into();
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider());
        let verified = verifier
            .build()
            .ok()?
            .verify_client_cert(own, others, UnixTime::now());
        let worth = worth(verified.map(|_| ()));
        Some(Identity { name, worth })
    }

    fn roots(&self) -> Arc<RootCertStore> {
        match &self.papers {
            Papers::Issued(authority) => authority.roots.clone(),
            Papers::Given(given) => given.roots.clone(),
        }
    }

    /// What whoever has this card shows.
    fn show(&self, card: Option<&Card>) -> Result<Bundle, TlsError> {
        let card = card.ok_or(Error::NoCertificatesPresented)?;
        match &self.papers {
            Papers::Given(given) => {
                let bundle = given.bundles.get(&card.host);
                let (chain, key) = bundle.ok_or(Error::NoCertificatesPresented)?;
                Ok((chain.clone(), key.clone_key()))
            }
            Papers::Issued(authority) => {
                let (certificate, key) = authority.issue(card)?;
                let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
                Ok((vec![certificate.der().clone()], key))
            }
        }
    }
}

/// A certificate for a guest, of the authority of this program.
pub fn for_guest(card: &Card) -> Result<Pem, TlsError> {
    let authority = Authority::of_this_program()?;
    let (certificate, key) = authority.issue(card)?;
    Ok(Pem {
        authority: authority.trusted.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// The authority of this program from now on: the one whose key this is, in PEM, or a new one. An error if it can no
/// longer be chosen, as certificates were issued.
pub fn choose_authority(key: Option<&str>) -> Result<(), TlsError> {
    let key = match key {
        Some(pem) => KeyPair::from_pem(pem)?,
        None => KeyPair::generate()?,
    };
    let made = Authority::with(key)?;
    AUTHORITY.set(made).map_err(|_| TlsError::Late)
}

/// The certificate of the authority of this program and its key, in PEM.
pub fn authority() -> Result<(String, String), TlsError> {
    let authority = Authority::of_this_program()?;
    let key = authority.trusted.key().serialize_pem();
    Ok((authority.trusted.pem(), key))
}

/// What opens connections to servers that this authority (PEM) vouches for.
pub fn held_to(authority: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(root?)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier.build()?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Whether a certificate in PEM is one of the authority of this program itself: it has its public key.
pub fn is_of_authority(pem: &str) -> Result<bool, TlsError> {
    let authority = Authority::of_this_program()?;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())?;
    let key = authority.trusted.key().public_key_raw();
    Ok(certificate.windows(key.len()).any(|part| part == key))
}

/// The name to hold a server to.
pub fn server_name(addr: SocketAddr) -> ServerName<'static> {
    ServerName::IpAddress(addr.ip().into())
}

static AUTHORITY: OnceLock<Authority> = OnceLock::new();

impl Authority {
    fn of_this_program() -> Result<&'static Authority, TlsError> {
        match AUTHORITY.get() {
            Some(made) => Ok(made),
            None => {
                let made = Authority::with(KeyPair::generate()?)?;
                Ok(AUTHORITY.get_or_init(|| made))
            }
        }
    }

    /// The authority of a key: it differs from another of the same key in nothing that anybody is held to.
    fn with(key: KeyPair) -> Result<Authority, TlsError> {
        let trusted = issuer("peerproof test authority", key)?;
        let stranger = issuer("an authority that nobody trusts", KeyPair::generate()?)?;
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der().clone())?;
        Ok(Authority {
            trusted,
            stranger,
            roots: Arc::new(roots),
        })
    }

    fn issue(&self, card: &Card) -> Result<(Certificate, KeyPair), TlsError> {
        let (host, ip) = match card.worth {
            Worth::Misnamed => ("somebody-else.example".to_owned(), ELSEWHERE),
            _ => (card.host.clone(), card.ip),
        };
        let mut params = CertificateParams::new(vec![host.clone(), ip.to_string()])?;
        params.distinguished_name.push(DnType::CommonName, host);
        if card.worth == Worth::Expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let issuer = match card.worth {
            Worth::Untrusted => &self.stranger,
            _ => &self.trusted,
        };
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, issuer)?, key))
    }
}

/// An address that no node has (RFC 5737).
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 254));

fn issuer(name: &str, key: KeyPair) -> Result<CertifiedIssuer<'static, KeyPair>, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, key)?)
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(ring::default_provider()))
        .clone()
}

/// What a certificate is worth that was verified so.
fn worth(verified: Result<(), Error>) -> Worth {
    match verified {
        Ok(()) => Worth::Good,
        Err(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Worth::Expired,
        Err(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Worth::Misnamed,
        Err(_) => Worth::Untrusted,
    }
}

/// Takes every client, with and without a certificate; whoever shows one has to hold its key.
#[derive(Debug)]
struct Anybody;

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Takes a server whose certificate is worth one of `trusts`.
#[derive(Debug)]
struct Choosy {
    inner: Arc<WebPkiServerVerifier>,
    trusts: &'static [Worth],
}

impl ServerCertVerifier for Choosy {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(own, others, name, ocsp, now);
        match verified {
            Err(error) if !self.trusts.contains(&worth(Err(error.clone()))) => Err(error),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
