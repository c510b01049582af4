//! A node that enrols.

use atoll_core::security::{Authority, Claim, Identity, Refusal as NoMember, Trust, Wall};
use atoll_site::{Enrol, MemberFile, keys};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rand::rand_bytes;
use openssl::x509::{X509, X509Crl, X509Req};
use serde_json::json;

use super::{Answer, Program, Request, Served};

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub fn nonce() -> String {
    let mut bytes = [0; 16];
    rand_bytes(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn request(key: &PKey<Private>) -> String {
    let mut builder = X509Req::builder().unwrap();
    builder.set_pubkey(key).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

/// A node with a member's file.
#[derive(Clone)]
pub struct Node {
    pub file: MemberFile,
    pub key: PKey<Private>,
}

impl Node {
    /// A new one, with the file that this user downloads.
    pub fn of(user: &Program<'_>, group: &str) -> Self {
        let answer = user.done("GET", &format!("/api/v1/groups/{group}/file"), &json!(null));
        Self { file: MemberFile::read(&answer.body).unwrap(), key: keys::generate().unwrap() }
    }

    /// A request of this moment, which may be changed before it is signed.
    pub fn draft(&self, time: i64) -> Enrol {
        Enrol {
            group: self.file.group.name.clone(),
            user: self.file.user.name.clone(),
            request: request(&self.key),
            time,
            nonce: nonce(),
            list: 0,
            mac: String::new(),
        }
    }

    pub fn signed(&self, draft: Enrol) -> Enrol {
        let mac = draft.code(&unhex(&self.file.user.key)).unwrap();
        Enrol { mac, ..draft }
    }

    pub fn send(served: &Served, ask: &Enrol) -> Answer {
        let body = serde_json::to_string(ask).unwrap();
        served.ask(&Request::json("POST", "/api/v1/enrol", &body))
    }

    pub fn enrol(&self, served: &Served) -> Answer {
        Self::send(served, &self.signed(self.draft(served.now())))
    }

    /// Enrols, which has to succeed; the certificate.
    #[track_caller]
    pub fn certificate(&self, served: &Served) -> X509 {
        let answer = self.enrol(served);
        assert_eq!(answer.status, 200, "{}", answer.body);
        X509::from_pem(answer.json()["certificate"].as_str().unwrap().as_bytes()).unwrap()
    }

    /// What the group's members think of a certificate.
    pub fn judged(&self, certificate: &X509, list: Option<&str>, wall: i64) -> Result<Identity, NoMember> {
        let root = X509::from_pem(self.file.group.authority.as_bytes()).unwrap();
        let mut authority = Authority::new(&root.to_der().unwrap(), &self.file.group.name).unwrap();
        if let Some(pem) = list {
            let list = X509Crl::from_pem(pem.as_bytes()).unwrap();
            authority.set_list(&list.to_der().unwrap()).unwrap();
        }
        let trust = Trust::Authority(Box::new(authority));
        trust.verify(&Claim::Certificate(certificate.to_der().unwrap()), Wall(wall as u64))
    }

    /// Reads the group's list.
    pub fn list(&self, served: &Served) -> Answer {
        let path = format!("/api/v1/groups/{}/revocations", self.file.group.name);
        served.ask(&Request::get(&path).with("Atoll-Reader", self.proof()))
    }

    pub fn proof(&self) -> String {
        atoll_site::reader_proof(&unhex(&self.file.group.secret)).unwrap()
    }
}
