//! Pictures in SVG: what came beside the training data, and how it went on.

use super::page::{Text, number};
use std::fmt::Write as _;
use time::OffsetDateTime;

/// Colours of releases, in the order in which they began; told apart by their marks as well.
const COLOURS: [&str; 4] = ["#b3541e", "#1f5fa8", "#5b4b8a", "#2d6a4f"];
const REFERENCE: &str = "#b9c0c8";
const BAND: &str = "#e3efe4";
const BAND_EDGE: &str = "#7fae86";
const ALARM: &str = "#b00020";
const LINE: &str = "#d5d9de";

/// The colour of a release.
pub fn colour(release: usize) -> &'static str {
    COLOURS[release % COLOURS.len()]
}

/// Shares of a column by bin or category.
pub struct Shares<'a> {
    /// What is shown, for people.
    pub name: &'a str,
    /// Who it is of.
    pub release: &'a str,
    /// Which release that is.
    pub at: usize,
    /// What each bar is called, and what is written below it.
    pub bars: Vec<(String, Option<String>)>,
    /// Their shares in the training data (0 to 1).
    pub reference: Vec<f64>,
    /// Their shares here.
    pub current: Vec<f64>,
}

const WIDTH: f64 = 480.0;

impl Shares<'_> {
    /// Bars side by side: grey the training data, in colour what came. The heights go up to `most`, so that two
    /// pictures compare.
    pub fn svg(&self, most: f64) -> String {
        let (left, top, right, bottom) = (44.0, 26.0, 6.0, 34.0);
        let height = 190.0;
        let (inner, tall) = (WIDTH - left - right, height - top - bottom);
        let most = nice_above(most.max(0.01));
        let bars = self.bars.len().max(1) as f64;
        let step = inner / bars;
        let y = |share: f64| top + tall * (1.0 - (share / most).min(1.0));
        let description = {
            let mut changes: Vec<(f64, &str)> = self
                .bars
                .iter()
                .zip(self.reference.iter().zip(&self.current))
                .map(|((name, _), (was, is))| (is - was, name.as_str()))
                .collect();
            changes.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
            let told = changes.iter().take(3).map(|(by, name)| {
                format!("{name}: {}{} points", if *by < 0.0 { "" } else { "+" }, number(by * 100.0))
            });
            format!(
                "Largest differences to the training data: {}.",
                told.collect::<Vec<_>>().join("; ")
            )
        };
        let title = format!("{} of {} beside the training data", self.name, self.release);
        let mut svg = opened(WIDTH, height, &title, &description);
        let _ = write!(
            svg,
            "<text class=\"strong\" x=\"{left}\" y=\"15\">{}</text>",
            Text(self.release)
        );
        let ends = WIDTH - right;
        let _ = write!(
            svg,
            "<rect x=\"{}\" y=\"6\" width=\"11\" height=\"11\" fill=\"{REFERENCE}\"/>\
             <text x=\"{}\" y=\"15\">training data</text>\
             <rect x=\"{}\" y=\"6\" width=\"11\" height=\"11\" fill=\"{}\"/><text x=\"{}\" y=\"15\">now</text>",
            ends - 158.0,
            ends - 143.0,
            ends - 46.0,
            colour(self.at),
            ends - 31.0
        );
        for share in [0.0, most / 2.0, most] {
            let at = y(share);
            let _ = write!(
                svg,
                "<line x1=\"{left}\" x2=\"{ends}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{LINE}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} %</text>",
                left - 6.0,
                at + 4.0,
                number(share * 100.0)
            );
        }
        let gap = (step * 0.12).min(6.0);
        let half = (step - gap) / 2.0;
        for (bar, (was, is)) in self.reference.iter().zip(&self.current).enumerate() {
            let x = left + step * bar as f64 + gap / 2.0;
            for (share, from, fill) in [(was, x, REFERENCE), (is, x + half, colour(self.at))] {
                let at = y(*share);
                let _ = write!(
                    svg,
                    "<rect x=\"{from:.1}\" y=\"{at:.1}\" width=\"{half:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>",
                    top + tall - at
                );
            }
        }
        for (bar, (_, label)) in self.bars.iter().enumerate() {
            let Some(label) = label else { continue };
            let is_last = bar + 1 == self.bars.len() && self.bars.len() > 4;
            let (x, anchor) = match is_last {
                true => (ends, "end"),
                false => (left + step * (bar as f64 + 0.5), "middle"),
            };
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                top + tall + 16.0,
                Text(label)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The greatest share on either side.
    pub fn most(&self) -> f64 {
        self.reference.iter().chain(&self.current).copied().fold(0.0, f64::max)
    }
}

/// A figure span by span.
pub struct Series<'a> {
    /// What is shown, for people.
    pub name: &'a str,
    /// Of each release, from the first to begin on.
    pub releases: Vec<Line<'a>>,
    /// When alerts fired, and what they say.
    pub alerts: Vec<(i64, String)>,
    /// The spans of all releases, from and to, milliseconds since 1970. Where there was nothing for long, the
    /// picture is cut.
    pub spans: Vec<(i64, i64)>,
}

/// Where moments lie: pieces of time one after the other, with little between them.
struct Scale {
    pieces: Vec<(i64, i64)>,
    left: f64,
    /// Pixels of a millisecond, and of what is between two pieces.
    per_ms: f64,
    gap: f64,
}

impl Scale {
    fn new(spans: &[(i64, i64)], left: f64, inner: f64) -> Scale {
        let mut spans = spans.to_vec();
        spans.sort_unstable();
        let first = spans.first().map_or(0, |span| span.0);
        let last = spans.iter().map(|span| span.1).max().unwrap_or(first + 1);
        let longest = spans.iter().map(|span| span.1 - span.0).max().unwrap_or(1);
        // Long is what takes a fifth of the picture and several spans.
        let long = (3 * longest).max((last - first) / 5);
        let mut pieces: Vec<(i64, i64)> = Vec::new();
        for (from, to) in spans {
            match pieces.last_mut() {
                Some(piece) if from - piece.1 <= long => piece.1 = piece.1.max(to),
                _ => pieces.push((from, to)),
            }
        }
        if pieces.is_empty() {
            pieces.push((first, last));
        }
        let gap = inner * 0.04;
        let covered: i64 = pieces.iter().map(|(from, to)| to - from).sum();
        let room = inner - gap * (pieces.len() - 1) as f64;
        Scale { pieces, left, per_ms: room / (covered.max(1)) as f64, gap }
    }

    fn x(&self, ms: i64) -> f64 {
        let mut x = self.left;
        for (at, (from, to)) in self.pieces.iter().enumerate() {
            if ms < *from {
                // Between two pieces, or before the first.
                return if at == 0 { x } else { x - self.gap / 2.0 };
            }
            if ms <= *to {
                return x + (ms - from) as f64 * self.per_ms;
            }
            x += (to - from) as f64 * self.per_ms + self.gap;
        }
        x - self.gap
    }
}

/// What is drawn of a release.
pub struct Line<'a> {
    /// The release.
    pub release: &'a str,
    /// When it began and ended to answer.
    pub time_unix_ms: (i64, i64),
    /// What was learnt or is constant: below and above is outside.
    pub limits: (Option<f64>, Option<f64>),
    /// Spans.
    pub points: Vec<Point>,
}

/// A span.
pub struct Point {
    /// Its middle.
    pub at_unix_ms: i64,
    /// The figure.
    pub value: f64,
    /// Between what the exact one lies.
    pub bounds: (f64, f64),
    /// Whether it is outside of its limits.
    pub is_outside: bool,
}

impl Series<'_> {
    /// A line for each release, its limits behind it, a mark for each span; upright lines where a release began.
    pub fn svg(&self) -> String {
        let (left, top, right, bottom) = (64.0, 26.0, 14.0, 36.0);
        let (width, height) = (1_000.0, 236.0);
        let (inner, tall) = (width - left - right, height - top - bottom);
        let scale = Scale::new(&self.spans, left, inner);
        let x = |ms: i64| scale.x(ms);
        let points = || self.releases.iter().flat_map(|line| &line.points);
        let mut seen: Vec<f64> = points().map(|point| point.value).collect();
        for line in &self.releases {
            seen.extend(line.limits.0.into_iter().chain(line.limits.1));
        }
        seen.retain(|value| value.is_finite());
        let low = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let high = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let is_positive = low >= 0.0;
        let (mut low, high, step) = if low <= high { axis(low, high) } else { axis(0.0, 1.0) };
        if is_positive {
            low = low.max(0.0);
        }
        let y = |value: f64| top + tall * (1.0 - ((value - low) / (high - low)).clamp(0.0, 1.0));
        let outside = points().filter(|point| point.is_outside).count();
        let mut description =
            format!("{} spans, {outside} of them outside of the limits", points().count());
        for line in &self.releases {
            let _ = write!(
                description,
                "; {} from {} on",
                line.release,
                day(line.time_unix_ms.0, true)
            );
        }
        let title = format!("{} over time", self.name);
        let mut svg = opened(width, height, &title, &description);
        for (at, line) in self.releases.iter().enumerate() {
            self.limits(&mut svg, line, (&x, &y), (low, high));
            let begins = x(line.time_unix_ms.0);
            let upright = top + tall;
            let _ = write!(
                svg,
                "<line x1=\"{begins:.1}\" x2=\"{begins:.1}\" y1=\"{}\" y2=\"{upright}\" stroke=\"{}\" \
                 stroke-width=\"2\"/>",
                top - 12.0,
                colour(at)
            );
            let crowded = inner - (begins - left) < 110.0;
            let (place, anchor) =
                if crowded { (begins - 5.0, "end") } else { (begins + 5.0, "start") };
            let _ = write!(
                svg,
                "<text class=\"strong\" x=\"{place:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                top - 10.0,
                Text(line.release)
            );
        }
        let mut value = low;
        while value <= high + step / 2.0 {
            let at = y(value);
            let shown = number(if value.abs() < step / 1e6 { 0.0 } else { value });
            let _ = write!(
                svg,
                "<line x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{LINE}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{shown}</text>",
                width - right,
                left - 8.0,
                at + 4.0
            );
            value += step;
        }
        let below = top + tall;
        for (ms, text, anchor) in ticks(&scale) {
            let at = x(ms);
            let _ = write!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{below}\" y2=\"{}\" stroke=\"{LINE}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{text}</text>",
                below + 5.0,
                below + 20.0
            );
        }
        for pair in scale.pieces.windows(2) {
            let at = x(pair[0].1) + scale.gap / 2.0;
            let _ = write!(
                svg,
                "<g><title>nothing came from {} to {}</title><rect x=\"{:.1}\" y=\"{top}\" width=\"10\" \
                 height=\"{:.1}\" fill=\"#fff\"/><path d=\"M{:.1} {:.1} l6 -12 M{:.1} {:.1} l6 -12\" \
                 stroke=\"#57606a\"/></g>",
                day(pair[0].1, true),
                day(pair[1].0, true),
                at - 5.0,
                tall + 2.0,
                at - 6.0,
                below + 6.0,
                at,
                below + 6.0
            );
        }
        for (at, line) in self.releases.iter().enumerate() {
            marks(&mut svg, at, line, (&x, &y));
        }
        for (ms, text) in &self.alerts {
            let at = x(*ms);
            let _ = write!(
                svg,
                "<g><title>{}</title><path d=\"M{at:.1} {} l7 12 h-14 z\" fill=\"{ALARM}\"/></g>",
                Text(text),
                top + tall - 12.0
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn limits(
        &self,
        svg: &mut String,
        line: &Line,
        (x, y): (&dyn Fn(i64) -> f64, &dyn Fn(f64) -> f64),
        (low, high): (f64, f64),
    ) {
        let (below, above) = line.limits;
        if below.is_none() && above.is_none() {
            return;
        }
        let (from, to) = (x(line.time_unix_ms.0), x(line.time_unix_ms.1));
        let (upper, lower) = (y(above.unwrap_or(high)), y(below.unwrap_or(low)));
        let _ = write!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{upper:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{BAND}\"/>",
            to - from,
            (lower - upper).max(0.0)
        );
        for limit in [below, above].into_iter().flatten() {
            let at = y(limit);
            let _ = write!(
                svg,
                "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{BAND_EDGE}\" \
                 stroke-dasharray=\"5 4\"/>"
            );
        }
    }
}

fn marks(
    svg: &mut String,
    release: usize,
    line: &Line,
    (x, y): (&dyn Fn(i64) -> f64, &dyn Fn(f64) -> f64),
) {
    let fill = colour(release);
    let mut path = String::new();
    for point in line.points.iter().filter(|point| point.value.is_finite()) {
        let (at, high) = (x(point.at_unix_ms), y(point.value));
        let _ = write!(path, "{}{at:.1} {high:.1}", if path.is_empty() { "M" } else { "L" });
    }
    let _ =
        write!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{fill}\" stroke-width=\"1.5\"/>");
    for point in line.points.iter().filter(|point| point.value.is_finite()) {
        let (at, high) = (x(point.at_unix_ms), y(point.value));
        let said = format!(
            "{}, {}: {}{}",
            line.release,
            day(point.at_unix_ms, true),
            number(point.value),
            if point.is_outside { ", outside of its limits" } else { "" }
        );
        let _ = write!(svg, "<g><title>{}</title>", Text(&said));
        if point.bounds.0 < point.bounds.1 {
            let (lowest, highest) = (y(point.bounds.0), y(point.bounds.1));
            let _ = write!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{lowest:.1}\" y2=\"{highest:.1}\" stroke=\"{fill}\"/>"
            );
        }
        let edge = if point.is_outside { ALARM } else { fill };
        let _ = match (point.is_outside, release % 2) {
            // Larger and square on its corner, for who does not see the colour.
            (true, _) => write!(
                svg,
                "<path d=\"M{at:.1} {:.1} l6 6 l-6 6 l-6 -6 z\" fill=\"{edge}\"/>",
                high - 6.0
            ),
            (false, 0) => {
                write!(svg, "<circle cx=\"{at:.1}\" cy=\"{high:.1}\" r=\"3.2\" fill=\"{fill}\"/>")
            }
            (false, _) => write!(
                svg,
                "<circle cx=\"{at:.1}\" cy=\"{high:.1}\" r=\"3.2\" fill=\"#fff\" stroke=\"{fill}\" \
                 stroke-width=\"2\"/>"
            ),
        };
        svg.push_str("</g>");
    }
}

fn opened(width: f64, height: f64, title: &str, description: &str) -> String {
    format!(
        "<svg role=\"img\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\
         <title>{}</title><desc>{}</desc>",
        Text(title),
        Text(description)
    )
}

/// A round number at or above.
fn nice_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let nice = [1.0, 2.0, 4.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    nice.into_iter().find(|nice| *nice >= value * 0.999).unwrap_or(value)
}

/// Ends of an axis that has room for both values, and the step of its lines.
fn axis(low: f64, high: f64) -> (f64, f64, f64) {
    let spread = high - low;
    // What does not move at all lies in the middle.
    let (low, high) = match spread > (high.abs() + low.abs()) * 1e-9 {
        true => (low - spread * 0.04, high + spread * 0.06),
        false => (low - low.abs().max(1.0) * 0.1, high + high.abs().max(1.0) * 0.1),
    };
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    ((low / step).floor() * step, (high / step).ceil() * step, step)
}

/// A moment for people, UTC: the day, and the hour where it matters.
pub fn day(unix_ms: i64, with_time: bool) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1_000)) else {
        return "–".into();
    };
    let date = format!("{:04}-{:02}-{:02}", time.year(), u8::from(time.month()), time.day());
    match with_time && (time.hour(), time.minute()) != (0, 0) {
        true => format!("{date} {:02}:{:02}", time.hour(), time.minute()),
        false => date,
    }
}

/// Moments to be written below: round ones, some seven, with where their text is anchored.
fn ticks(scale: &Scale) -> Vec<(i64, String, &'static str)> {
    const MINUTE: i64 = 60_000;
    const DAY: i64 = 1_440 * MINUTE;
    let steps = [
        MINUTE,
        5 * MINUTE,
        15 * MINUTE,
        60 * MINUTE,
        180 * MINUTE,
        360 * MINUTE,
        720 * MINUTE,
        DAY,
        2 * DAY,
        7 * DAY,
        14 * DAY,
        28 * DAY,
        91 * DAY,
        182 * DAY,
        365 * DAY,
    ];
    let covered: i64 = scale.pieces.iter().map(|(from, to)| to - from).sum::<i64>().max(1);
    let step = steps.into_iter().find(|step| covered / step <= 8).unwrap_or(covered / 8 + 1);
    let mut ticks = Vec::new();
    for (from, to) in &scale.pieces {
        let first = -(-from).div_euclid(step) * step;
        let mut round: Vec<i64> =
            (0..=(to - first).max(-1) / step).map(|at| first + at * step).collect();
        round.retain(|at| (from..=to).contains(&at));
        if round.is_empty() {
            round.push(*from);
        }
        for at in round {
            let near = covered / 20;
            let anchor = match at {
                at if at - from < near => "start",
                at if to - at < near => "end",
                _ => "middle",
            };
            ticks.push((at, day(at, step < DAY), anchor));
        }
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_room_for_what_is_on_it_and_round_steps() {
        let (low, high, step) = axis(0.43, 1.31);
        assert!(low <= 0.43 && high >= 1.31 && (step - 0.2).abs() < 1e-12, "{low} {high} {step}");
        let (low, high, _) = axis(7.0, 7.0);
        assert!(low < 7.0 && high > 7.0);
        assert_eq!(nice_above(0.37), 0.4);
        assert!((nice_above(0.05) - 0.05).abs() < 1e-12);
        let days = |from: i64, to: i64| (from * 86_400_000, to * 86_400_000);
        let one = Scale::new(&[days(0, 1), days(1, 20)], 10.0, 100.0);
        assert_eq!((ticks(&one).len(), one.x(days(10, 10).0)), (3, 60.0));
        // A year without anything does not take the room of what there was.
        let two = Scale::new(&[days(0, 14), days(366, 380)], 0.0, 104.0);
        assert_eq!(two.pieces.len(), 2);
        assert!((two.x(days(14, 14).0) - 49.92).abs() < 0.01, "{}", two.x(days(14, 14).0));
        assert!((two.x(days(380, 380).0) - 104.0).abs() < 1e-6);
        assert_eq!(day(1_767_225_600_000, true), "2026-01-01");
        assert_eq!(day(1_767_225_600_000 + 5_400_000, true), "2026-01-01 01:30");
    }

    #[test]
    fn a_series_shows_where_a_release_began_what_is_outside_and_where_an_alert_fired() {
        let point = |at: i64, value, is_outside| Point {
            at_unix_ms: at * 86_400_000,
            value,
            bounds: (value, value),
            is_outside,
        };
        let line = |release, from: i64, to: i64, points| Line {
            release,
            time_unix_ms: (from * 86_400_000, to * 86_400_000),
            limits: (Some(0.4), Some(1.0)),
            points,
        };
        let series = Series {
            name: "score & more",
            releases: vec![
                line("turbine/1", 0, 3, vec![point(0, 0.5, false), point(1, 1.4, true)]),
                line("turbine/2", 3, 5, vec![point(3, 0.6, false), point(4, f64::NAN, false)]),
            ],
            alerts: vec![(2 * 86_400_000, "median <high>".into())],
            spans: vec![(0, 5 * 86_400_000)],
        };
        let svg = series.svg();
        assert!(svg.starts_with("<svg role=\"img\""));
        for words in [
            "<title>score &amp; more over time</title>",
            "4 spans, 1 of them outside of the limits; turbine/1 from 1970-01-01 on; turbine/2 from 1970-01-04 on",
            "turbine/1, 1970-01-02: 1.4, outside of its limits",
            "<title>median &lt;high&gt;</title>",
        ] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
