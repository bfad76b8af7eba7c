//! Edge Server: registered in IMS it is a peer like any other (TR 23.844 6.2.1); not registered, it
//! serves whom its CDN Controller sends (6.2.2).

use super::{Node, Setup, cdn_cache::CdnCache, cdn_peer::CdnPeer};
use crate::spec::Architecture;

/// Builds the node its architecture asks for.
pub fn build(setup: Setup) -> Box<dyn Node> {
    if setup.architecture == Architecture::Registered
        && let Some(peer) = CdnPeer::new(&setup)
    {
        return Box::new(peer);
    }
    Box::new(CdnCache::new(setup))
}
