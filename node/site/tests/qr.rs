//! The QR code of a link says the link, also the longest one that there is.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use atoll_site::Told;
use common::{START, Served};

/// How many dots of the image one unit of the drawing has, as a screen has several.
const SCALE: usize = 4;

/// What a camera reads off a page.
fn scanned(page: &str) -> String {
    let (_, drawing) = page.split_once("<svg").unwrap();
    let side = drawing.split_once("width=\"").unwrap().1.split('"').next().unwrap();
    let side: usize = side.parse().unwrap();
    let mut dark = vec![false; side * side];
    let (_, path) = drawing.split_once(" d=\"").unwrap();
    // Each a rectangle: M<left> <top>h<width>v<height> and back.
    for one in path.split('"').next().unwrap().split('M').skip(1) {
        let mut numbers = one.split([' ', 'h', 'v', 'H']).map(|part| part.parse::<usize>().unwrap_or(0));
        let [left, top, width, height] = [(); 4].map(|()| numbers.next().unwrap());
        for row in top..top + height {
            dark[row * side + left..row * side + left + width].fill(true);
        }
    }
    let shade = |x: usize, y: usize| if dark[y / SCALE * side + x / SCALE] { 0 } else { 255 };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(side * SCALE, side * SCALE, shade);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "there is one code");
    grids[0].decode().unwrap().1
}

/// The link that a page shows, after its code was compared with it.
fn link(told: Option<Told>) -> String {
    let served = Served::telling((tempfile::tempdir().unwrap(), START), told);
    let mut ann = served.browser();
    ann.sign_up("ann");
    ann.post(("/", "/groups"), &[("name", "chess")]);
    let answer = ann.post(("/groups/chess", "/groups/chess/link"), &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = answer.body.split_once("class=\"long\">").unwrap().1.split('<').next().unwrap();
    let link = shown.replace("&#38;", "&").replace("&amp;", "&");
    assert_eq!(scanned(&answer.body), link);
    link
}

#[test]
fn the_code_of_a_link_says_the_link_also_if_it_is_as_long_as_it_can_be() {
    let usual = link(None);
    assert!(usual.starts_with("atoll://join?site=https://127.0.0.1:"), "{usual}");
    // The longest names of DNS, and as many members as a link names.
    let host = |first: &str| format!("{first}{}", [".aaaaaaaaaaaaaaaaaaaa"; 12].concat());
    let names = ["a", "b", "c", "d"].map(|first| format!("{}:65535", host(first)));
    assert_eq!(names[0].len(), 253 + ":65535".len());
    let urls = vec![format!("https://{}", names[0])];
    let longest = link(Some(Told::new(urls, names.to_vec())));
    assert_eq!(longest.matches("bootstrap=").count(), 3);
    assert!(longest.len() > 1200, "{}", longest.len());
    println!("{} letters", longest.len());
}
