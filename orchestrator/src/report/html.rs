//! `report.html`: the whole result on one page that needs no other file and no network.

use std::fmt::Write as _;

use crate::figure::Figure;
use crate::metric;
use crate::record::{Record, RunSummary, Verdict};
use crate::stats::Summary;

const STYLE: &str = include_str!("report.css");

/// The page.
#[must_use]
pub fn page(record: &Record, summary: &RunSummary, figures: &[Figure]) -> String {
    let manifest = &record.manifest;
    let title = escape(&format!("{} in {}", manifest.name, manifest.environment));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    verdict(&mut html, record, summary);
    expectations(&mut html, &summary.expectations);
    metrics(&mut html, record);
    for figure in figures {
        let _ = writeln!(html, "<figure id=\"{}\">\n{}</figure>", escape(&figure.name), inline(&figure.svg));
    }
    notes(&mut html, record);
    origin(&mut html, record, summary);
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// Text as it may stand in HTML and XML, in attributes too; control characters are left out.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// A drawing that takes the page's colours: no paper behind it, and its greys follow the text.
fn inline(svg: &str) -> String {
    let start = svg.find("<svg").unwrap_or(0);
    let mut drawing = svg[start..].to_owned();
    // The view box stays, so that the drawing keeps its shape at any width.
    if let Some(end) = drawing.find("viewBox") {
        drawing.replace_range(..end, "<svg role=\"img\" ");
    }
    if let Some(paper) = drawing.find("<rect") {
        let end = drawing[paper..].find("/>").map_or(paper, |end| paper + end + 2);
        drawing.replace_range(paper..end, "");
    }
    for grey in ["#141414", "#282828", "#3C3C3C", "#6E6E6E", "#000000"] {
        drawing = drawing.replace(grey, "currentColor");
    }
    drawing.replace("#E1E1E1", "var(--line)").replace("#FFFFFF", "var(--paper)")
}

fn verdict(html: &mut String, record: &Record, summary: &RunSummary) {
    let (class, word) = match (summary.valid, summary.all_ok()) {
        (false, _) => ("bad", "not valid"),
        (true, false) => ("bad", "an expectation failed"),
        (true, true) if summary.expectations.is_empty() => ("good", "valid; nothing was expected"),
        (true, true) => ("good", "as expected"),
    };
    let manifest = &record.manifest;
    let _ = writeln!(
        html,
        "<p><strong class=\"{class}\">{word}</strong> · experiment <code>{}</code> · {} trials · {}</p>",
        escape(&manifest.experiment),
        manifest.trials.len(),
        escape(&manifest.started),
    );
    if !summary.valid {
        list(html, "Why the figures cannot be trusted", &summary.invalid_reasons);
    }
}

fn expectations(html: &mut String, verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    html.push_str("<h2>Expectations</h2>\n<table>\n<tr><th>expected</th><th>found</th><th></th></tr>\n");
    for verdict in verdicts {
        let (class, word) = if verdict.ok { ("good", "ok") } else { ("bad", "failed") };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{word}</td></tr>",
            escape(&verdict.claim()),
            escape(&verdict.found()),
        );
    }
    html.push_str("</table>\n");
}

fn metrics(html: &mut String, record: &Record) {
    html.push_str("<h2>Measurements</h2>\n");
    for (point, entry) in record.manifest.points.iter().enumerate() {
        if !entry.label.is_empty() {
            let _ = writeln!(html, "<h3><code>{}</code></h3>", escape(&entry.label));
        }
        html.push_str(
            "<div class=\"wide\"><table>\n<tr><th>metric</th><th>unit</th><th>n</th><th>mean</th><th>min</th>\
             <th>p50</th><th>p95</th><th>p99</th><th>max</th></tr>\n",
        );
        for metric in metric::ALL {
            if let Some(summary) = record.summary(metric.name, Some(point)) {
                figures(html, metric, &summary);
            }
        }
        html.push_str("</table></div>\n");
    }
}

fn figures(html: &mut String, metric: metric::Metric, summary: &Summary) {
    let _ = write!(
        html,
        "<tr><td><code>{}</code><br><small>{}</small></td><td>{}</td><td>{}</td>",
        metric.name,
        metric.title,
        metric.unit.symbol(),
        summary.count
    );
    for value in [summary.mean, summary.min, summary.p50, summary.p95, summary.p99, summary.max] {
        let _ = write!(html, "<td>{}</td>", metric.unit.show(value));
    }
    html.push_str("</tr>\n");
}

fn notes(html: &mut String, record: &Record) {
    let trials = record.manifest.trials.iter();
    let notes: Vec<String> = trials
        .flat_map(|trial| trial.notes.iter().map(|note| format!("trial {}: {note}", trial.number)))
        .collect();
    if !notes.is_empty() {
        list(html, "Notes", &notes);
    }
}

fn list(html: &mut String, title: &str, lines: &[String]) {
    let _ = writeln!(html, "<h2>{title}</h2>\n<ul>");
    for line in lines {
        let _ = writeln!(html, "<li>{}</li>", escape(line));
    }
    html.push_str("</ul>\n");
}

fn origin(html: &mut String, record: &Record, summary: &RunSummary) {
    let manifest = &record.manifest;
    let host = &manifest.host;
    let cost = &summary.cost;
    let _ = writeln!(
        html,
        "<h2>Where it comes from</h2>\n<p>Made by</p>\n<pre>{}</pre>\n\
         <p>atoll {}{} on {} ({}, {} processors, {:.1} GB): {:.1} s of processor time in {:.1} s, {:.0} MB at most, \
         {} events.</p>\n<h3>Plan</h3>\n<pre>{}</pre>",
        escape(&manifest.command.join(" ")),
        escape(&manifest.versions.atoll),
        manifest.versions.git.as_ref().map_or_else(String::new, |git| format!(" ({})", escape(git))),
        escape(&host.name),
        escape(&host.kernel),
        host.cpus,
        host.memory_bytes as f64 / 1e9,
        cost.cpu_seconds,
        cost.wall_seconds,
        cost.peak_rss_bytes as f64 / 1e6,
        cost.events,
        escape(&manifest.plan),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_name_holds_becomes_markup() {
        assert_eq!(escape("<a href=\"x\">&\u{1b}"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn an_inline_drawing_has_no_paper_and_no_fixed_greys() {
        let svg = "<svg width=\"860\" height=\"500\" viewBox=\"0 0 860 500\">\n<rect fill=\"#FFFFFF\"/>\n<text fill=\"#3C3C3C\"/></svg>";
        let drawing = inline(svg);
        assert!(!drawing.contains("<rect") && drawing.contains("currentColor"), "{drawing}");
    }
}
