//! The users of the fixtures' IMS, as HSS and Tracker AS are provisioned with them.

use super::document::{Table, Value};

/// All users. Passwords and keys are test values.
#[derive(Clone, Debug, Default)]
pub struct Subscribers {
    pub all: Vec<Subscriber>,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// `ue-a`.
    pub id: String,
    /// Private identity: `ue-a@private.ims.example`.
    pub impi: String,
    /// Public identities, the default first.
    pub impus: Vec<String>,
    pub password: String,
    /// 128-bit K and OPc for AKA (TS 35.206).
    pub k: [u8; 16],
    pub opc: [u8; 16],
    /// May use the P2P content distribution service.
    pub service: bool,
    /// The network's policy finds it a qualified user peer (TR 23.844: the policy is preconfigured).
    pub qualified: bool,
    /// The first public identity is barred.
    pub barred: bool,
    /// False: not authorised to register at all.
    pub may_register: bool,
    /// Has a USIM: authenticates by AKA, and agrees on security with its P-CSCF.
    pub aka: bool,
    /// The sequence number its USIM saw last (TS 33.102 6.3.3, clause not verified).
    pub usim_sqn: u64,
}

impl Subscribers {
    pub fn get(&self, id: &str) -> Option<&Subscriber> {
        self.all.iter().find(|subscriber| subscriber.id == id)
    }

    pub fn ids(&self) -> Vec<&str> {
        self.all.iter().map(|s| s.id.as_str()).collect()
    }

    pub(crate) fn read(root: Table<'_>) -> Subscribers {
        let all = root.need("subscriber").and_then(|list| list.array());
        root.refuse_unknown();
        Subscribers {
            all: all
                .unwrap_or_default()
                .iter()
                .filter_map(Subscriber::read)
                .collect(),
        }
    }
}

impl Subscriber {
    fn read(value: &Value<'_>) -> Option<Subscriber> {
        let table = value.table()?;
        let text = |key| table.need(key).and_then(|v| v.str()).map(str::to_owned);
        let key = |key| table.need(key).and_then(|v| octets(&v));
        let flag = |key, default| table.get(key).map_or(Some(default), |v| v.bool());
        let id = text("id");
        let impi = text("impi");
        let impus: Vec<_> = table
            .need("impus")
            .map(|v| v.strings())
            .unwrap_or_default()
            .into_iter()
            .map(|(impu, _)| impu.to_owned())
            .collect();
        let password = text("password");
        let (k, opc) = (key("k"), key("opc"));
        let service = flag("service", true);
        let qualified = flag("qualified", true);
        let barred = flag("barred", false);
        let may_register = flag("may-register", true);
        let aka = flag("aka", false);
        let usim_sqn = table.get("usim-sqn").map_or(Some(0), |v| v.number());
        table.refuse_unknown();
        if impus.is_empty() {
            value.note("a subscriber without public identity, expected one at least");
        }
        Some(Subscriber {
            id: id?,
            impi: impi?,
            impus,
            password: password?,
            k: k?,
            opc: opc?,
            service: service?,
            qualified: qualified?,
            barred: barred?,
            may_register: may_register?,
            aka: aka?,
            usim_sqn: usim_sqn?,
        })
    }
}

fn octets(value: &Value<'_>) -> Option<[u8; 16]> {
    let text = value.str()?;
    let digits = text.is_ascii() && text.len() == 32;
    let octets: Option<Vec<u8>> = (0..16)
        .map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
        .collect();
    match octets.and_then(|octets| octets.try_into().ok()) {
        Some(octets) if digits => Some(octets),
        _ => value.wrong("32 hexadecimal digits"),
    }
}
