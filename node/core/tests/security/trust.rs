//! Trust rules, refusal by refusal.

use atoll_core::counters::DropReason;
use atoll_core::security::{Authority, Claim, Credentials, Identity, Listed, Refusal, Serial, Trust, Wall};
use atoll_core::wire::Address;
use openssl::sha::sha256;

use crate::makers::{Ca, Leaf, address, key};

const WALL: Wall = Wall(1_500_000);

fn good() -> Leaf {
    let hex = address(5).to_string();
    Leaf::new(&["atoll://group/chess", "atoll://user/ann", &format!("atoll://address/{hex}")])
}

fn chess(ca: &Ca) -> Authority {
    Authority::new(&ca.der(), "chess").unwrap()
}

fn verify(authority: Authority, der: Vec<u8>) -> Result<Identity, Refusal> {
    Trust::Authority(Box::new(authority)).verify(&Claim::Certificate(der), WALL)
}

fn verdict(leaf: &Leaf) -> Result<Identity, Refusal> {
    let ca = Ca::new();
    verify(chess(&ca), ca.sign(&key(), leaf))
}

#[test]
fn a_member_is_known_by_address_user_group_serial_and_end() {
    let identity = verdict(&good()).unwrap();
    let expected = Identity {
        address: address(5),
        user: Some("ann".into()),
        group: Some("chess".into()),
        serial: Serial(vec![77]),
        not_after: Some(Wall(2_000_000)),
    };
    assert_eq!(identity, expected);
}

#[test]
fn membership_lasts_from_its_first_to_its_last_second() {
    let ca = Ca::new();
    let claim = Claim::Certificate(ca.sign(&key(), &good()));
    let trust = Trust::Authority(Box::new(chess(&ca)));
    let verdicts =
        [999_999, 1_000_000, 2_000_000, 2_000_001].map(|wall| trust.verify(&claim, Wall(wall)).err());
    assert_eq!(verdicts, [Some(Refusal::NotYetValid), None, None, Some(Refusal::Expired)]);
    assert_eq!(trust.verify(&claim, Wall(u64::MAX)).err(), Some(Refusal::Expired));
}

#[test]
fn a_member_does_not_outlive_its_authority() {
    let ca = Ca::new();
    let claim = Claim::Certificate(ca.sign(&key(), &Leaf { until: 99_000_000, ..good() }));
    let trust = Trust::Authority(Box::new(chess(&ca)));
    assert_eq!(trust.verify(&claim, Wall(9_000_001)).err(), Some(Refusal::Expired));
}

#[test]
fn a_member_of_another_group_is_refused() {
    let mut leaf = good();
    leaf.names[0] = "atoll://group/go".into();
    assert_eq!(verdict(&leaf), Err(Refusal::WrongGroup));
    leaf.names.remove(0);
    assert_eq!(verdict(&leaf), Err(Refusal::WrongGroup));
}

#[test]
fn another_authority_of_the_same_name_is_unknown() {
    let (ca, impostor) = (Ca::new(), Ca::new());
    let der = impostor.sign(&key(), &good());
    assert_eq!(verify(chess(&ca), der), Err(Refusal::UnknownAuthority));
}

#[test]
fn a_certificate_that_vouches_for_itself_is_refused_by_an_authority() {
    let own = Credentials::self_signed(key()).unwrap().certificate().to_der().unwrap();
    assert_eq!(verify(chess(&Ca::new()), own), Err(Refusal::SelfSigned));
}

#[test]
fn a_serial_that_was_withdrawn_is_refused() {
    let ca = Ca::new();
    let mut authority = chess(&ca);
    authority.revoke(Serial(vec![77]));
    assert_eq!(verify(authority, ca.sign(&key(), &good())), Err(Refusal::Revoked));
}

#[test]
fn a_revocation_list_counts_if_the_authority_signed_it_and_it_is_not_older() {
    let ca = Ca::new();
    let mut authority = chess(&ca);
    assert_eq!(authority.set_list(&Ca::new().list(50, &[1])), Err(Refusal::UnknownAuthority));
    assert_eq!(authority.set_list(b"no list"), Err(Refusal::Malformed));
    authority.set_list(&ca.list(100, &[76, 77])).unwrap();
    assert_eq!(authority.set_list(&ca.list(99, &[1])), Err(Refusal::Expired));
    assert_eq!(verify(authority, ca.sign(&key(), &good())), Err(Refusal::Revoked));
}

#[test]
fn a_revocation_list_of_a_smaller_number_is_older_whatever_its_date() {
    let ca = Ca::new();
    let mut authority = chess(&ca);
    authority.set_list(&ca.numbered_list(300, 100, &[77])).unwrap();
    for at in [100, 101] {
        assert_eq!(authority.set_list(&ca.numbered_list(299, at, &[])), Err(Refusal::Expired));
    }
    assert_eq!(authority.listed(), Listed { certificates: 1, number: 300 });
    authority.set_list(&ca.numbered_list(301, 50, &[76, 77])).unwrap();
    assert_eq!(authority.listed(), Listed { certificates: 2, number: 301 });
    assert_eq!(verify(authority, ca.sign(&key(), &good())), Err(Refusal::Revoked));
}

#[test]
fn a_member_is_judged_again_by_its_end_and_by_the_newest_list() {
    let ca = Ca::new();
    let claim = Claim::Certificate(ca.sign(&key(), &good()));
    let trust = Trust::Authority(Box::new(chess(&ca)));
    let member = trust.verify(&claim, WALL).unwrap();
    assert_eq!(
        [2_000_000, 2_000_001].map(|wall| trust.review(&member, Wall(wall))),
        [Ok(()), Err(Refusal::Expired)]
    );
    let revised = trust.revised(&ca.list(100, &[77])).unwrap();
    assert_eq!((trust.review(&member, WALL), revised.review(&member, WALL)), (Ok(()), Err(Refusal::Revoked)));
    assert_eq!(revised.verify(&claim, WALL), Err(Refusal::Revoked));
    assert_eq!(revised.revised(&ca.list(99, &[])).err(), Some(Refusal::Expired));
    assert_eq!(revised.revised(&ca.list(100, &[])).unwrap().review(&member, WALL), Ok(()));
    assert_eq!(Trust::SelfCertified.revised(&ca.list(1, &[])).err(), Some(Refusal::UnknownAuthority));
}

#[test]
fn serials_are_read_as_they_are_written_and_as_openssl_writes_them() {
    let serial = Serial(vec![0x0a, 0xff, 0x00]);
    assert_eq!(serial.to_string(), "0aff00");
    for text in ["0aff00", "AFF00", "0A:FF:00", "000aff00"] {
        assert_eq!(text.parse(), Ok(serial.clone()), "{text}");
    }
    for wrong in ["", ":", "0", "-1", "0x1", "1 2", "xyz", "\u{e9}", &"1".repeat(41)] {
        assert!(wrong.parse::<Serial>().is_err(), "{wrong}");
    }
}

#[test]
fn a_membership_ends_with_its_authority() {
    let ca = Ca::new();
    let claim = Claim::Certificate(ca.sign(&key(), &Leaf { until: 99_000_000, ..good() }));
    let member = Trust::Authority(Box::new(chess(&ca))).verify(&claim, WALL).unwrap();
    assert_eq!(member.not_after, Some(Wall(9_000_000)));
}

#[test]
fn names_that_are_missing_double_or_odd_are_malformed() {
    let changes: [fn(&mut Vec<String>); 6] = [
        |names| names.truncate(2),
        |names| names.push("atoll://group/chess".into()),
        |names| names.push("atoll://user/eve".into()),
        |names| names[1] = "atoll://user/".into(),
        |names| names[1] = format!("atoll://user/{}", "x".repeat(65)),
        |names| names[2] = "atoll://address/1234".into(),
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut leaf = good();
        change(&mut leaf.names);
        assert_eq!(verdict(&leaf), Err(Refusal::Malformed), "change {n}");
    }
}

#[test]
fn bytes_that_are_no_certificate_are_malformed() {
    let ca = Ca::new();
    let der = ca.sign(&key(), &good());
    for length in 0..der.len() {
        assert_eq!(verify(chess(&ca), der[..length].to_vec()), Err(Refusal::Malformed), "{length} bytes");
    }
    assert_eq!(verify(chess(&ca), [&der[..], b"tail"].concat()), Err(Refusal::Malformed));
    assert_eq!(verify(chess(&ca), vec![0x30; 100_000]), Err(Refusal::Malformed));
    let bare = Claim::Address(address(5));
    let trust = Trust::Authority(Box::new(chess(&ca)));
    assert_eq!(trust.verify(&bare, WALL), Err(Refusal::Malformed));
}

#[test]
fn a_self_certified_address_is_the_hash_of_the_key_and_nobody_elses() {
    let key = key();
    let spki = key.ec_key().unwrap().public_key_to_der().unwrap();
    let expected = Address::from_bytes(sha256(&spki)[..20].try_into().unwrap());
    let credentials = Credentials::self_signed(key).unwrap();
    assert_eq!(credentials.address().unwrap(), expected);
    let claim = Claim::Certificate(credentials.certificate().to_der().unwrap());
    for wall in [Wall(0), WALL, Wall(4_000_000_000)] {
        assert_eq!(Trust::SelfCertified.verify(&claim, wall).unwrap().address, expected);
    }
}

#[test]
fn a_self_certified_member_names_no_other_address_and_signs_itself() {
    let (ca, key) = (Ca::new(), key());
    let refused = |der: Vec<u8>| Trust::SelfCertified.verify(&Claim::Certificate(der), WALL).err();
    assert_eq!(refused(ca.sign(&key, &good())), Some(Refusal::Malformed));
    let own = Ca { certificate: ca.certificate.clone(), key: key.clone() };
    assert_eq!(refused(own.sign(&key, &good())), Some(Refusal::WrongAddress));
}

#[test]
fn the_certificate_of_a_does_not_stand_for_b() {
    let identity = verdict(&good()).unwrap();
    assert!(identity.clone().at(None).is_ok() && identity.clone().at(Some(address(5))).is_ok());
    assert_eq!(identity.at(Some(address(6))), Err(Refusal::WrongAddress));
}

#[test]
fn the_certificate_of_a_key_is_always_the_same_but_for_the_signature() {
    let key = key();
    let [one, other] = [0, 1].map(|_| Credentials::self_signed(key.clone()).unwrap());
    let (one, other) = (one.certificate(), other.certificate());
    assert_eq!(one.serial_number().to_bn().unwrap(), other.serial_number().to_bn().unwrap());
    let lengths = [one, other].map(|one| one.to_der().unwrap().len());
    assert!(lengths[0].abs_diff(lengths[1]) <= 4, "{lengths:?}");
}

#[test]
fn each_refusal_is_counted_for_itself() {
    let refusals = [
        Refusal::Malformed,
        Refusal::WrongAddress,
        Refusal::WrongGroup,
        Refusal::UnknownAuthority,
        Refusal::SelfSigned,
        Refusal::Expired,
        Refusal::NotYetValid,
        Refusal::Revoked,
    ];
    let reasons: std::collections::BTreeSet<DropReason> = refusals.into_iter().map(Into::into).collect();
    assert_eq!(reasons.len(), refusals.len());
}
