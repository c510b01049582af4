//! Experiment files: what is understood, and how every mistake is named.

use std::path::Path;

use atoll::metric;
use atoll::plan::{KEYS, Key, Overrides, Plan, Start};
use tempfile::TempDir;

fn load(text: &str) -> Result<Plan, String> {
    let folder = TempDir::new().expect("a folder for the test");
    load_in(folder.path(), text)
}

fn load_in(folder: &Path, text: &str) -> Result<Plan, String> {
    let file = folder.join("test.yaml");
    std::fs::write(&file, text).expect("the folder is writable");
    let origin = file.display().to_string();
    Plan::load(&origin, &Overrides::default()).map_err(|error| {
        let hint = error.hint.clone().map_or_else(String::new, |hint| format!(" | {hint}"));
        format!("{error}{hint}").replace(&format!("{}/", folder.display()), "")
    })
}

fn with(set: &[&str]) -> Result<Plan, String> {
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    Plan::load("join", &Overrides { set, ..Overrides::default() }).map_err(|error| error.to_string())
}

#[test]
fn every_mistake_is_named_with_its_place_and_a_hint() {
    for (text, expected) in mistakes() {
        assert_eq!(load(text), Err(expected), "{text}");
    }
}

/// Files with one mistake each, and what is said about it.
#[rustfmt::skip]
fn mistakes() -> Vec<(&'static str, String)> {
    let keys = "public, private, joiners, start, security, latency, nat, loss, query_timer, rest, measure, partition, session, by, from, deaths, churn";
    let head = "experiment, name, repeats, seed, sweep, expect";
    vec![
        ("pubic: 7\n", format!("test.yaml:1:1: unknown key `pubic` | did you mean `public`? known: {keys}, {head}")),
        ("public: 7\njoiners: -3\n", "test.yaml:2:10: joiners: `-3` is out of range | write a whole number from 0 to 1000000".into()),
        ("public: seven\n", "test.yaml:1:9: public: `seven` is not a whole number | write a whole number from 1 to 1000000".into()),
        ("public:\n", "test.yaml:1:8: public: there is no value | write one behind the colon, or leave the key out".into()),
        ("public: []\n", "test.yaml:1:9: public: the list is empty | write at least one value, or leave the key out".into()),
        ("public: {a: 1}\n", "test.yaml:1:9: public: invalid type: map, expected a value or a list of values | write one value, or several in `[` and `]`".into()),
        ("public: 7\npublic: 8\n", "test.yaml:2:1: `public` stands here twice | keep one; several values are a list: `public: [A, B]`".into()),
        ("rest: 5\n", "test.yaml:1:7: rest: `5` has no unit | write it like `50 ms`, `2 s`, `5 min` or `1 h`".into()),
        ("measure: 5 parsecs\n", "test.yaml:1:10: measure: `parsecs` is not a unit of time | write it like `50 ms`, `2 s`, `5 min` or `1 h`".into()),
        ("loss: 2\n", "test.yaml:1:7: loss: `2` has no unit | write it like `2 %`, from 0 % to 100 %".into()),
        ("sweep:\n  loss: [0 %, 101 %]\n", "test.yaml:2:15: sweep.loss[1]: `101 %` is out of range | write it like `2 %`, from 0 % to 100 %".into()),
        ("sweep:\n  seed: [1, 2]\n", format!("test.yaml:2:3: sweep: unknown key `seed` | known: {keys}")),
        ("public: 9\nsweep: {public: [1, 2]}\n", "test.yaml:2:18: sweep.public[0]: `public` is set already | keep one of the two".into()),
        ("start: setled\n", "test.yaml:1:8: start: unknown start `setled` | did you mean `settled`? known: settled, together".into()),
        ("private: 201\n", "test.yaml:1:1: private: 201 of 200 members are too many | it counts those of `public` that are in both overlays".into()),
        ("experiment: pool\njoiners: 3\n", "test.yaml:2:1: joiners: it means nothing to the experiment `pool` | known there: public, private, security, latency, nat, loss, query_timer".into()),
        ("experiment: relay\njoiners: 3\n", "test.yaml:2:1: joiners: it means nothing to the experiment `relay` | known there: public, security, latency, nat, loss, rest".into()),
        ("security: tls\n", "test.yaml:1:11: security: unknown security engine `tls` | did you mean `dtls`? known: none, dtls, quic, modelled, modelled-quic".into()),
        ("security: dtsl\n", "test.yaml:1:11: security: unknown security engine `dtsl` | did you mean `dtls`? known: none, dtls, quic, modelled, modelled-quic".into()),
        ("security: nonne\n", "test.yaml:1:11: security: unknown security engine `nonne` | did you mean `none`? known: none, dtls, quic, modelled, modelled-quic".into()),
        ("query_timer: often\n", "test.yaml:1:14: query_timer: `often` is no query timer | write `dynamic`, or a span from 1 s to 24 h like `5 min`".into()),
        ("query_timer: 5\n", "test.yaml:1:14: query_timer: `5` has no unit | write `dynamic`, or a span from 1 s to 24 h like `5 min`".into()),
        ("experiment: vpn\n", "test.yaml:1:13: experiment: this version has no experiment `vpn` | known: join, pool, bandwidth, relay, partition, churn, revocation".into()),
        ("experiment: pool\nsession: 1 min\n", "test.yaml:2:1: session: it means nothing to the experiment `pool` | known there: public, private, security, latency, nat, loss, query_timer".into()),
        ("experiment: revocation\nby: pigeon\n", "test.yaml:2:5: by: unknown way to tell members `pigeon` | known: dht, broadcast, both".into()),
        ("experiment: revocation\nsecurity: none\n", "test.yaml:2:1: security: none: without security no authority vouches for anybody, and none revokes | use `security: dtls`".into()),
        ("experiment: revocation\nprivate: 2\n", "test.yaml:2:1: private: one member tells, one is told, and one is revoked | raise `private` to 3 or more".into()),
        ("experiment: revocation\nfrom: site\nprivate: 2\n", "test.yaml:3:1: private: two members are told, and one is revoked | raise `private` to 3 or more".into()),
        ("experiment: revocation\ndeaths: 60 %\nchurn: 50 %\n", "test.yaml:2:1: deaths and churn: 60 % and 50 % of the members are more than there are | lower one of them".into()),
        ("experiment: revocation\npublic: 2\n", "test.yaml:2:1: private: one member tells, one is told, and one is revoked | raise `private` to 3 or more".into()),
        ("experiment: revocation\nfrom: site\nsweep:\n  # Two of three ways.\n  by: [both, dht]\n", "test.yaml:2:1: from: site: members that a site told tell others both ways | use `by: both`".into()),
        ("experiment: revocation\nsweep:\n  deaths: [10 %, 20 %]\n  private: [9, 2]\n", "test.yaml:4:3: private: one member tells, one is told, and one is revoked | raise `private` to 3 or more".into()),
        ("sweep: {loss: [1 %, 2 %], \"private\": [10, 201]}\n", "test.yaml:1:27: private: 201 of 200 members are too many | it counts those of `public` that are in both overlays".into()),
        ("public: 3\nloss: [1 %, 1.0%]\n", "test.yaml:2:1: loss: `1 %` stands in the list twice | keep one of the two; `repeats` runs it several times".into()),
        ("experiment: churn\nsession: 0 s\n", "test.yaml:2:10: session: `0 s` is out of range | write a span of 1 s or more".into()),
        ("experiment: churn\nmeasure: 24 h\n", "test.yaml:2:1: measure: 24 h: values of the DHT have to outlive it, and none is kept for more than a day | at most 23 h; `repeats` runs it with other seeds".into()),
        ("latency: slow\n", "test.yaml:1:10: latency: `slow` is no latency | write a one-way delay like `100 ms`, `builtin`, or a matrix file like `rtt-ms.csv`".into()),
        ("latency: 100\n", "test.yaml:1:10: latency: `100` has no unit | write a one-way delay like `100 ms`, `builtin`, or a matrix file like `rtt-ms.csv`".into()),
        ("repeats: [1, 2]\n", "test.yaml:1:10: repeats: a list stands where one value is expected | write one value".into()),
        ("seed: -1\n", "test.yaml:1:7: seed: `-1` is no seed | write a whole number from 0 to 18446744073709551615".into()),
        ("name: a/b\n", "test.yaml:1:7: name: `a/b` is no name for a results folder | use up to 64 letters, digits, `-` and `_`".into()),
        ("expect:\n  - public_join_seconds p50 <= 3\n", "test.yaml:2:5: expect[0]: `3` has no unit | write it like `50 ms`, `2 s`, `5 min` or `1 h`".into()),
        ("# later\n\n", "test.yaml:1:1: the file says nothing | an experiment is lines of `key: value`, such as `public: 200`".into()),
        ("- 1\n", "test.yaml:1:1: invalid type: sequence, expected keys and values | an experiment is lines of `key: value`, such as `public: 200`".into()),
        (",m0,m1\nm0,0,1\n", "test.yaml:1:1: did not find expected node content, while parsing a block node | each line is `key: value`; close every bracket and quotation mark".into()),
        ("m0,m1\n0,1\n", "test.yaml:1:1: invalid type: string \"m0,m1 0,1\", expected keys and values | an experiment is lines of `key: value`, such as `public: 200`".into()),
        ("sweep:\n\tloss: 1 %\n", "test.yaml:2:1: found character that cannot start any token, while scanning for the next token | indent with spaces, not with a tab".into()),
        ("sweep: [1]\n", "test.yaml:1:8: sweep: invalid type: sequence, expected keys and values | indent one line for each swept key: `public: [100, 300]`".into()),
        ("expect: [public_join_seconds p50 =< 3 s]\n", "test.yaml:1:10: expect[0]: `=<` is no comparison | write `<=`".into()),
        ("public: [1, 2\n", "test.yaml:2:1: did not find expected ',' or ']', while parsing a flow sequence at line 1 column 9 | each line is `key: value`; close every bracket and quotation mark".into()),
    ]
}

#[test]
fn a_mistake_between_keys_names_the_assignment_that_made_it() {
    let error = |name: &str, set: &[&str]| {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let error = Plan::load(name, &Overrides { set, ..Overrides::default() });
        error.expect_err("the values do not go together").to_string()
    };
    for (set, said) in [
        (vec!["public=20", "private=5,30"], "--set private=5,30: private: 30 of 20 members are too many"),
        (vec!["session=1 min"], "--set session=1 min: session: it means nothing to the experiment `join`"),
        // The file sets `public`, too.
        (
            vec!["joiners=999900"],
            "--set joiners=999900: public, private and joiners: 1000600 members are too many",
        ),
    ] {
        assert_eq!(error("join", &set), said);
    }
    assert_eq!(
        error("revocation", &["public=2"]),
        "--set public=2: private: one member tells, one is told, and one is revoked"
    );
    assert_eq!(
        error("revocation", &["deaths=57 %", "churn=60 %"]),
        "--set deaths=57 %: deaths and churn: 57 % and 60 % of the members are more than there are"
    );
    let gone = error("revocation", &["public=20", "churn=100 %"]);
    assert!(
        gone.starts_with("--set churn=100 %: deaths and churn: 0 die and 18 are replaced of 18"),
        "{gone}"
    );
}

#[test]
fn somebody_is_left_to_be_told_of_a_revocation() {
    let plan = |lines: &str| load(&format!("experiment: revocation\n{lines}"));
    for (lines, gone, raise) in [
        ("deaths: 100 %\n", "198 die and 0 are replaced of 198", ""),
        ("churn: 100 %\n", "0 die and 198 are replaced of 198", ""),
        // Halves are rounded up.
        ("deaths: 50 %\nprivate: 3\n", "1 die and 0 are replaced of 1", ", or raise `private`"),
        ("deaths: 50 %\nchurn: 20 %\nprivate: 5\n", "2 die and 1 are replaced of 3", ", or raise `private`"),
    ] {
        let why = format!("{gone} that neither tell nor are revoked: nobody is left to be told");
        let said = format!("test.yaml:2:1: deaths and churn: {why} | lower one of them{raise}");
        assert_eq!(plan(lines), Err(said), "{lines}");
    }
    let site = plan("from: site\npublic: 9\ndeaths: 100 %\n").expect_err("nobody is left");
    let said = "test.yaml:4:1: deaths and churn: 7 die and 0 are replaced of 7 that are not revoked: ";
    assert!(site.starts_with(said), "{site}");
    for lines in ["deaths: 49 %\nprivate: 3\n", "deaths: 50 %\nchurn: 20 %\nprivate: 6\n", "deaths: 99 %\n"] {
        assert!(plan(lines).is_ok(), "{lines}");
    }
}

#[test]
fn a_missing_matrix_and_a_malformed_one_are_named() {
    let folder = TempDir::new().expect("a folder for the test");
    let missing = load_in(folder.path(), "latency: none.csv\n").expect_err("the file is not there");
    assert!(
        missing.starts_with("test.yaml:1:10: latency: there is no file `none.csv` | looked for"),
        "{missing}"
    );
    std::fs::write(folder.path().join("bad.csv"), "0,1\n2,x\n").expect("the folder is writable");
    let malformed = load_in(folder.path(), "latency: bad.csv\n").expect_err("the file is malformed");
    assert!(malformed.starts_with("test.yaml:1:10: latency: bad.csv: "), "{malformed}");
}

#[test]
fn a_matrix_in_place_of_an_experiment_is_told_where_it_belongs() {
    let folder = TempDir::new().expect("a folder for the test");
    let file = folder.path().join("rtt.csv");
    std::fs::write(&file, ",a,b\na,0,1\nb,1,0\n").expect("the folder is writable");
    let error = Plan::load(&file.display().to_string(), &Overrides::default()).expect_err("it is a matrix");
    assert!(error.what.ends_with("rtt.csv:1:1"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("`latency: FILE`")));
}

#[test]
fn what_may_be_a_private_key_is_not_shown() {
    let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    let error = load(&format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"))
        .expect_err("it is no experiment");
    assert!(!error.contains(&key[..20]), "{error}");
    assert!(error.starts_with("test.yaml:1:1: invalid type: a text of "), "{error}");
}

#[test]
fn no_place_is_named_twice_among_those_that_were_looked_at() {
    for name in ["none.csv", "./none.csv", "/nowhere/none.csv"] {
        let set = vec![format!("latency={name}")];
        let error =
            Plan::load("join", &Overrides { set, ..Overrides::default() }).expect_err("it is not there");
        let hint = error.hint.expect("there is a hint");
        assert!(hint.starts_with("looked for `/") && !hint.contains(" and "), "{hint}");
    }
}

#[test]
fn an_unknown_experiment_or_file_is_named() {
    let error = |name: &str| Plan::load(name, &Overrides::default()).expect_err("it does not exist");
    let slip = error("jion");
    assert_eq!(slip.to_string(), "cannot read the experiment `jion`: unknown experiment `jion`");
    assert_eq!(
        slip.hint.as_deref(),
        Some("did you mean `join`? known: join, pool, bandwidth, relay, partition, churn, revocation")
    );
    assert!(error("/no/such.yaml").to_string().contains("No such file"));
}

#[test]
fn assignments_replace_what_the_file_says() {
    let plan = with(&["public=20", "joiners=3", "start=together", "nat=none"]).expect("all are known");
    let values = &plan.points[0].values;
    assert_eq!((values.public, values.joiners(), values.start), (20, 3, Start::Together));
    assert_eq!(values.show(Key::Nat), "none");
    for (set, error) in [
        ("public", "--set public: there is no `=` in it"),
        ("pubic=3", "--set pubic=3: unknown key `pubic`"),
        ("public=3,x", "--set public=3,x: `x` is not a whole number"),
        ("nat=", "--set nat=: unknown NAT population or preset ``"),
    ] {
        assert_eq!(with(&[set]), Err(error.to_owned()));
    }
}

#[test]
fn a_sweep_is_the_product_of_its_lists_in_the_order_of_the_keys() {
    let plan = with(&["nat=none,cones", "public=100,300,700"]).expect("all are known");
    let labels: Vec<&str> = plan.points.iter().map(|point| point.label.as_str()).collect();
    assert_eq!(labels.len(), 6);
    assert_eq!(labels[..3], ["public=100 nat=none", "public=100 nat=cones", "public=300 nat=none"]);
    assert_eq!(plan.swept, [Key::Public, Key::Nat]);
    let twice = with(&["loss=1 %,1.0%"]).expect_err("the two points would be one");
    assert_eq!(twice, "--set loss=1 %,1.0%: loss: `1 %` stands in the list twice");
}

#[test]
fn a_repeat_has_the_same_seed_at_every_point_and_another_plan_has_others() {
    let plan = with(&["public=100,300"]).expect("all are known");
    let repeats = plan.repeats as usize;
    let turns = plan.turns();
    assert_eq!(turns.len(), 2 * repeats);
    assert_eq!(turns[0].seed, turns[repeats].seed);
    assert_ne!(turns[0].seed, turns[1].seed);
    let other = Plan { seed: 2, ..plan };
    assert_ne!(other.turns()[0].seed, turns[0].seed);
}

#[test]
fn too_large_a_plan_is_refused_before_anything_starts() {
    assert!(
        with(&["public=999_990"]).expect_err("joiners come on top").contains("1000020 members are too many")
    );
    let many = Overrides { repeats: Some(100_000), set: vec!["public=1,2".into()], ..Overrides::default() };
    let error = Plan::load("join", &many).expect_err("there are too many trials");
    assert_eq!(error.to_string(), "--set public=1,2: sweep and repeats: more than 100000 trials");
}

#[test]
fn the_readme_explains_every_metric_and_every_key() {
    let readme = include_str!("../../README.md");
    let named = |name: &&str| !readme.contains(&format!("`{name}`"));
    let metrics: Vec<&str> = metric::ALL.iter().map(|metric| metric.name).filter(named).collect();
    let keys: Vec<&str> = KEYS.map(|(_, name)| name).into_iter().filter(named).collect();
    assert!(metrics.is_empty() && keys.is_empty(), "not in the README: {metrics:?} {keys:?}");
}

#[test]
fn the_recorded_plan_runs_the_same_again() {
    let plan = with(&["public=100,300", "loss=2 %"]).expect("all are known");
    let again = load(&plan.to_yaml()).expect("what we write we can read");
    assert_eq!(again.to_yaml(), plan.to_yaml());
    let pool = Plan::load("pool", &Overrides::default()).expect("the built-in experiment is sound");
    assert!(!pool.to_yaml().contains("joiners"), "what means nothing is not written: {}", pool.to_yaml());
    assert_eq!(load(&pool.to_yaml()).expect("what we write we can read").to_yaml(), pool.to_yaml());
    assert_eq!(again.turns(), plan.turns());
    let shown =
        |plan: &Plan| plan.points.iter().map(|point| KEYS.map(|(key, _)| point.values.show(key))).collect();
    let (shown_again, shown_before): (Vec<_>, Vec<_>) = (shown(&again), shown(&plan));
    assert_eq!(shown_again, shown_before);
}
