//! What was counted, in the text format of Prometheus, version 0.0.4. It turns counts into a text and opens no
//! socket.

use std::fmt::Write;

/// Its media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from nought at the start of who counts it.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts of what lies below each of some ends, their number and their sum.
    Histogram,
}

/// A metric with its samples: what follows a `# TYPE` up to the next.
#[derive(Debug, Clone)]
pub struct Family {
    name: &'static str,
    text: String,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

impl Family {
    /// A metric without samples; `help` is a sentence, in one line.
    pub fn new(name: &'static str, kind: Kind, help: &str) -> Family {
        let text = format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word());
        Family { name, text }
    }

    /// Adds a sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.part("", labels, value);
    }

    /// Adds a sample of a histogram: `_bucket`, `_sum` or `_count`.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        // To write into a text cannot fail.
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (at, (name, label)) in labels.iter().enumerate() {
            let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{name}=\"{escaped}\"", if at == 0 { '{' } else { ',' });
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {}", shown(value));
    }

    /// The lines of it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A number as Prometheus reads it.
fn shown(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut family = Family::new("a_total", Kind::Counter, "How many.");
        family.sample(&[("model", "a\"b\\c\nd"), ("code", "200")], 3.0);
        family.sample(&[], 0.25);
        family.part("_bucket", &[("le", "+Inf")], f64::INFINITY);
        assert_eq!(
            family.text(),
            "# HELP a_total How many.\n# TYPE a_total counter\n\
             a_total{model=\"a\\\"b\\\\c\\nd\",code=\"200\"} 3\na_total 0.25\n\
             a_total_bucket{le=\"+Inf\"} +Inf\n"
        );
    }
}
