//! What the nodes of the IMS core can do wrong: P-CSCF, I-CSCF, S-CSCF, HSS.

pub(super) mod hss;
pub(super) mod i_cscf;
pub(super) mod p_cscf;
pub(super) mod s_cscf;
