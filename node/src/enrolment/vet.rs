//! What a site brings is judged before it is kept: by the authority whose certificate the member's file holds, and by nothing
//! that the site says.

use atoll_core::security::{
    Authority, Claim, Credentials, Notice, Refusal, Trust, UserList, Wall, address_of,
};
use openssl::base64::decode_block;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::folder::SignedList;
use crate::config::MemberFile;
use crate::date;
use crate::group::{self, list_refused};

/// The member that everything has to be for.
pub(super) struct Judge<'a> {
    pub(super) file: &'a MemberFile,
    pub(super) key: &'a PKey<Private>,
}

impl Judge<'_> {
    /// Whether a certificate (PEM) makes this node the member that the file is for; gives it as it is kept.
    pub(super) fn certificate(&self, pem: &str, now: Wall) -> Result<Vec<u8>, String> {
        let certificate = X509::from_pem(pem.as_bytes()).map_err(|_| "it is no certificate in PEM")?;
        let text = |why: openssl::error::ErrorStack| why.to_string();
        let der = certificate.to_der().map_err(text)?;
        Credentials::new(&der, self.key.clone()).map_err(|_| "the certificate is for another key")?;
        let trust = Trust::Authority(Box::new(self.authority()?));
        let member = trust.verify(&Claim::Certificate(der), now);
        let member = member.map_err(|refusal| refused(&certificate, refusal, now))?;
        if member.user.as_ref() != Some(&self.file.user.name.0) {
            return Err("the certificate is for another user".to_owned());
        }
        if member.address != address_of(self.key).map_err(text)? {
            return Err("the certificate is for another address than the key's".to_owned());
        }
        certificate.to_pem().map_err(text)
    }

    /// Whether the authority signed a list, and the list of X.509 (PEM) that goes with it.
    pub(super) fn lists(
        &self,
        list: &SignedList,
        x509: &[u8],
        known: Option<&[u8]>,
    ) -> Result<UserList, String> {
        let users = self.list(list)?;
        let mut authority = self.authority()?;
        // An older one that lies there is not the site's fault if it is broken.
        if let Some(known) = known.and_then(group::read_list) {
            let _ = authority.set_list(&known);
        }
        let x509 = group::read_list(x509).ok_or("there is no revocation list in PEM")?;
        authority.set_list(&x509).map_err(list_refused)?;
        Ok(users)
    }

    /// Whether the authority signed a list of this group.
    pub(super) fn list(&self, list: &SignedList) -> Result<UserList, String> {
        let signature = decode_block(&list.signature).map_err(|_| "the list's signature is not in Base64")?;
        let key = self.file.group.authority.0.public_key().map_err(|why| why.to_string())?;
        let users = UserList::verified(&key, &list.text, &signature).map_err(|why| why.to_string())?;
        if users.group == self.file.group.name.0 {
            Ok(users)
        } else {
            Err("the list is of another group".to_owned())
        }
    }

    /// Whether the authority signed a notice of this group.
    pub(super) fn notice(&self, bytes: &[u8]) -> Result<Notice, String> {
        let key = self.file.group.authority.0.public_key().map_err(|why| why.to_string())?;
        let notice = Notice::verified(&key, bytes).map_err(|why| why.to_string())?;
        if notice.group == self.file.group.name.0 {
            Ok(notice)
        } else {
            Err("the notice is of another group".to_owned())
        }
    }

    fn authority(&self) -> Result<Authority, String> {
        let der = self.file.group.authority.0.to_der().map_err(|why| why.to_string())?;
        let authority = Authority::new(&der, &self.file.group.name.0);
        authority.map_err(|_| "the file's authority is none".to_owned())
    }
}

fn refused(certificate: &X509, refusal: Refusal, now: Wall) -> String {
    match refusal {
        Refusal::UnknownAuthority | Refusal::SelfSigned => {
            "another authority signed the certificate".to_owned()
        }
        Refusal::WrongGroup => "the certificate is of another group".to_owned(),
        Refusal::Expired => format!(
            "the certificate ended at {} and this machine's clock says {}",
            certificate.not_after(),
            date::shown(now.0)
        ),
        Refusal::NotYetValid => format!(
            "the certificate is not valid before {} and this machine's clock says {}",
            certificate.not_before(),
            date::shown(now.0)
        ),
        Refusal::Revoked => "the certificate is revoked already".to_owned(),
        _ => "the certificate names no member of a group".to_owned(),
    }
}
