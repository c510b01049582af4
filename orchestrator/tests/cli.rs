//! The program as a user and a script meet it.

use std::path::Path;
use std::process::{Command, Output};

use atoll::plan::Experiment;
use serde_json::Value;
use tempfile::TempDir;

fn atoll(arguments: &[&str]) -> Output {
    atoll_in(Path::new(env!("CARGO_TARGET_TMPDIR")), arguments)
}

fn atoll_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1");
    command.output().expect("the program is there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A small join that takes a second, in a folder of its own.
fn join(out: &Path, more: &[&str]) -> Output {
    let out = out.to_str().expect("the path is plain");
    let mut arguments = vec!["run", "join", "--repeats", "2", "--out", out];
    for (key, small) in [
        ("public", "public=20"),
        ("joiners", "joiners=3"),
        ("rest", "rest=1 min"),
        ("measure", "measure=1 min"),
    ] {
        if more.iter().all(|word| word.split_once('=').is_none_or(|(set, _)| set != key)) {
            arguments.extend(["--set", small]);
        }
    }
    arguments.extend(more);
    atoll(&arguments)
}

fn summary(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("summary.json")).expect("there is a summary");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn a_run_fills_its_folder_and_says_where_it_is() {
    let out = TempDir::new().expect("a folder for the test");
    let output = join(out.path(), &[]);
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{shown}\n{said}");
    for file in
        ["manifest.json", "plan.yaml", "samples.csv", "summary.json", "report.html", "junit.xml", "logs"]
    {
        assert!(out.path().join(file).exists(), "{file} is missing");
    }
    assert!(out.path().join("figures/public_join_seconds-cdf.svg").exists());
    assert!(
        shown.contains("public_join_seconds") && shown.contains(&out.path().display().to_string()),
        "{shown}"
    );
    assert!(said.contains("2 of 2 trials done") && !shown.contains('\u{1b}'), "{said}");
    let summary = summary(out.path());
    assert_eq!(summary["valid"], true, "{summary:#}");
    assert_eq!(summary["metrics"]["public_join_seconds"]["count"], 6);
    assert_eq!(summary["metrics"]["unexplained_failures"]["max"], 0.0);
    for key in ["cpu_seconds", "wall_seconds", "peak_rss_bytes", "events"] {
        assert!(summary["cost"][key].as_f64().is_some_and(|value| value > 0.0), "{key}: {summary:#}");
    }
}

#[test]
fn the_link_beside_dated_results_leads_to_the_newest() {
    let home = TempDir::new().expect("a folder for the test");
    for seed in ["1", "2"] {
        let small = ["--set", "public=3", "--set", "joiners=1", "--set", "measure=0 s", "--repeats", "1"];
        let run = [&["run", "join", "--quiet", "--seed", seed], &small[..]].concat();
        atoll_in(home.path(), &run);
        let latest = summary(&home.path().join("results/join/latest"));
        assert_eq!(latest["seed"].to_string(), seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_summary_and_another_seed_another() {
    let measured = |seed: &str| {
        let out = TempDir::new().expect("a folder for the test");
        let output = join(out.path(), &["--quiet", "--seed", seed]);
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        let mut summary = summary(out.path());
        summary["cost"] = Value::Null;
        let samples = std::fs::read_to_string(out.path().join("samples.csv")).expect("there are samples");
        (summary, samples)
    };
    let first = measured("5");
    assert_eq!(first, measured("5"));
    assert_ne!(first.1, measured("6").1);
}

#[test]
fn a_start_together_measures_the_members_themselves() {
    let out = TempDir::new().expect("a folder for the test");
    let out_text = out.path().to_str().expect("the path is plain");
    let output = atoll(&[
        "run",
        "join",
        "--set",
        "public=25",
        "--set",
        "start=together",
        "--repeats",
        "1",
        "--out",
        out_text,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let summary = summary(out.path());
    assert_eq!(summary["metrics"]["public_join_seconds"]["count"], 25);
    assert_eq!(summary["metrics"]["ring_complete_seconds"]["count"], 1);
    let longest = &summary["metrics"]["public_join_seconds"]["max"];
    let complete = &summary["metrics"]["ring_complete_seconds"]["max"];
    assert!(longest.as_f64() <= complete.as_f64().map(|seconds| seconds + 1.0), "{summary:#}");
}

#[test]
fn members_that_their_nats_keep_apart_are_relayed_and_counted() {
    let out = TempDir::new().expect("a folder for the test");
    let output = join(out.path(), &["--set", "nat=symmetric", "--set", "public=30", "--set", "measure=0 s"]);
    let (summary, shown) = (summary(out.path()), text(&output.stdout));
    let found = |metric: &str| summary["metrics"][metric]["min"].as_f64();
    assert!(found("blocked_ratio") > Some(0.2) && found("relayed_ratio") > Some(0.2), "{shown}");
    assert_eq!(summary["metrics"]["unexplained_failures"]["max"], 0.0, "{shown}");
    assert!(shown.contains("cannot connect directly: others relay for them"), "{shown}");
}

#[test]
fn pairs_join_both_overlays_and_the_paper_has_its_figure() {
    let out = TempDir::new().expect("a folder for the test");
    let out_text = out.path().to_str().expect("the path is plain");
    let set = ["public=20", "private=4,8", "joiners=2", "nat=none", "measure=0 s", "security=none"];
    let set = set.iter().flat_map(|set| ["--set", set]);
    let arguments = ["run", "join", "--quiet", "--repeats", "1", "--out", out_text];
    let output = atoll(&arguments.into_iter().chain(set).collect::<Vec<_>>());
    let summary = summary(out.path());
    let shown = text(&output.stdout);
    for point in summary["points"].as_array().expect("there are two") {
        for (metric, count) in [("private_join_seconds", 2), ("dht_answer_seconds", 2)] {
            assert_eq!(point["metrics"][metric]["count"], count, "{shown}");
        }
        assert_eq!(point["metrics"]["private_ring_complete_seconds"]["count"], 1, "{shown}");
    }
    assert_eq!(summary["valid"], true, "{shown}");
    assert!(out.path().join("figures/join-by-private.svg").exists());
}

#[test]
fn round_trips_through_relays_and_their_deaths_are_measured() {
    let out = TempDir::new().expect("a folder for the test");
    let mut arguments = vec!["run", "relay", "--quiet", "--repeats", "1", "--out"];
    arguments.push(out.path().to_str().expect("the path is plain"));
    let small = ["public=80", "security=none", "nat=default", "rest=1 min"];
    arguments.extend(small.iter().flat_map(|set| ["--set", set]));
    let output = atoll(&arguments);
    let (summary, shown) = (summary(out.path()), text(&output.stdout));
    assert_eq!(summary["valid"], true, "{shown}");
    let found = |metric: &str, statistic: &str| summary["metrics"][metric][statistic].as_f64();
    assert!(found("relay_rtt_seconds", "count") > Some(10.0), "{shown}");
    // Nothing is faster than the best relay, up to jitter; a detour may well be faster than the direct way.
    assert!(found("relay_stretch_ratio", "min") > Some(0.9), "{shown}");
    assert!(found("relay_replaced_seconds", "count") >= Some(1.0), "{shown}");
    assert!(found("relay_replaced_seconds", "max").is_some_and(|seconds| seconds <= 2.0), "{shown}");
    // Of so few members only six or seven are open, and the relays that die are among them.
    assert!(found("relay_lost_ratio", "max").is_some_and(|lost| lost < 0.1), "{shown}");
}

#[test]
fn halves_that_were_apart_merge_and_members_that_come_and_go_are_answered() {
    let out = TempDir::new().expect("a folder for the test");
    for (experiment, sets, none_is_bad, all_is_good) in [
        ("partition", ["start=settled", "partition=5 min"], "split_ratio", None),
        ("partition", ["start=together", "partition=1 min"], "split_ratio", None),
        ("churn", ["session=2 min", "measure=4 min"], "failed_ratio", Some("dht_kept_ratio")),
    ] {
        let folder = out.path().join(format!("{experiment}-{}", sets[0].replace(' ', "")));
        let mut arguments = vec!["run", experiment, "--quiet", "--repeats", "1", "--out"];
        arguments.push(folder.to_str().expect("the path is plain"));
        let small = ["public=40", "security=none", "nat=none"];
        arguments.extend(small.iter().chain(&sets).flat_map(|set| ["--set", set]));
        let output = atoll(&arguments);
        let (summary, shown) = (summary(&folder), text(&output.stdout));
        assert_eq!(summary["valid"], true, "{shown}");
        let found = |metric: &str, statistic: &str| summary["metrics"][metric][statistic].as_f64();
        assert_eq!(found(none_is_bad, "max"), Some(0.0), "{shown}");
        if let Some(kept) = all_is_good {
            assert_eq!(found(kept, "min"), Some(1.0), "{shown}");
            assert!(found("answered_ratio", "min") > Some(0.95), "{shown}");
            assert!(found("request_seconds", "count") > Some(100.0), "{shown}");
        } else {
            assert!(found("ring_merge_seconds", "max") <= Some(60.0), "{shown}");
            assert!(found("private_ring_merge_seconds", "max") <= Some(60.0), "{shown}");
        }
    }
}

#[test]
fn a_pool_and_its_bandwidth_are_measured_with_real_certificates() {
    let out = TempDir::new().expect("a folder for the test");
    for (experiment, set) in
        [("pool", "loss=0 %"), ("bandwidth", "rest=2 min"), ("bandwidth", "security=quic")]
    {
        let folder = out.path().join(set.replace(' ', ""));
        let out_text = folder.to_str().expect("the path is plain");
        let mut arguments = vec!["run", experiment, "--quiet", "--repeats", "1", "--out", out_text];
        let small = ["public=10", "private=8", "nat=none", set];
        arguments.extend(small.iter().flat_map(|set| ["--set", set]));
        if experiment == "bandwidth" {
            arguments.extend(["--set", "measure=2 min"]);
        }
        let output = atoll(&arguments);
        let (summary, shown) = (summary(&folder), text(&output.stdout));
        assert_eq!(summary["valid"], true, "{shown}");
        assert_eq!(summary["metrics"]["private_ring_complete_seconds"]["count"], 1, "{shown}");
        assert_eq!(summary["metrics"]["public_join_seconds"]["count"], 8, "{shown}");
        if experiment == "bandwidth" {
            assert_eq!(summary["metrics"]["bytes_per_second"]["count"], 8, "{shown}");
            assert_eq!(summary["metrics"]["public_bytes_per_second"]["count"], 10, "{shown}");
            assert!(shown.contains("shortened: "), "{shown}");
        }
    }
}

#[test]
fn a_revocation_is_measured_whoever_tells_it_and_whoever_comes_and_goes_meanwhile() {
    let out = TempDir::new().expect("a folder for the test");
    for (number, sets) in [
        ["by=dht", "from=member"],
        ["by=broadcast", "deaths=10 %"],
        ["by=both", "churn=20 %"],
        ["from=site", "loss=2 %"],
    ]
    .into_iter()
    .enumerate()
    {
        let folder = out.path().join(number.to_string());
        let mut arguments = vec!["run", "revocation", "--quiet", "--repeats", "1", "--out"];
        arguments.push(folder.to_str().expect("the path is plain"));
        let small = ["public=31", "private=30", "security=modelled", "latency=20 ms", "rest=2 min"];
        arguments.extend(small.iter().chain(&sets).flat_map(|set| ["--set", set]));
        let output = atoll(&arguments);
        let (summary, shown) = (summary(&folder), text(&output.stdout));
        assert_eq!(summary["valid"], true, "{sets:?}: {shown}");
        let found = |metric: &str, statistic: &str| summary["metrics"][metric][statistic].as_f64();
        assert_eq!(found("untold_ratio", "max"), Some(0.0), "{sets:?}: {shown}");
        assert_eq!(found("rogue_linked_ratio", "max"), Some(0.0), "{sets:?}: {shown}");
        let told = found("revocation_seconds", "count").unwrap_or_default();
        let (dead, new) = match sets[1] {
            "deaths=10 %" => (3.0, 0.0),
            "churn=20 %" => (0.0, 6.0),
            _ => (0.0, 0.0),
        };
        let teller = if sets[0] == "from=site" { 0.0 } else { 1.0 };
        let most = 30.0 - 1.0 - teller - dead - new;
        assert_eq!(told, most, "{sets:?}: {shown}");
        assert_eq!(found("newcomer_told_seconds", "count").unwrap_or_default(), new, "{sets:?}: {shown}");
        // The wire tells apart what is sent for it and what is sent at rest in the mean of many trials only.
        let least = if sets[0] == "by=broadcast" { 100.0 } else { f64::MIN };
        assert!(found("revocation_bytes", "mean") > Some(least), "{sets:?}: {shown}");
        assert!(found("notice_bytes", "max") < Some(300.0), "{sets:?}: {shown}");
        if sets[0] == "by=broadcast" {
            // Everybody gets one datagram with the notice at least, and an answer is shorter than that.
            let ratio = found("revocation_bytes_ratio", "mean").unwrap_or_default();
            assert!((1.0..1.6).contains(&ratio), "{ratio}: {shown}");
        }
    }
}

/// Ends with this code without a joiner, and says so; what the summary holds.
fn nobody_joins(nat_or_loss: &str, code: i32) -> (Value, String) {
    let out = TempDir::new().expect("a folder for the test");
    let more = ["--set", nat_or_loss, "--set", "public=4", "--set", "joiners=1", "--set", "measure=0 s"];
    let output = join(out.path(), &more);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    let summary = summary(out.path());
    for absent in ["public_join_seconds", "ring_complete_seconds", "route_seconds"] {
        assert!(summary["metrics"][absent].is_null(), "{summary:#}");
    }
    (summary, shown)
}

#[test]
fn a_run_in_which_nobody_joined_is_not_valid_unless_theory_says_that_nobody_can() {
    let (lost, shown) = nobody_joins("loss=100 %", 2);
    assert_eq!(lost["valid"], false);
    let why = lost["invalid_reasons"].to_string();
    assert!(why.contains("nothing was measured of public_join_seconds, join_bytes"), "{why}");
    assert!(shown.contains("nothing was measured of public_join_seconds"), "{shown}");
    let (blocked, shown) = nobody_joins("nat=only-443", 1);
    assert_eq!(blocked["valid"], true, "{blocked:#}");
    assert!(
        shown.contains("route_seconds, direct_ratio, relayed_ratio, blocked_ratio: as theory says"),
        "{shown}"
    );
}

#[test]
fn an_expectation_that_fails_is_exit_code_1_and_stands_in_every_report() {
    let out = TempDir::new().expect("a folder for the test");
    let file = out.path().join("strict.yaml");
    let yaml =
        "public: 8\njoiners: 2\nnat: none\nmeasure: 0 s\nexpect:\n  - public_join_seconds max <= 1 ms\n";
    std::fs::write(&file, yaml).expect("the folder is writable");
    let [file, results] = [file, out.path().join("results")].map(|path| path.display().to_string());
    let output = atoll(&["run", &file, "--out", &results, "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let summary: Value =
        serde_json::from_slice(&output.stdout).expect("standard output is the summary alone");
    assert_eq!(summary["expectations"][0]["ok"], false);
    assert_eq!(summary["expectations"][0]["metric"], "public_join_seconds.max");
    let junit = std::fs::read_to_string(Path::new(&results).join("junit.xml")).expect("it is there");
    assert!(junit.contains("<failure"), "{junit}");
}

#[test]
fn what_cannot_be_done_is_exit_code_2_with_a_hint_and_leaves_nothing() {
    let out = TempDir::new().expect("a folder for the test");
    let folder = out.path().join("results").display().to_string();
    let table: [(&[&str], &str, &str); 9] = [
        (
            &["run", "jion"],
            "error: cannot read the experiment `jion`: unknown experiment",
            "did you mean `join`?",
        ),
        (
            &["run", "join", "--set", "nat=cone"],
            "error: --set nat=cone: unknown NAT",
            "did you mean `cones`?",
        ),
        (
            &["run", "join", "--set", "public=8", "--set", "private=9"],
            "error: --set private=9: private: 9 of 8 members are too many",
            "hint: it counts those of `public` that are in both overlays",
        ),
        (&["run", "join", "--on", "model"], "this version has no model environment", "hint: use `--on sim`"),
        (
            &["run", "join", "--capture"],
            "error: cannot capture on sim: ",
            "hint: run it in containers: `--on docker`",
        ),
        (
            &["run", "join", "--dilation", "8"],
            "error: cannot slow down time on sim: ",
            "hint: leave out `--dilation`, or run it in containers: `--on docker`",
        ),
        (
            &["run", "join", "--on", "docker", "--dilation", "0"],
            "invalid value '0' for '--dilation <N>': time cannot run so many times slower",
            "hint: write a whole number from 1 to 1000",
        ),
        (&["run", "join", "--set", "latency=none.csv"], "there is no file `none.csv`", "hint: looked for"),
        (
            &["run", "join", "--repeats", "0"],
            "error: atoll run: invalid value '0' for '--repeats <N>': no number of trials",
            "hint: write a whole number from 1 to 100000",
        ),
    ];
    for (arguments, error, hint) in table {
        let output = atoll(&[arguments, &["--out", &folder]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(error) && said.contains(hint), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty() && !Path::new(&folder).exists(), "{arguments:?}");
    }
}

#[test]
fn a_mistake_on_the_command_line_is_an_error_with_a_hint_and_exit_code_2() {
    let table: [(&[&str], &str, &str); 9] = [
        (
            &["comprae"],
            "error: atoll: unrecognized subcommand 'comprae'",
            "hint: a similar subcommand exists: 'compare'",
        ),
        (
            &["run", "join", "--sed", "1"],
            "error: atoll run: unexpected argument '--sed' found",
            "hint: a similar argument exists: '--seed'",
        ),
        (
            &["run", "join", "--seed"],
            "error: atoll run: a value is required for '--seed <N>' but none was supplied",
            "hint: `atoll run --help` shows what may be written",
        ),
        (
            &["run"],
            "error: atoll run: the following required arguments were not provided: <NAME|FILE>",
            "hint: `atoll run --help`",
        ),
        (
            &["run", "join", "--on", "dokcer"],
            "error: atoll run: invalid value 'dokcer' for '--on <ON>'",
            "hint: possible values: sim, docker; a similar value exists: 'docker'",
        ),
        (
            &["up", "join", "--capture=nowhere/run.pcap"],
            "error: cannot capture into `nowhere/run.pcap`: its folder is not there",
            "hint: give a new file",
        ),
        (
            &["run", "join", "--seed", "-1"],
            "error: atoll run: invalid value '-1' for '--seed <N>': no seed",
            "hint: write a whole number from 0 to 18446744073709551615",
        ),
        (
            &["run", "join", "--repeats", "many"],
            "error: atoll run: invalid value 'many' for '--repeats <N>': no number of trials",
            "hint: write a whole number from 1 to 100000",
        ),
        (
            &["run", "join", "--force"],
            "error: atoll run: the following required arguments were not provided: --out <DIR>",
            "hint: ",
        ),
    ];
    for (arguments, error, hint) in table {
        let output = atoll(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with(&format!("{error}\n{hint}")), "{arguments:?}: {said}");
        assert!(said.lines().count() == 2 && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
    for verb in ["run", "validate", "up"] {
        let shown = text(&atoll(&[verb, "--help"]).stdout);
        let is_named = |(_, name): &(Experiment, &str)| shown.contains(&format!("`{name}`"));
        assert!(Experiment::ALL.iter().all(is_named), "{shown}");
    }
    for asked in ["--help", "--version"] {
        let output = atoll(&[asked]);
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(), "{asked}");
    }
}

#[test]
fn an_earlier_result_is_replaced_only_by_force() {
    let out = TempDir::new().expect("a folder for the test");
    let small = ["--quiet", "--set", "measure=0 s"];
    assert_eq!(join(out.path(), &small).status.code(), Some(0));
    let before = std::fs::read(out.path().join("summary.json")).expect("there is a summary");
    let refused = join(out.path(), &small);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("it holds the result of an earlier run\nhint: ") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(std::fs::read(out.path().join("summary.json")).expect("it is there"), before);
    let forced = join(out.path(), &[&small[..], &["--seed", "2", "--force"]].concat());
    assert_eq!(forced.status.code(), Some(0), "{}", text(&forced.stderr));
    assert_eq!(summary(out.path())["seed"], 2);
}

#[test]
fn a_run_that_measured_nothing_leaves_nothing() {
    let out = TempDir::new().expect("a folder for the test");
    let folder = out.path().join("results");
    let output = join(&folder, &["--on", "docker", "--node-binary", "/nowhere/atoll-node"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!folder.exists(), "{said}");
}

#[test]
fn a_folder_that_cannot_be_written_is_found_out_before_anything_runs() {
    let out = TempDir::new().expect("a folder for the test");
    let file = out.path().join("file");
    std::fs::write(&file, "in the way").expect("the folder is writable");
    let output = join(&file.join("results"), &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error: cannot write `") && said.contains("hint: "), "{said}");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "in the way");
}

#[test]
fn validate_shows_the_plan_or_the_mistake() {
    let output = atoll(&["validate", "join", "--set", "public=100,300"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(shown.contains("100, 300") && shown.contains("2 point(s) x 3 repeat(s) = 6 trial(s)"), "{shown}");
    let pool = atoll(&["validate", "pool"]);
    let pool = text(&pool.stdout);
    assert!(pool.contains("query_timer") && !pool.contains("joiners"), "they mean nothing there: {pool}");
    let out = TempDir::new().expect("a folder for the test");
    let file = out.path().join("wrong.yaml");
    std::fs::write(&file, "public: 7\nlos: 2 %\n").expect("the folder is writable");
    let output = atoll(&["validate", file.to_str().expect("the path is plain")]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("wrong.yaml:2:1: unknown key `los`\nhint: did you mean `loss`?"), "{said}");
}

#[test]
fn a_report_is_made_again_from_its_samples_and_two_runs_are_compared() {
    let out = TempDir::new().expect("a folder for the test");
    let [one, other] = ["one", "other"].map(|name| out.path().join(name));
    join(&one, &["--quiet", "--seed", "1"]);
    join(&other, &["--quiet", "--seed", "2"]);
    let [first, second] = [&one, &other].map(|path| path.display().to_string());
    let before = std::fs::read(one.join("summary.json")).expect("there is a summary");
    for file in ["report.html", "summary.json", "figures/public_join_seconds-cdf.svg"] {
        std::fs::remove_file(one.join(file)).expect("it was there");
    }
    let output = atoll(&["report", &first]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(one.join("summary.json")).expect("it is there again"), before);
    assert!(one.join("report.html").exists() && one.join("figures/public_join_seconds-cdf.svg").exists());

    let same = atoll(&["compare", &first, &first, "--fail-above", "0.1"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stdout));
    let differ =
        atoll(&["compare", &first, &second, "--metric", "public_join_seconds", "--fail-above", "0.0001"]);
    assert_eq!(differ.status.code(), Some(1), "{}", text(&differ.stdout));
    let shown = text(&differ.stdout);
    assert!(shown.contains(&format!("one: {first}, in sim, 2 trial(s), seed 1\n")), "{shown}");
    assert!(
        shown.contains("other / one: the ratio of the medians, above 1 where that of other is larger"),
        "{shown}"
    );
    assert!(shown.contains("one: median") && shown.contains("other: median"), "{shown}");
    let unknown = atoll(&["compare", &first, &second, "--metric", "speed"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_metric_of_one_run_alone_is_shown_and_makes_them_differ() {
    let out = TempDir::new().expect("a folder for the test");
    let [one, other] = ["one", "other"].map(|name| out.path().join(name));
    join(&one, &["--quiet"]);
    join(&other, &["--quiet", "--set", "measure=0 s"]);
    let [first, second] = [&one, &other].map(|path| path.display().to_string());
    let compared = atoll(&["compare", &first, &second]);
    let shown = text(&compared.stdout);
    assert_eq!(compared.status.code(), Some(0), "{shown}");
    assert!(shown.contains("note: only one has bytes_per_second\n"), "{shown}");
    assert!(shown.contains("note: measure is 1 min in one and 0 s in other\n"), "{shown}");
    let judged = atoll(&["compare", &first, &second, "--fail-above", "1000"]);
    assert_eq!(judged.status.code(), Some(1), "{}", text(&judged.stdout));
    let alone = atoll(&["compare", &first, &second, "--metric", "bytes_per_second"]);
    assert_eq!(alone.status.code(), Some(2), "{}", text(&alone.stdout));
    let strange = atoll(&["compare", &first, &second, "--fail-above", "nan"]);
    assert_eq!(strange.status.code(), Some(2), "{}", text(&strange.stdout));
}

#[test]
fn runs_that_have_nothing_in_common_are_told_apart() {
    let out = TempDir::new().expect("a folder for the test");
    let [swept, single] = ["swept", "single"].map(|name| out.path().join(name));
    let small = ["--quiet", "--set", "measure=0 s", "--set", "joiners=1"];
    join(&swept, &[&small[..], &["--set", "public=3,4"]].concat());
    join(&single, &small);
    let compared = atoll(&["compare", &swept.display().to_string(), &single.display().to_string()]);
    let said = text(&compared.stderr);
    assert_eq!(compared.status.code(), Some(2), "{said}");
    let hint = "hint: swept has public=3, public=4, and single has one point without a sweep: ";
    assert!(said.contains(hint) && !said.contains("--metric"), "{said}");
}

#[test]
fn an_interrupted_run_keeps_what_it_measured_and_says_that_it_is_not_valid() {
    let out = TempDir::new().expect("a folder for the test");
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
    command.args([
        "run",
        "join",
        "--set",
        "public=30",
        "--set",
        "measure=0 s",
        "--repeats",
        "20000",
        "--quiet",
    ]);
    command.arg("--out").arg(out.path());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("the program is there");
    // The first trial's logs say that something was measured.
    let logs = out.path().join("logs/trial-0000/world.txt");
    while !logs.exists() {
        assert_eq!(child.try_wait().expect("it is our child"), None, "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let killed =
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    let status = child.wait().expect("it is our child");
    assert_eq!(status.code(), Some(2));
    let summary = summary(out.path());
    assert_eq!(summary["valid"], false);
    assert!(
        summary["invalid_reasons"][0].as_str().is_some_and(|reason| reason.starts_with("interrupted after"))
    );
    assert!(summary["metrics"]["public_join_seconds"]["count"].as_u64() > Some(0), "{summary:#}");
    let folder = out.path().to_str().expect("the path is plain");
    assert_eq!(atoll(&["report", folder]).status.code(), Some(2));
    let compared = atoll(&["compare", folder, folder, "--fail-above", "10"]);
    assert_eq!(compared.status.code(), Some(2));
    assert!(text(&compared.stdout).contains("is NOT VALID: interrupted"), "{}", text(&compared.stdout));
}
