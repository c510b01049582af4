//! What people need who see little, or nothing, of the pages: contrasts, labels, headings (WCAG 2.2, levels A and AA).

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::node::Node;
use common::{Browser, Served};

const STYLE: &str = include_str!("../templates/style.css");

/// Red, green and blue.
type Colour = [f64; 3];

/// The colours that a line of the style defines.
fn colours(line: &str) -> BTreeMap<&str, Colour> {
    let named = line.split("--").skip(1).filter_map(|part| part.split_once(": #"));
    named.map(|(name, rest)| (name, hex(&rest[..6]))).collect()
}

fn hex(digits: &str) -> Colour {
    [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0)
}

/// WCAG 2.2, "relative luminance".
fn luminance(colour: Colour) -> f64 {
    let linear = |part: f64| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
    let [red, green, blue] = colour.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

/// WCAG 2.2, "contrast ratio".
fn contrast(one: Colour, other: Colour) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// The declarations of the rule with this selector.
fn rule(selector: &str) -> &'static str {
    let start = format!("{selector} {{");
    STYLE.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no rule for {selector}"))
}

/// The colour of a property's `var(--name)`, the last one of its value.
fn variable(selector: &str, property: &str) -> &'static str {
    let all = rule(selector).split(['{', ';']).map(str::trim);
    let value = all.filter_map(|one| one.strip_prefix(property)?.strip_prefix(':')).next_back();
    let value = value.unwrap_or_else(|| panic!("{selector} has no {property}"));
    value.split("var(--").last().unwrap().split(')').next().unwrap()
}

#[test]
fn words_have_a_contrast_of_four_and_a_half_and_what_one_uses_of_three() {
    assert!((contrast(hex("ffffff"), hex("000000")) - 21.0).abs() < 1e-9);
    assert!((contrast(hex("767676"), hex("ffffff")) - 4.54).abs() < 0.01);
    let scheme = |start: &str| colours(STYLE.lines().find(|line| line.starts_with(start)).unwrap());
    for (name, colours) in
        [("light", scheme(":root")), ("dark", scheme("@media (prefers-color-scheme: dark)"))]
    {
        assert!(colours.len() >= 8, "{name}: {colours:?}");
        let of = |one: &str, other: &str| contrast(colours[one], colours[other]);
        // WCAG 1.4.3: text on its ground.
        for (ink, ground) in [
            (variable("body", "color"), variable("body", "background")),
            (variable("a", "color"), "paper"),
            (variable("button, .button", "color"), variable("button, .button", "background")),
            (variable(".second", "color"), "paper"),
            (variable(".danger", "color"), "paper"),
            (variable(".plain", "color"), "paper"),
            ("ink", variable(".alert", "background")),
            ("blue", variable(".alert", "background")),
            ("ink", variable(".long", "background")),
        ] {
            assert!(of(ink, ground) >= 4.5, "{name}: {ink} on {ground}: {}", of(ink, ground));
        }
        let opacity: f64 =
            rule(".hint").split_once("opacity: ").unwrap().1.split(';').next().unwrap().parse().unwrap();
        let mixed =
            [0, 1, 2].map(|part| opacity * colours["ink"][part] + (1.0 - opacity) * colours["paper"][part]);
        assert!(contrast(mixed, colours["paper"]) >= 4.5, "{name}: hints");
        // WCAG 1.4.11: where a field is, which one has the focus, and what is urgent.
        let field = "input:not([type=radio]):not([type=hidden])";
        for edge in [
            variable(field, "border"),
            variable("button, .button", "border"),
            variable(".danger", "border-color"),
            variable("a:focus-visible, button:focus-visible, input:focus-visible", "outline"),
            variable(".alert", "border-left"),
            variable(".good", "border-color"),
        ] {
            assert!(of(edge, "paper") >= 3.0, "{name}: {edge}: {}", of(edge, "paper"));
        }
    }
}

/// A tag, with the words that follow it up to the next one.
struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
    text: &'a str,
}

impl<'a> Tag<'a> {
    fn all(page: &'a str) -> Vec<Self> {
        let tags = page.split('<').skip(1).map(|part| {
            let (tag, text) = part.split_once('>').unwrap();
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            Self { name, attributes, text }
        });
        tags.collect()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let at = format!(" {}", self.attributes).find(&format!(" {name}=\""))?;
        self.attributes[at + name.len() + 2..].split('"').next()
    }
}

#[track_caller]
fn is_accessible(place: &str, page: &str) {
    let tags = Tag::all(page);
    let count = |name: &str| tags.iter().filter(|tag| tag.name == name).count();
    assert_eq!((count("h1"), count("main"), count("title")), (1, 1, 1), "{place}");
    assert!(page.contains("<html lang=\"en\">") && !page.contains("<title> "), "{place}");
    let mut ids = BTreeSet::new();
    for id in tags.iter().filter_map(|tag| tag.get("id")) {
        assert!(ids.insert(id), "{place}: `{id}` twice");
    }
    let labels: BTreeSet<&str> =
        tags.iter().filter(|tag| tag.name == "label").filter_map(|tag| tag.get("for")).collect();
    let mut before = "";
    for tag in &tags {
        for name in ["for", "aria-labelledby", "aria-describedby"] {
            if let Some(id) = tag.get(name) {
                assert!(ids.contains(id), "{place}: {name} `{id}` is nowhere");
            }
        }
        if let Some(id) = tag.get("href").and_then(|href| href.strip_prefix('#')) {
            assert!(ids.contains(id), "{place}: #{id} is nowhere");
        }
        let shown = || format!("{place}: <{} {}>", tag.name, tag.attributes);
        match tag.name {
            "input" if tag.get("type") != Some("hidden") => {
                let is_in_label = before == "label" && !tag.text.trim().is_empty();
                let is_labelled = tag.get("id").is_some_and(|id| labels.contains(id));
                assert!(is_labelled || is_in_label, "{} has no label", shown());
            }
            "a" | "button" | "label" | "legend" | "h1" | "h2" | "th" if tag.get("aria-label").is_none() => {
                let is_empty = tag.text.trim().is_empty() && !matches!(tag.name, "th" | "label");
                assert!(!is_empty, "{} says nothing", shown());
            }
            "svg" | "img" => assert!(page.contains("role=\"img\" aria-label="), "{}", shown()),
            _ => {}
        }
        if tag.name == "th" {
            assert!(tag.get("scope").is_some(), "{}", shown());
        }
        if tag.name == "nav" {
            assert!(tag.get("aria-label").is_some(), "{}", shown());
        }
        before = tag.name;
    }
}

#[test]
fn every_page_has_one_heading_labels_for_its_fields_and_names_once() {
    let served = Served::new();
    let (mut ann, mut bob, mut nobody) = (served.browser(), served.browser(), served.browser());
    let look = |browser: &mut Browser<'_>, place: &str| is_accessible(place, &browser.get(place).body);
    for place in ["/", "/login", "/signup", "/nowhere"] {
        look(&mut nobody, place);
    }
    let wrong = nobody.post(("/login", "/login"), &[("name", "ann"), ("password", "wrong horses")]);
    is_accessible("a wrong password", &wrong.body);
    ann.sign_up("ann");
    bob.sign_up("bob");
    look(&mut ann, "/");
    ann.post(("/", "/groups"), &[("name", "chess")]);
    look(&mut bob, "/groups/chess");
    bob.post(("/groups/chess", "/groups/chess/ask"), &[]);
    look(&mut bob, "/groups/chess");
    look(&mut ann, "/groups/chess/requests");
    ann.post(("/groups/chess/requests", "/groups/chess/requests/bob"), &[("answer", "admit")]);
    ann.post(("/groups/chess", "/groups/chess/policy"), &[("policy", "first"), ("first", "1")]);
    let user = served.again("bob");
    for _ in 0..3 {
        Node::of(&user, "chess").enrol(&served);
    }
    let invitations = "/groups/chess/invitations";
    let made = ann.post((invitations, invitations), &[("uses", "1"), ("days", "1")]).body;
    is_accessible("an invitation that was made", &made);
    let invited =
        format!("/invite/chess/{}", made.split_once("/invite/chess/").unwrap().1.split('<').next().unwrap());
    for place in [
        "/",
        "/account",
        "/groups/chess",
        "/groups/chess/requests",
        invitations,
        "/groups/chess/audit",
        "/groups/chess/members/bob",
        "/groups/chess/members/ann",
        &invited,
        "/groups/nowhere",
    ] {
        look(&mut ann, place);
    }
    for place in
        ["/groups/chess", "/groups/chess/members/bob", "/groups/chess/members/ann", "/groups/chess/audit"]
    {
        look(&mut bob, place);
    }
    is_accessible("a link", &bob.post(("/groups/chess", "/groups/chess/link"), &[]).body);
    ann.post(("/groups/chess", "/groups/chess/members/bob"), &[("act", "revoke")]);
    look(&mut bob, "/groups/chess");
}
