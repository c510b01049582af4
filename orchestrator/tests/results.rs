//! What a run leaves behind: summary, figures, reports and the folder that holds them.

use std::path::Path;

use atoll::figure::{self, Figure};
use atoll::plan::{Expectation, Overrides, Plan};
use atoll::record::{
    self, Costs, Folder, Host, Manifest, Record, Row, RunSummary, Target, TrialEntry, Versions,
};
use atoll::report::{html, junit, table};
use atoll_core::Rng;
use quick_xml::Reader;
use quick_xml::events::Event;
use tempfile::TempDir;

/// A record of a sweep with made-up samples, the same at every call.
fn record(set: &[&str]) -> Record {
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    let overrides = Overrides { set, repeats: Some(2), seed: Some(7), ..Overrides::default() };
    let plan = Plan::load("join", &overrides).expect("the built-in experiment is sound");
    let mut manifest = Manifest::new(&plan, "sim", vec!["atoll".into(), "run".into(), "join".into()]);
    manifest.started = "2026-01-02T03:04:05Z".to_owned();
    manifest.versions = Versions { atoll: "0.1.0".into(), git: Some("v0 <dirty>".into()) };
    manifest.host =
        Host { name: "lab".into(), kernel: "Linux 6.1".into(), cpus: 2, memory_bytes: 24_000_000_000 };
    manifest.complete = true;
    manifest.cost = Costs { cpu_seconds: 2.5, wall_seconds: 1.5, peak_rss_bytes: 50_000_000, events: 12_345 };
    let mut rows = Vec::new();
    for turn in plan.turns() {
        let label = &plan.points[turn.point].label;
        manifest.trials.push(TrialEntry {
            number: turn.number,
            point: turn.point,
            seed: turn.seed,
            invalid_reasons: Vec::new(),
            notes: vec!["j01 & j02 are \"slow\"".to_owned()],
            trace_hash: Some("00ff".to_owned()),
            cost: Costs::default(),
        });
        let mut rng = Rng::new([turn.number as u8; 32]);
        let mut add = |metric: &str, value: f64| {
            rows.push(Row {
                trial: turn.number,
                seed: turn.seed,
                point: label.clone(),
                at_seconds: 1.0,
                node: String::new(),
                metric: metric.to_owned(),
                value,
                detail: String::new(),
            });
        };
        let slow = 1.0 + turn.point as f64 / 4.0;
        for _ in 0..30 {
            add("public_join_seconds", slow * (0.5 + rng.unit() * rng.unit()));
            add("bytes_per_second", 20.0 + 10.0 * rng.unit());
            add("route_hops", 1.0 + rng.below(5) as f64);
        }
        add("ring_complete_seconds", 4.0 * slow + rng.unit());
        add("failed_ratio", 0.0);
        add("unexplained_failures", 0.0);
    }
    Record { manifest, rows }
}

fn expectations(record: &Record) -> Vec<Expectation> {
    record.manifest.expect.iter().map(|line| Expectation::parse(line).expect("we wrote it")).collect()
}

fn parse(xml: &str) -> usize {
    let mut reader = Reader::from_str(xml);
    let mut elements = 0;
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(_) | Event::Empty(_) => elements += 1,
            Event::Eof => return elements,
            _ => {}
        }
    }
}

#[test]
fn the_summary_has_the_keys_that_scripts_read() {
    let mut record = record(&[]);
    record.rows.clear();
    for (value, trial) in [(1.0, 0), (2.0, 0), (3.0, 1), (4.0, 1)] {
        record.rows.push(Row {
            trial,
            seed: 1,
            point: String::new(),
            at_seconds: 0.0,
            node: String::new(),
            metric: "public_join_seconds".to_owned(),
            value,
            detail: String::new(),
        });
    }
    record.manifest.trials[1].invalid_reasons.push("m0007 crashed".to_owned());
    let expect = [Expectation::parse("public_join_seconds p50 <= 1.3 s").expect("sound")];
    let summary = RunSummary::of(&record, &expect);
    let expected = r#"{
  "experiment": "join",
  "environment": "sim",
  "seed": 7,
  "valid": false,
  "invalid_reasons": [
    "trial 1: m0007 crashed"
  ],
  "expectations": [
    {
      "metric": "public_join_seconds.p50",
      "op": "<=",
      "bound": 1.3,
      "value": 2.5,
      "ok": false
    }
  ],
  "metrics": {
    "public_join_seconds": {
      "count": 4,
      "mean": 2.5,
      "min": 1.0,
      "p50": 2.5,
      "p95": 3.8499999999999996,
      "p99": 3.9699999999999998,
      "max": 4.0
    }
  },
  "cost": {
    "cpu_seconds": 2.5,
    "wall_seconds": 1.5,
    "peak_rss_bytes": 50000000,
    "events": 12345
  }
}"#;
    assert_eq!(serde_json::to_string_pretty(&summary).expect("it is plain data"), expected);
}

#[test]
fn a_sweep_has_the_figures_of_each_point_in_its_summary() {
    let summary = RunSummary::of(&record(&["public=100,300", "nat=cones,none"]), &[]);
    let sets: Vec<String> = summary.points.iter().map(|point| format!("{:?}", point.set)).collect();
    assert_eq!(sets.len(), 4);
    assert_eq!(sets[1], r#"{"nat": "none", "public": "100"}"#);
    let slow = |at: usize| summary.points[at].metrics["public_join_seconds"].p50;
    assert!(slow(0) < slow(3) && summary.points[0].metrics["public_join_seconds"].count == 60);
}

#[test]
fn an_expectation_is_judged_at_its_worst_point_and_fails_without_samples() {
    let mut record = record(&["public=100,300"]);
    let judge = |record: &Record, line: &str| {
        let summary = RunSummary::of(record, &[Expectation::parse(line).expect("sound")]);
        summary.expectations.first().map(|verdict| (verdict.value, verdict.ok))
    };
    let worst = record.summary("public_join_seconds", Some(1)).expect("there are samples").p50;
    assert_eq!(judge(&record, "public_join_seconds p50 <= 9 s"), Some((Some(worst), true)));
    assert_eq!(judge(&record, "public_join_seconds p50 <= 9 s if start = together"), None);
    assert_eq!(judge(&record, "direct_ratio p50 >= 1 %"), Some((None, false)));
    record.manifest.complete = false;
    let summary = RunSummary::of(&record, &[]);
    assert_eq!(summary.invalid_reasons, ["interrupted after 4 of 4 trials"]);
}

#[test]
fn figures_of_every_kind_of_sweep_are_well_formed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let sweeps: [(&str, &[&str]); 4] = [
        ("plain", &[]),
        ("numbers", &["public=100,300,700"]),
        ("names", &["nat=none,cones,default"]),
        ("both", &["public=100,300,1000,3000", "nat=none,cones,default"]),
    ];
    for (kind, set) in sweeps {
        let record = record(set);
        let figures = figure::draw(&record).expect("there are samples");
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert!(names.contains(&"public_join_seconds-cdf.svg"), "{names:?}");
        assert_eq!(names.iter().any(|name| name.contains("-by-")), !set.is_empty(), "{names:?}");
        for Figure { name, svg, .. } in figures {
            assert!(parse(&svg) > 20, "{name}");
            std::fs::write(folder.join(format!("{kind}-{name}")), svg).expect("the folder is writable");
        }
    }
}

/// Every text of a drawing with how far below its upper edge it stands, in pixels.
fn texts(svg: &str) -> Vec<(f64, String)> {
    let mut reader = Reader::from_str(svg);
    let (mut texts, mut y) = (Vec::new(), None);
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(tag) if tag.name().as_ref() == "text" => {
                let place = tag.try_get_attribute("y").expect("well-formed").expect("a text has a place");
                y = place.value.parse().ok();
            }
            Event::Text(text) => {
                texts.extend(y.take().map(|y| (y, text.trim().to_owned())));
            }
            Event::Eof => return texts,
            _ => {}
        }
    }
}

#[test]
fn every_legend_stands_below_its_plot() {
    for set in [&["private=3,20,100"][..], &["nat=none,cones"], &["public=100,300,700", "nat=none,cones"]] {
        for Figure { name, svg, .. } in figure::draw(&record(set)).expect("there are samples") {
            let texts = texts(&svg);
            let axis = texts.iter().find(|(_, text)| text.ends_with(']')).map(|(y, _)| *y);
            let is_legend = |text: &str| text.contains("median") || text.contains("95th percentile");
            let legend: Vec<f64> =
                texts.iter().filter(|(_, text)| is_legend(text)).map(|(y, _)| *y).collect();
            // Above stand 500 pixels with the plot and the names of its axes.
            assert!(axis.is_some_and(|y| y < 500.0), "{name}: {texts:?}");
            assert!(!legend.is_empty() && legend.iter().all(|y| *y >= 500.0), "{name}: {texts:?}");
        }
    }
}

#[test]
fn a_metric_that_never_varies_has_an_axis_that_can_be_read() {
    let mut record = record(&["public=100,300,700"]);
    let rows = record.rows.iter().filter(|row| row.metric == "failed_ratio").cloned();
    let direct = rows.map(|row| Row { metric: "direct_ratio".to_owned(), value: 1.0, ..row });
    record.rows.extend(direct.collect::<Vec<_>>());
    let figures = figure::draw(&record).expect("there are samples");
    let svg = |metric: &str| {
        let name = format!("{metric}-by-public.svg");
        &figures.iter().find(|figure| figure.name == name).expect("it is drawn").svg
    };
    let labels = |metric: &str| -> Vec<String> {
        svg(metric).lines().map(str::trim).filter(|line| !line.starts_with('<')).map(str::to_owned).collect()
    };
    for (metric, said, ticks, none) in [
        ("failed_ratio", "every sample is 0 %", ["0", "20", "100"], "0.5"),
        ("direct_ratio", "every sample is 100 %", ["0", "20", "100"], "110"),
        ("unexplained_failures", "every sample is 0 members", ["0", "1", "5"], "0.5"),
    ] {
        let labels = labels(metric);
        assert!(labels.iter().any(|label| label.contains(said)), "{metric}: {labels:?}");
        assert!(ticks.iter().all(|tick| labels.iter().any(|label| label == tick)), "{metric}: {labels:?}");
        assert!(labels.iter().all(|label| label != none), "{metric}: {labels:?}");
    }
}

#[test]
fn the_test_report_has_a_case_for_each_expectation_and_one_for_validity() {
    let record = record(&[]);
    let summary = RunSummary::of(&record, &expectations(&record));
    let xml = junit::junit(&record, &summary);
    assert_eq!(xml.matches("<testcase").count(), summary.expectations.len() + 1, "{xml}");
    assert_eq!(xml.matches("<failure").count(), summary.expectations.iter().filter(|one| !one.ok).count());
    assert!(parse(&xml) > 5);
}

#[test]
fn the_page_needs_no_other_file_and_names_its_command() {
    let record = record(&["public=100,300"]);
    let summary = RunSummary::of(&record, &expectations(&record));
    let figures = figure::draw(&record).expect("there are samples");
    let page = html::page(&record, &summary, &figures);
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let found = page.replace("http://www.w3.org/2000/svg", "").contains(outside);
        assert!(!found, "{outside}");
    }
    assert!(page.contains("<pre>atoll run join</pre>"));
    assert!(page.contains("j01 &amp; j02 are &quot;slow&quot;"));
    assert_eq!(page.matches("<figure").count(), figures.len());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html");
    std::fs::write(path, page).expect("the target folder is writable");
}

#[test]
fn the_table_on_the_terminal_names_every_metric_and_verdict() {
    let record = record(&[]);
    let summary = RunSummary::of(&record, &expectations(&record));
    let text = table::whole(&record, &summary, table::Colours::Off);
    for word in ["public_join_seconds", "route_hops", "p99", "ok", "note: trial 0: j01"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_saved_record_is_loaded_as_it_was_and_the_link_points_at_it() {
    let out = TempDir::new().expect("a folder for the test");
    let record = record(&[]);
    let folder = Folder::create(Target::Fresh(out.path()), &record.manifest).expect("it is writable");
    folder.save(&record).expect("it is writable");
    folder.link_latest().expect("it is writable");
    assert_eq!(record::load(&out.path().join("latest")).expect("it was saved"), record);
    let leftovers = std::fs::read_dir(out.path()).expect("it is there").flatten();
    assert!(leftovers.into_iter().all(|entry| !entry.file_name().to_string_lossy().ends_with(".part")));
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let out = TempDir::new().expect("a folder for the test");
    let record = record(&[]);
    let folder = Folder::create(Target::Fresh(out.path()), &record.manifest).expect("it is writable");
    folder.write("figures/a.svg", b"before").expect("it is writable");
    // A folder stands where the file's draft would be.
    std::fs::create_dir(out.path().join("figures/.figures-a.svg.part")).expect("it is writable");
    let error = folder.write("figures/a.svg", b"after").expect_err("the draft cannot be made");
    assert!(error.what.contains("figures/a.svg") && error.hint.is_some(), "{error}");
    assert_eq!(std::fs::read(out.path().join("figures/a.svg")).expect("it is there"), b"before");
    folder.keep_figures(&[]).expect("it is writable");
    assert!(!out.path().join("figures/a.svg").exists());
}

#[test]
fn an_earlier_result_stays_unless_it_is_to_be_replaced_and_other_files_stay_always() {
    let out = TempDir::new().expect("a folder for the test");
    let record = record(&[]);
    let create = |target| Folder::create(target, &record.manifest);
    let folder = create(Target::Replaced(out.path())).expect("an empty folder is fine");
    folder.save(&record).expect("it is writable");
    folder.write("figures/a.svg", b"drawn").expect("it is writable");
    folder.write("logs/trial-0009/world.txt", b"said").expect("it is writable");
    std::fs::write(out.path().join("notes.txt"), "mine").expect("it is writable");

    let error = create(Target::Fresh(out.path())).expect_err("there is a result");
    assert_eq!(error.why, "it holds the result of an earlier run");
    assert!(error.hint.is_some_and(|hint| hint.contains("--force")));
    assert_eq!(record::load(out.path()).expect("it is untouched"), record);

    create(Target::Replaced(out.path())).expect("it may be replaced");
    for gone in ["manifest.json", "samples.csv", "figures", "logs/trial-0009"] {
        assert!(!out.path().join(gone).exists(), "{gone} is still there");
    }
    assert!(out.path().join("plan.yaml").exists());
    assert_eq!(std::fs::read(out.path().join("notes.txt")).expect("it is there"), b"mine");

    let other = TempDir::new().expect("a folder for the test");
    std::fs::create_dir(other.path().join("logs")).expect("it is writable");
    let error = create(Target::Replaced(other.path())).expect_err("this is no result");
    assert_eq!(error.why, "it holds other files");
    assert!(other.path().join("logs").exists());
}

#[test]
fn what_is_no_results_folder_is_named() {
    let out = TempDir::new().expect("a folder for the test");
    let error = record::load(out.path()).expect_err("it is empty");
    assert!(error.what.contains("manifest.json") && error.hint.is_some(), "{error}");
}
