//! `Report -> spans`: an installation as one trace, with what each step of it took. Made of what the update engine
//! reports anyway, so that nothing else changes where nobody traces. Of what was under way before a start of the
//! agent only the steps that come after it are told.

use crate::lock::lock;
use lineside_trace::{Kind, Span, Tracer};
use lineside_update::{Report, ReportKind};
use lineside_wire::name::SlotName;
use std::sync::Mutex;

/// The installation that is under way in a slot.
pub struct Installing {
    tracer: Tracer,
    slot: SlotName,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// The number of the last report, so that one that is handed over twice counts once.
    last: Option<u64>,
    /// The step that is under way; before the whole, because it ends first.
    step: Option<Span>,
    whole: Option<Span>,
}

impl Installing {
    /// In this slot.
    pub fn new(slot: SlotName, tracer: Tracer) -> Installing {
        Installing { tracer, slot, open: Mutex::default() }
    }

    /// Takes what the update engine reports.
    pub fn report(&self, report: &Report) {
        use ReportKind::{
            Approved, Assigned, Cancelled, Committed, DownloadFailed, Downloaded, Held, Overdue,
            Refused, RolledBack, ShadowPassed, Staged, TrialCancelled, TrialStarted, Vacant,
            WorkerFailed,
        };

        if self.tracer.is_off() {
            return;
        }
        let mut open = lock(&self.open);
        if open.last.is_some_and(|last| report.number <= last) {
            return;
        }
        open.last = Some(report.number);
        match report.kind {
            Assigned => {
                *open = Open { last: open.last, ..Open::default() };
                self.begin(&mut open, report, "download");
            }
            DownloadFailed => {
                if let Some(step) = &mut open.step {
                    step.fail(&report.text);
                }
                self.begin(&mut open, report, "download");
            }
            Downloaded => self.begin(&mut open, report, "check"),
            Staged => self.begin(&mut open, report, "wait"),
            TrialStarted => self.begin(&mut open, report, "trial"),
            Committed => end(&mut open, None),
            Refused | Cancelled | TrialCancelled | RolledBack | Vacant => {
                end(&mut open, Some(&report.text));
            }
            ShadowPassed | Held | Overdue | Approved | WorkerFailed => {}
        }
    }

    /// Ends a step, and begins the next.
    fn begin(&self, open: &mut Open, report: &Report, step: &str) {
        open.step = None;
        let whole = open.whole.get_or_insert_with(|| {
            let mut whole = self.tracer.begin("installation", Kind::Internal, None);
            whole.set("lineside.slot", self.slot.as_str());
            if let Some(release) = &report.release {
                whole.set("lineside.release", &*format!("{}/{}", release.name, release.version));
            }
            whole
        });
        open.step = Some(self.tracer.begin(step, Kind::Internal, whole.context()));
    }
}

fn end(open: &mut Open, failed: Option<&str>) {
    if let Some(why) = failed {
        open.step.iter_mut().chain(&mut open.whole).for_each(|span| span.fail(why));
    }
    open.step = None;
    open.whole = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    /// What a collector is told first: name, name of what it is a part of, and why it failed.
    fn told(listener: TcpListener) -> Vec<(String, String, String)> {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim().to_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                None if line.trim().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        let told: Value = serde_json::from_slice(&body).unwrap();
        let spans = told["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name_of = |id: &Value| {
            let span = spans.iter().find(|span| span["spanId"] == *id);
            span.map(|span| text(&span["name"])).unwrap_or_default()
        };
        let one = |span: &Value| {
            (text(&span["name"]), name_of(&span["parentSpanId"]), text(&span["status"]["message"]))
        };
        spans.iter().map(one).collect()
    }

    #[test]
    fn an_installation_is_a_trace_of_its_steps_and_ends_as_it_did() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let tracer = Tracer::to(&endpoint, vec![]).unwrap();
        let installing = Installing::new("line".parse().unwrap(), tracer);
        use ReportKind::*;
        let kinds = [
            Assigned,
            DownloadFailed,
            Downloaded,
            Staged,
            Held,
            TrialStarted,
            Committed,
            Vacant,
            Assigned,
            Downloaded,
            Staged,
            TrialStarted,
            WorkerFailed,
            RolledBack,
        ];
        for (number, kind) in (0..).zip(kinds) {
            let report = Report { number, kind, release: None, text: format!("{kind:?}") };
            installing.report(&report);
            // Handed over again, because the disk did not take it at once.
            installing.report(&report);
        }
        let of = |name: &str, failed: &str| (name.into(), "installation".into(), failed.into());
        let wanted: [(String, String, String); 11] = [
            of("download", "DownloadFailed"),
            of("download", ""),
            of("check", ""),
            of("wait", ""),
            of("trial", ""),
            ("installation".into(), "".into(), "".into()),
            of("download", ""),
            of("check", ""),
            of("wait", ""),
            of("trial", "RolledBack"),
            ("installation".into(), "".into(), "RolledBack".into()),
        ];
        assert_eq!(told(listener), wanted);
    }
}
