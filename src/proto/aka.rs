//! AKAv1-MD5 (RFC 3310) with Milenage (TS 35.206): vectors at the HSS, answers at the UE. Sequence
//! numbers are the caller's to keep; nothing here is stored but a USIM's last one.

use base64::{Engine, engine::general_purpose::STANDARD};
use milenage::Milenage;

/// The key and operator code of one subscription, shared by HSS and USIM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub k: [u8; 16],
    pub opc: [u8; 16],
}

/// An authentication vector as the HSS gives it to the S-CSCF (TS 33.203 6.1.1, TS 33.102 6.3.2, the
/// latter clause not verified).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    pub rand: [u8; 16],
    pub autn: [u8; 16],
    pub xres: [u8; 8],
    pub ck: [u8; 16],
    pub ik: [u8; 16],
}

/// A sequence number: 48 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sqn(u64);

/// What a USIM makes of a challenge (RFC 3310 3.3, 3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The network is genuine: RES is the digest's password.
    Response {
        res: [u8; 8],
        ck: [u8; 16],
        ik: [u8; 16],
    },
    /// The sequence number is out of range: AUTS tells the HSS ours.
    Resynchronise { auts: [u8; 14] },
    /// The challenge does not come from somebody who knows K.
    Rejected,
}

/// The user's side: keys and the highest sequence number accepted.
#[derive(Clone, Debug)]
pub struct Usim {
    keys: Keys,
    sqn: Sqn,
}

impl Sqn {
    /// The low 48 bits of `number`.
    pub fn new(number: u64) -> Sqn {
        Sqn(number & 0xffff_ffff_ffff)
    }

    pub fn number(self) -> u64 {
        self.0
    }

    /// The one after; wraps at 2⁴⁸.
    pub fn next(self) -> Sqn {
        Sqn::new(self.0 + 1)
    }

    fn octets(self) -> [u8; 6] {
        let [_, _, rest @ ..] = self.0.to_be_bytes();
        rest
    }

    fn from_octets(octets: [u8; 6]) -> Sqn {
        let [a, b, c, d, e, f] = octets;
        Sqn(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

impl Keys {
    /// The HSS's side: a vector for a fresh RAND.
    pub fn vector(&self, rand: [u8; 16], sqn: Sqn, amf: [u8; 2]) -> Vector {
        let mut milenage = self.milenage();
        let mac = milenage.f1(&rand, &sqn.octets(), &amf);
        let (xres, ck, ik, ak) = milenage.f2345(&rand);
        let mut autn = [0; 16];
        autn[..6].copy_from_slice(&xor(sqn.octets(), ak));
        autn[6..8].copy_from_slice(&amf);
        autn[8..].copy_from_slice(&mac);
        Vector {
            rand,
            autn,
            xres,
            ck,
            ik,
        }
    }

    /// The HSS's side: the USIM's sequence number out of AUTS, or `None` if it was not made with our
    /// keys for this RAND (TS 33.203 6.1.3).
    pub fn resynchronise(&self, rand: &[u8; 16], auts: &[u8; 14]) -> Option<Sqn> {
        let mut milenage = self.milenage();
        let (concealed, mac) = auts.split_first_chunk::<6>()?;
        let sqn = xor(*concealed, milenage.f5star(rand));
        (milenage.f1star(rand, &sqn, &RESYNC_AMF) == mac).then(|| Sqn::from_octets(sqn))
    }

    fn milenage(&self) -> Milenage {
        Milenage::new_with_opc(self.k, self.opc)
    }
}

impl Usim {
    /// `sqn` is the highest sequence number accepted so far.
    pub fn new(keys: Keys, sqn: Sqn) -> Usim {
        Usim { keys, sqn }
    }

    /// Checks who challenges and when, and answers.
    pub fn answer(&mut self, rand: &[u8; 16], autn: &[u8; 16]) -> Answer {
        let mut milenage = self.keys.milenage();
        let (res, ck, ik, ak) = milenage.f2345(rand);
        let [c0, c1, c2, c3, c4, c5, a0, a1, mac @ ..] = *autn;
        let sqn = xor([c0, c1, c2, c3, c4, c5], ak);
        if milenage.f1(rand, &sqn, &[a0, a1]) != mac {
            return Answer::Rejected;
        }
        let sqn = Sqn::from_octets(sqn);
        if sqn <= self.sqn || sqn.0 - self.sqn.0 > LARGEST_STEP {
            return Answer::Resynchronise {
                auts: self.auts(rand),
            };
        }
        self.sqn = sqn;
        Answer::Response { res, ck, ik }
    }

    /// RES for a RAND, whoever made the challenge.
    pub fn res(&self, rand: &[u8; 16]) -> [u8; 8] {
        self.keys.milenage().f2345(rand).0
    }

    fn auts(&self, rand: &[u8; 16]) -> [u8; 14] {
        let mut milenage = self.keys.milenage();
        let sqn = self.sqn.octets();
        let mut auts = [0; 14];
        auts[..6].copy_from_slice(&xor(sqn, milenage.f5star(rand)));
        auts[6..].copy_from_slice(&milenage.f1star(rand, &sqn, &RESYNC_AMF));
        auts
    }
}

impl Vector {
    /// The nonce of the challenge: RAND and AUTN in base64 (RFC 3310 3.2).
    pub fn nonce(&self) -> String {
        STANDARD.encode([self.rand, self.autn].concat())
    }
}

/// RAND and AUTN out of a nonce; data after them is the server's own (RFC 3310 3.2).
pub fn read_nonce(nonce: &str) -> Option<([u8; 16], [u8; 16])> {
    let octets = STANDARD.decode(nonce).ok()?;
    let (rand, rest) = octets.split_first_chunk()?;
    let (autn, _) = rest.split_first_chunk()?;
    Some((*rand, *autn))
}

/// AUTS as the `auts` parameter carries it (RFC 3310 3.4).
pub fn write_auts(auts: &[u8; 14]) -> String {
    STANDARD.encode(auts)
}

pub fn read_auts(text: &str) -> Option<[u8; 14]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn xor(a: [u8; 6], b: [u8; 6]) -> [u8; 6] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// The AMF that AUTS is computed with (TS 33.102 6.3.3, clause not verified).
const RESYNC_AMF: [u8; 2] = [0, 0];

/// The largest jump of the sequence number a USIM accepts: 2²⁸ (TS 33.102 C.2.1, clause not verified).
const LARGEST_STEP: u64 = 1 << 28;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        proto::digest::{Algorithm, Secret, Server, Session, Stale, Verdict},
        random::Random,
        time::At,
    };

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    /// K and OPc of TS 35.208 test set 1.
    fn keys() -> Keys {
        Keys {
            k: octets("465b5ce8b199b49faa5f0a2ee238a6bc"),
            opc: octets("cd63cb71954a9f4e48a5994e37a02baf"),
        }
    }

    const RAND: &str = "23553cbe9637a89d218ae64dae47bf35";
    const SQN: u64 = 0xff9b_b4d0_b607;

    /// TS 35.208 test set 1: f1 to f5, joined to AUTN by hand.
    #[test]
    fn the_vector_is_that_of_test_set_1() {
        let vector = keys().vector(octets(RAND), Sqn::new(SQN), [0xb9, 0xb9]);

        assert_eq!(octets("a54211d5e3ba50bf"), vector.xres);
        assert_eq!(octets("b40ba9a3c58b2a05bbf0d987b21bf8cb"), vector.ck);
        assert_eq!(octets("f769bcd751044604127672711c6d3441"), vector.ik);
        // SQN ff9bb4d0b607 xor AK aa689c648370, AMF, MAC-A.
        assert_eq!(octets("55f328b43577b9b94a9ffac354dfafb3"), vector.autn);
    }

    #[test]
    fn a_usim_answers_with_what_the_network_expects() {
        let vector = keys().vector(octets(RAND), Sqn::new(SQN), [0, 0]);
        let mut usim = Usim::new(keys(), Sqn::new(SQN - 1));

        let (rand, autn) = read_nonce(&vector.nonce()).unwrap();
        let answer = usim.answer(&rand, &autn);

        let Vector { xres, ck, ik, .. } = vector;
        assert_eq!(Answer::Response { res: xres, ck, ik }, answer);
    }

    #[test]
    fn a_sequence_number_serves_once_and_auts_brings_the_usims_own() {
        for (network, usim) in [(SQN, SQN), (SQN - 1, SQN), (SQN + LARGEST_STEP + 1, SQN)] {
            let vector = keys().vector(octets(RAND), Sqn::new(network), [0, 0]);
            let mut usim_of_user = Usim::new(keys(), Sqn::new(usim));

            let Answer::Resynchronise { auts } = usim_of_user.answer(&vector.rand, &vector.autn)
            else {
                panic!("{network:x} was accepted");
            };

            let auts = read_auts(&write_auts(&auts)).unwrap();
            assert_eq!(
                Some(Sqn::new(usim)),
                keys().resynchronise(&vector.rand, &auts)
            );
        }
    }

    /// MAC-S and AK* of TS 35.208 test set 1 are those for AMF b9b9; with AMF 0000 only AK* is the same.
    #[test]
    fn auts_hides_the_sequence_number_by_f5star() {
        let vector = keys().vector(octets(RAND), Sqn::new(1), [0, 0]);

        let Answer::Resynchronise { auts } =
            Usim::new(keys(), Sqn::new(SQN)).answer(&vector.rand, &vector.autn)
        else {
            panic!("an old sequence number was accepted");
        };

        // ff9bb4d0b607 xor 451e8beca43b.
        assert_eq!(octets::<6>("ba853f3c123c"), auts[..6]);
    }

    #[test]
    fn who_does_not_know_the_key_is_rejected() {
        let mut vector = keys().vector(octets(RAND), Sqn::new(SQN), [0, 0]);
        vector.autn[15] ^= 1;
        let mut usim = Usim::new(keys(), Sqn::default());

        assert_eq!(Answer::Rejected, usim.answer(&vector.rand, &vector.autn));
        assert_eq!(None, keys().resynchronise(&vector.rand, &[7; 14]));
    }

    #[test]
    fn digest_carries_res_as_password() {
        let vector = keys().vector(octets(RAND), Sqn::new(1), [0, 0]);
        let mut server = Server::new("ims.example", std::time::Duration::from_secs(240), 1);
        let nonce = vector.nonce();
        let challenge = server.challenge_with(At::ZERO, &nonce, &[Algorithm::AkaV1Md5], Stale::No);
        let Answer::Response { res, .. } =
            Usim::new(keys(), Sqn::default()).answer(&vector.rand, &vector.autn)
        else {
            panic!("a good challenge was not answered");
        };

        let secret = Secret::Octets(res.to_vec());
        let answer = Session::start(&challenge, "ue-a@private.ims.example", &secret)
            .unwrap()
            .answer("REGISTER", "sip:ims.example", &mut Random::new(3));

        let xres = Secret::Octets(vector.xres.to_vec());
        assert_eq!(
            Verdict::Accepted,
            server.verify(At::ZERO, "REGISTER", &answer, &xres)
        );
    }

    proptest! {
        #[test]
        fn any_nonce_and_any_auts_are_read_without_panic(text in "\\PC{0,80}") {
            let _ = (read_nonce(&text), read_auts(&text));
        }

        #[test]
        fn any_challenge_and_any_auts_are_judged_without_panic(rand: [u8; 16], autn: [u8; 16], auts: [u8; 14]) {
            prop_assert_eq!(Answer::Rejected, Usim::new(keys(), Sqn::default()).answer(&rand, &autn));
            prop_assert_eq!(None, keys().resynchronise(&rand, &auts));
        }
    }
}
