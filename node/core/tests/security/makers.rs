//! Engines, keys and certificates for the tests.

use atoll_core::security::{
    Credentials, Dtls, Engine, GroupSecret, Limits, Modelled, Plain, Quic, QuicEngine, QuicOptions, Setting,
};
use atoll_core::wire::Address;
use atoll_core::{Pool, Rng, Time};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{AuthorityKeyIdentifier, BasicConstraints, CrlNumber, SubjectAlternativeName};
use openssl::x509::{X509, X509CrlBuilder, X509Name, X509RevokedBuilder};

pub const SECRET: [u8; 32] = [0x5a; 32];

pub fn address(n: u8) -> Address {
    Address::from_bytes([n + 1; Address::LEN])
}

pub fn rng(n: u8) -> Rng {
    Rng::new([n; 32])
}

pub fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn setting(n: u8, limits: Limits) -> Setting {
    Setting { limits, ..Setting::new(address(n)) }
}

pub fn dtls(n: u8, limits: Limits) -> Box<dyn Engine> {
    dtls_with(&Credentials::self_signed(key()).unwrap(), setting(n, limits), n)
}

pub fn wrapped_dtls(n: u8) -> Box<dyn Engine> {
    let secret = Some(GroupSecret::new(SECRET));
    let setting = Setting { secret, ..setting(n, Limits::default()) };
    dtls_with(&Credentials::self_signed(key()).unwrap(), setting, n)
}

pub fn dtls_with(credentials: &Credentials, setting: Setting, n: u8) -> Box<dyn Engine> {
    Box::new(Dtls::engine(credentials, setting, Pool::new(), &rng(n), Time::ZERO).unwrap())
}

pub fn modelled(n: u8, limits: Limits) -> Box<dyn Engine> {
    Box::new(Modelled::dtls(setting(n, limits), Pool::new(), &rng(n), Time::ZERO))
}

pub fn modelled_quic(n: u8, limits: Limits) -> Box<dyn Engine> {
    Box::new(Modelled::quic(setting(n, limits), Pool::new(), &rng(n), Time::ZERO))
}

pub fn quic(n: u8, limits: Limits) -> Box<dyn Engine> {
    let credentials = Credentials::self_signed(key()).unwrap();
    Box::new(quic_with(&credentials, QuicOptions::default(), setting(n, limits), n))
}

pub fn quic_with(credentials: &Credentials, options: QuicOptions, setting: Setting, n: u8) -> QuicEngine {
    Quic::new(credentials, options).unwrap().engine(setting, Pool::new(), &rng(n), Time::ZERO)
}

pub fn plain(n: u8, _limits: Limits) -> Box<dyn Engine> {
    Box::new(Plain::engine(address(n), Pool::new(), &rng(n), Time::ZERO))
}

/// What a certificate of an authority says.
#[derive(Clone)]
pub struct Leaf {
    pub names: Vec<String>,
    pub serial: u32,
    pub from: i64,
    pub until: i64,
}

impl Leaf {
    pub fn new(names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { names, serial: 77, from: 1_000_000, until: 2_000_000 }
    }
}

pub struct Ca {
    pub key: PKey<Private>,
    pub certificate: X509,
}

fn name(text: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, text).unwrap();
    name.build()
}

impl Ca {
    pub fn new() -> Self {
        Self::until(9_000_000)
    }

    /// One that is valid until then, in seconds since 1970.
    pub fn until(end: i64) -> Self {
        let key = key();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name("authority")).unwrap();
        builder.set_issuer_name(&name("authority")).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(end).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    /// The certificate of a member's key, in DER.
    pub fn sign(&self, key: &PKey<Private>, leaf: &Leaf) -> Vec<u8> {
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(leaf.serial).unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
        builder.set_subject_name(&name("member")).unwrap();
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(leaf.from).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(leaf.until).unwrap()).unwrap();
        builder.set_pubkey(key).unwrap();
        let mut names = SubjectAlternativeName::new();
        leaf.names.iter().for_each(|name| {
            names.uri(name);
        });
        if !leaf.names.is_empty() {
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build().to_der().unwrap()
    }

    /// A revocation list of this second, in DER.
    pub fn list(&self, at: i64, serials: &[u32]) -> Vec<u8> {
        self.numbered_list(1, at, serials)
    }

    /// The same with another number than 1.
    pub fn numbered_list(&self, number: u32, at: i64, serials: &[u32]) -> Vec<u8> {
        let mut builder = X509CrlBuilder::new().unwrap();
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.set_last_update(&Asn1Time::from_unix(at).unwrap()).unwrap();
        builder.set_next_update(&Asn1Time::from_unix(at + 1000).unwrap()).unwrap();
        let blank = X509::builder().unwrap();
        let context = blank.x509v3_context(Some(&self.certificate), None);
        builder
            .append_extension(AuthorityKeyIdentifier::new().issuer(true).build(&context).unwrap())
            .unwrap();
        let number = CrlNumber::new(BigNum::from_u32(number).unwrap()).unwrap();
        builder.append_extension(number.build().unwrap()).unwrap();
        for serial in serials {
            let mut revoked = X509RevokedBuilder::new().unwrap();
            let serial = BigNum::from_u32(*serial).unwrap().to_asn1_integer().unwrap();
            revoked.set_serial_number(&serial).unwrap();
            revoked.set_revocation_date(&Asn1Time::from_unix(at).unwrap()).unwrap();
            builder.add_revoked(revoked.build()).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build().unwrap().to_der().unwrap()
    }
}
