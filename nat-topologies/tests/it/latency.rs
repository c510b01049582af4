//! Latencies: the generator looks like the Internet, the loaders say what is wrong and where.

use std::time::Duration;

use atoll_topology::*;

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Median and 95th percentile of the RTTs, and the share of ordered triples whose direct way is the longer one.
fn statistics(latency: &Latency, points: u32) -> [f64; 3] {
    let mut rtts: Vec<f64> =
        (0..points).flat_map(|a| (0..a).map(move |b| (a, b))).map(|(a, b)| ms(latency.rtt(a, b))).collect();
    rtts.sort_by(f64::total_cmp);
    let (mut triples, mut violations) = (0_u32, 0_u32);
    let mut state = 1_u64;
    let mut point = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % points
    };
    while triples < 300_000 {
        let (a, b, c) = (point(), point(), point());
        if a != b && b != c && a != c {
            triples += 1;
            let detour = latency.rtt(a, b) + latency.rtt(b, c);
            violations += u32::from(latency.rtt(a, c) > detour);
        }
    }
    let at = |share: f64| rtts[(rtts.len() as f64 * share) as usize];
    [at(0.5), at(0.95), f64::from(violations) / f64::from(triples)]
}

#[test]
fn the_generator_looks_like_the_internet_whatever_the_seed() {
    for seed in 0..8 {
        let latency = Latency::Generated(Generated::new(seed));
        let [median, tail, violations] = statistics(&latency, 700);
        println!("seed {seed}: {median:.1} ms, {tail:.1} ms, {violations:.4}");
        assert!((134.0..=170.0).contains(&median), "seed {seed}: median {median} ms");
        assert!((320.0..=460.0).contains(&tail), "seed {seed}: 95th percentile {tail} ms");
        assert!((0.05..=0.06).contains(&violations), "seed {seed}: violations {violations}");
    }
}

#[test]
fn the_generator_is_symmetric_and_never_quicker_than_light() {
    let latency = Latency::Generated(Generated::new(1));
    for (a, b) in [(0, 1), (7, 123_456), (4_000_000_000, 3)] {
        assert_eq!(latency.one_way(a, b), latency.one_way(b, a));
        assert!(latency.one_way(a, b) >= Duration::from_millis(2));
    }
}

#[test]
fn planetlab_is_read_as_round_trips() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/latency/planetlab-490-rtt-ms.csv");
    let path = std::env::var("ATOLL_TEST_MATRIX").unwrap_or_else(|_| beside.into());
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: no matrix at {path}; set ATOLL_TEST_MATRIX");
        return;
    };
    let matrix = RttMatrix::from_rtt_ms_csv(&text).unwrap();
    assert_eq!(matrix.points(), 490);
    let latency = Latency::Matrix(matrix);
    let [median, tail, violations] = statistics(&latency, 490);
    assert!((median - 134.0).abs() < 1.0 && (tail - 326.0).abs() < 1.0, "{median} {tail}");
    assert!((violations - 0.057).abs() < 0.003, "{violations}");
    let (a, b) = (latency.one_way(3, 4), latency.rtt(3, 4));
    assert_eq!(a * 2, b);
}

#[test]
fn a_csv_without_names_is_read_as_one_with_them() {
    let bare = RttMatrix::from_rtt_ms_csv("0, 10,20\n10,0,30\n20,,0\n").unwrap();
    let named = RttMatrix::from_rtt_ms_csv("rtt,a,b,c\na,0,10,20\nb,10,0,30\nc,20,,0\n").unwrap();
    assert_eq!(bare, named);
    assert_eq!((bare.points(), bare.rtt(2, 1), bare.filled()), (3, Duration::from_millis(30), 1));
    let cut = RttMatrix::from_rtt_ms_csv("0,10\n10\n").unwrap_err().to_string();
    assert!(cut.starts_with("line 2, column 3: expected 2 cells"), "{cut}");
}

#[test]
fn names_are_told_from_round_trips_or_the_csv_is_refused() {
    let rows = "0,10,20\n10,0,30\n20,30,0\n";
    let bare = RttMatrix::from_rtt_ms_csv(rows).unwrap();
    let numbered = ",1,2,3\n1,0,10,20\n2,10,0,30\n3,20,30,0\n";
    let from_zero = "n,0,1,2\n0,0,10,20\n1,10,0,30\n2,20,30,0\n";
    let cornered = "0,a,b,c\na,0,10,20\nb,10,0,30\nc,20,30,0\n";
    for text in [&*format!("\u{feff}{}", rows.replace('\n', "\r\n")), numbered, from_zero, cornered] {
        assert_eq!(RttMatrix::from_rtt_ms_csv(text).unwrap(), bare, "{text}");
    }
    let error = RttMatrix::from_rtt_ms_csv("# made up\n,10,20\n10,,30\n20,30,\n").unwrap_err();
    assert_eq!((error.line, error.column), (2, 1));
    assert!(error.hint.starts_with("write `0` into the first cell if there are no names"), "{error:?}");
    let half = RttMatrix::from_rtt_ms_csv("0,ten,20\n10,0,30\n20,30,0\n").unwrap_err();
    assert_eq!((half.line, half.column), (1, 3), "{half}");
    for one_sided in ["a,b,c\n0,1,2\n1,0,3\n2,3,0\n", "a,0,1,2\nb,1,0,3\nc,2,3,0\n"] {
        let error = RttMatrix::from_rtt_ms_csv(one_sided).unwrap_err();
        assert!(error.hint.starts_with("names stand in the first row and in the first column"), "{error:?}");
    }
}

#[test]
fn a_small_csv_is_read_and_its_gaps_are_filled() {
    let text = "rtt_ms,a,b,c,d\na,,10,20,\nb,10,,,30\nc,20,,,\nd,,,,\n";
    let matrix = RttMatrix::from_rtt_ms_csv(text).unwrap();
    let rtt = |a, b| ms(matrix.rtt(a, b)).round();
    assert_eq!(matrix.points(), 4);
    assert_eq!((rtt(0, 1), rtt(0, 2), rtt(1, 3)), (10.0, 20.0, 30.0));
    assert_eq!(rtt(3, 1), 30.0, "the opposite direction");
    assert_eq!(rtt(1, 2), 30.0, "over the first point");
    assert_eq!(rtt(0, 3), 40.0, "over the second point");
    assert_eq!(rtt(3, 2), 20.0, "the median, for want of anything better");
    assert_eq!(matrix.filled(), 7);
}

#[test]
fn a_king_matrix_is_read_in_microseconds() {
    let matrix = RttMatrix::from_rtt_us_king("# made up\n0 10000 -1\n10000 0 30000\n0 30000 0\n").unwrap();
    assert_eq!(matrix.points(), 3);
    assert_eq!(ms(matrix.rtt(0, 1)).round(), 10.0);
    assert_eq!(ms(matrix.rtt(0, 2)).round(), 40.0, "over the second point");
    assert_eq!(ms(Latency::Matrix(matrix).one_way(1, 2)).round(), 15.0);
}

#[test]
fn a_wrong_matrix_says_where_and_what_was_expected() {
    let csv = |text| RttMatrix::from_rtt_ms_csv(text).unwrap_err();
    let king = |text| RttMatrix::from_rtt_us_king(text).unwrap_err();
    let error = csv("x,a,b\na,,ten\nb,1,\n");
    assert_eq!((error.line, error.column), (2, 4));
    assert_eq!(
        error.to_string(),
        "line 2, column 4: expected a round-trip time up to one minute and found `ten`"
    );
    assert_eq!(csv("x,a,b\na,,1\nb,1\n").to_string(), "line 3, column 4: expected 2 cells and found 1");
    assert_eq!(
        csv("x,a,b\na,,1\n").to_string(),
        "line 2, column 1: expected 2 rows, as many as columns, and found 1"
    );
    assert_eq!((csv("").line, king("\n").line), (1, 1));
    let error = king("0 5\n5 x\n");
    assert_eq!((error.line, error.column), (2, 3));
    assert!(csv("x,a,b\na,,-1\nb,1,\n").message.contains("-1"));
    assert!(csv("x,a,b\na,,\nb,,\n").message.contains("no measured cell"));
}
