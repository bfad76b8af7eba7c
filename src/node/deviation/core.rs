//! What the nodes of the IMS core can do wrong, a file each: P-CSCF, I-CSCF, S-CSCF, HSS.

mod hss;
mod i_cscf;
mod p_cscf;
mod s_cscf;

pub(super) use hss::TABLE as HSS;
pub(super) use i_cscf::TABLE as I_CSCF;
pub(super) use p_cscf::TABLE as P_CSCF;
pub(super) use s_cscf::TABLE as S_CSCF;
