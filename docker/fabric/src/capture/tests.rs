use super::*;

const NONE: [(String, u64); 0] = [];

fn capture(bytes_max: u64) -> (tempfile::TempDir, std::path::PathBuf, Capture) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcap");
    let capture = Capture::begin(&path, bytes_max, Clock::starting_now()).unwrap();
    (folder, path, capture)
}

fn missing(summary: &Summary) -> Vec<(String, u64)> {
    summary.missing.clone().into_iter().collect()
}

#[test]
fn a_capture_holds_every_packet_at_its_time() {
    let (_folder, path, mut capture) = capture(u64::MAX);
    let packets: Vec<Vec<u8>> = (0..5_000u32).map(|n| n.to_be_bytes().repeat(25)).collect();
    let at = |n: usize| Duration::from_micros(7 * n as u64);
    packets.iter().enumerate().for_each(|(n, packet)| capture.take(at(n), packet));
    let zero = capture.zero;
    let summary = capture.end();
    let file = std::fs::read(path).unwrap();
    let read = file::read(&file).unwrap();
    assert_eq!(
        read.iter().map(|packet| &packet.bytes).collect::<Vec<_>>(),
        packets.iter().collect::<Vec<_>>()
    );
    assert!(read.iter().enumerate().all(|(n, packet)| packet.at == zero + at(n)));
    assert_eq!((summary.packets, summary.bytes), (5_000, file.len() as u64));
    assert_eq!((missing(&summary), summary.error), (NONE.to_vec(), None));
}

#[test]
fn a_full_capture_ends_with_a_whole_packet_and_counts_the_rest() {
    let room = (file::HEADER + 2 * (file::PACKET_HEADER + 100)) as u64;
    let (_folder, path, mut capture) = capture(room + 50);
    for length in [100, 100, 100, 1] {
        capture.take(Duration::ZERO, &vec![9; length]);
    }
    assert_eq!(missing(&capture.summary()), [("full".to_owned(), 2)]);
    let summary = capture.end();
    assert_eq!((summary.packets, summary.bytes), (2, room));
    let file = std::fs::read(path).unwrap();
    assert_eq!((file.len() as u64, file::read(&file).unwrap().len()), (room, 2));
}

#[test]
fn packets_are_in_the_file_soon_and_not_only_at_the_end() {
    let (_folder, path, mut capture) = capture(u64::MAX);
    capture.take(Duration::ZERO, &[1; 40]);
    capture.take(CHUNK_AGE, &[2; 40]);
    let start = std::time::Instant::now();
    while file::read(&std::fs::read(&path).unwrap()).unwrap().len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "in vain");
        thread::yield_now();
    }
    assert_eq!(capture.end().packets, 2);
}

#[test]
fn what_the_writer_is_too_slow_for_is_left_out_and_counted() {
    let (_folder, _path, capture) = capture(u64::MAX);
    let (chunks, slow) = sync_channel(1);
    let mut capture = Capture { chunks, ..capture };
    for n in 0..3 {
        capture.take(n * CHUNK_AGE, &[1; 40]);
        capture.take((n + 1) * CHUNK_AGE, &[2; 40]);
    }
    let summary = capture.summary();
    assert_eq!((summary.packets, missing(&summary)), (2, vec![("behind".to_owned(), 4)]));
    drop(slow);
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let (_folder, path, capture) = capture(u64::MAX);
    let again = Capture::begin(&path, u64::MAX, Clock::starting_now());
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(capture.end().packets, 0);
}
