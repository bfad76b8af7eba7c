//! Origin Server: the content source. What tells it from an Edge Server is what it holds, that it
//! fetches from nobody, and that it may announce the manifest.

use super::{Node, Setup, edge_server};

/// Builds the node its architecture asks for.
pub fn build(setup: Setup) -> Box<dyn Node> {
    edge_server::build(setup)
}
