//! `Reading -> windows of a frame`, however the bundle cuts: stream by stream by number, or key by key by
//! time.

use super::frame::{FrameError, Span, Unused};
use super::joiner::{Joined, Joiner};
use super::reading::ReadingRef;
use super::streams::Streams;
use super::window::{Broken, Cut as Counted, Window, Windower};
use lineside_bundle::{BundleFile, Cut, TimeCut, TimeWindow};

/// A frame as it was cut.
pub(super) struct Framed {
    pub key: String,
    pub number: u64,
    /// First reading that it accounts for, of the first port that has any.
    pub first: u64,
    pub last: u64,
    /// Where there are several ports, what it accounts for by stream.
    pub spans: Vec<(String, Span)>,
    pub unused: Unused,
    pub time_unix_ns: i64,
    /// What came before it is another succession, though its readings follow by number.
    pub is_behind_gap: bool,
    /// One for each stage that is a window, by name.
    pub windows: Result<Vec<Vec<f32>>, FrameError>,
}

/// Where a stream has ended.
pub(super) struct Ended {
    pub key: String,
    /// The frames that its end brings.
    pub frames: Vec<Framed>,
    /// The number after the last frame's.
    pub number: u64,
    /// The number after the last reading's, of the first port that has any.
    pub next: u64,
    /// Where there are several ports, the stream that `next` is of.
    pub spans: Vec<(String, Span)>,
    pub time_unix_ns: i64,
}

/// The open windows of all streams.
pub(super) enum Cutter {
    Count { rows: u32, stride: u32, fields: usize, gap_ns: Option<u64>, streams: Streams<Windower> },
    Time(Box<Timed>),
}

/// What windows by time are cut with.
pub(super) struct Timed {
    bundle: BundleFile,
    cut: TimeCut,
    windows: Vec<TimeWindow>,
    fields: Vec<usize>,
    ports: Vec<String>,
    keys: Streams<Joiner>,
}

impl Cutter {
    /// As a description that was checked says.
    pub(super) fn of(bundle: &BundleFile) -> Cutter {
        match bundle.cut() {
            Cut::Count { rows, stride } => {
                let fields = bundle.port().1.fields.len();
                let gap_ns = bundle.window_gap_ns();
                Cutter::Count { rows, stride, fields, gap_ns, streams: Streams::default() }
            }
            Cut::Time(cut) => Cutter::Time(Box::new(Timed {
                bundle: bundle.clone(),
                cut,
                windows: bundle.time_windows(),
                fields: bundle.inputs.values().map(|port| port.fields.len()).collect(),
                ports: bundle.inputs.keys().cloned().collect(),
                keys: Streams::default(),
            })),
        }
    }

    /// Whether frames go by time.
    pub(super) fn is_by_time(&self) -> bool {
        matches!(self, Cutter::Time(_))
    }

    /// Takes a stream's next reading; gives the frames that it ends, and where there are `keys_max` keys
    /// and this is another one, the frame that it belongs to.
    pub(super) fn push<'a>(
        &mut self,
        reading: impl Into<ReadingRef<'a>>,
        keys_max: usize,
    ) -> Vec<Framed> {
        let reading = reading.into();
        let timed = match self {
            Cutter::Count { rows, stride, fields, gap_ns, streams } => {
                let new = || Windower::new(*rows, *stride, *fields).with_gap(*gap_ns);
                let stream = streams.opened(reading.key, keys_max, new);
                let stride = u64::from(*stride);
                let Some(stream) = stream else {
                    return uncounted(&reading, stride, keys_max).into_iter().collect();
                };
                let cuts = stream.push(reading).into_iter();
                return cuts.map(|cut| counted(reading.key, stride, cut)).collect();
            }
            Cutter::Time(timed) => timed,
        };
        timed.push(reading, keys_max)
    }

    /// Ends one of the streams. None if none is open.
    pub(super) fn end_one(&mut self) -> Option<Ended> {
        match self {
            Cutter::Count { stride, streams, .. } => {
                let stride = u64::from(*stride);
                let (key, mut stream) = streams.end_first()?;
                let frames = stream.end().into_iter().map(|cut| counted(&key, stride, cut));
                let frames = frames.collect();
                let (next, time_unix_ns) = stream.position();
                // The number after the last frame's, whole or not.
                let number = next.div_ceil(stride);
                Some(Ended { key, frames, number, next, spans: vec![], time_unix_ns })
            }
            Cutter::Time(timed) => {
                let (key, mut joiner) = timed.keys.end_first()?;
                let joined = joiner.end();
                let (number, next) = joiner.position();
                let time_unix_ns = joined.last().map_or_else(
                    || i64::try_from(timed.cut.begin(number)).unwrap_or(i64::MAX),
                    |last| last.time_unix_ns,
                );
                let frames = joined.into_iter().map(|joined| timed.framed(&key, joined)).collect();
                let (port, next) = next.first().copied().unwrap_or((0, 0));
                let spans =
                    timed.named(&key, [(port, Span { first: next, last: next.wrapping_sub(1) })]);
                Some(Ended { key, frames, number, next, spans, time_unix_ns })
            }
        }
    }
}

impl Timed {
    fn push(&mut self, reading: ReadingRef<'_>, keys_max: usize) -> Vec<Framed> {
        // A stream of no port of ours belongs to nobody.
        let Some((port, key)) = self.bundle.place(reading.key) else { return vec![] };
        let new = || Joiner::new(self.cut, &self.windows, &self.fields);
        let Some(joiner) = self.keys.opened(key, keys_max, new) else {
            let Some(number) = self.cut.frame(reading.time_unix_ns) else { return vec![] };
            let span = Span { first: reading.sequence, last: reading.sequence };
            let joined = Joined {
                frame: number,
                spans: vec![(port, span)],
                time_unix_ns: reading.time_unix_ns,
                unused: Unused::default(),
                windows: Err(FrameError::Streams { max: keys_max }),
            };
            return vec![self.framed(key, joined)];
        };
        let joined = joiner.push(port, reading);
        joined.into_iter().map(|joined| self.framed(key, joined)).collect()
    }

    fn framed(&self, key: &str, joined: Joined) -> Framed {
        let Joined { frame, spans, time_unix_ns, unused, windows } = joined;
        let Span { first, last } =
            spans.first().map_or(Span { first: 0, last: u64::MAX }, |(_, span)| *span);
        let spans = self.named(key, spans);
        let key = key.to_owned();
        let is_behind_gap = false;
        Framed {
            key,
            number: frame,
            first,
            last,
            spans,
            unused,
            time_unix_ns,
            is_behind_gap,
            windows,
        }
    }

    /// Spans by stream, where there are several ports.
    fn named(
        &self,
        key: &str,
        spans: impl IntoIterator<Item = (usize, Span)>,
    ) -> Vec<(String, Span)> {
        if self.ports.len() == 1 {
            return vec![];
        }
        let named = |(port, span)| {
            let port: &String = self.ports.get::<usize>(port)?;
            Some((self.bundle.stream(port, key), span))
        };
        spans.into_iter().filter_map(named).collect()
    }
}

fn counted(key: &str, stride: u64, cut: Counted) -> Framed {
    let is_behind_gap = matches!(cut, Counted::Whole(Window { is_behind_gap: true, .. }));
    let (first, last, time_unix_ns, windows) = match cut {
        Counted::Whole(Window { first, time_unix_ns, values, .. }) => {
            (first, first + (stride - 1), time_unix_ns, Ok(vec![values]))
        }
        Counted::Broken(Broken { first, last, time_unix_ns, error }) => {
            (first, last, time_unix_ns, Err(error))
        }
    };
    Framed {
        key: key.to_owned(),
        number: first / stride,
        first,
        last,
        spans: vec![],
        unused: Unused::default(),
        time_unix_ns,
        is_behind_gap,
        windows,
    }
}

/// Readings of a stream that is not kept apart still belong to frames, told apart by number alone.
fn uncounted(reading: &ReadingRef<'_>, stride: u64, max: usize) -> Option<Framed> {
    let last = reading.sequence;
    (last % stride == stride - 1).then(|| Framed {
        key: reading.key.to_owned(),
        number: last / stride,
        first: last - (stride - 1),
        last,
        spans: vec![],
        unused: Unused::default(),
        time_unix_ns: reading.time_unix_ns,
        is_behind_gap: false,
        windows: Err(FrameError::Streams { max }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{FrameOutcome, LoadOptions, Pipeline, Value, check_fit};
    use crate::files::MemoryFiles;
    use crate::replay::{Replay, finish};
    use lineside_bundle::{BuiltBundle, BundleFile, build};
    use std::collections::BTreeMap;

    const BUNDLE: &str = "format = 1\nname = 'press'\nversion = '1'\nwarm_up_readings = 4\n\
        [inputs.heat]\nkey = 'name'\ntime = 't'\nfields = [{ name = 'c', unit = 'C' }]\n\
        [inputs.shaking]\nkey = 'k'\ntime = 't'\n\
        fields = [{ name = 'x', unit = 'mm' }, { name = 'y', unit = 'mm' }]\n\
        [stages.even]\nkind = 'resample'\ninput = 'shaking'\nrate_hz = 2\ngap_seconds = 1\n\
        [stages.held]\nkind = 'resample'\ninput = 'heat'\nrate_hz = 0.5\nmethod = 'hold'\n\
        gap_seconds = 8\n\
        [stages.fast]\nkind = 'window'\ninput = 'even'\nseconds = 1\nstride_seconds = 2\n\
        [stages.slow]\nkind = 'window'\ninput = 'held'\nseconds = 4\nstride_seconds = 2\n\
        [stages.smooth]\nkind = 'filter'\ninput = 'slow'\nfir = [0.5, 0.5]\n\
        [stages.x]\nkind = 'select'\ninput = 'fast'\nindex = 2\n\
        [stages.c]\nkind = 'select'\ninput = 'smooth'\nindex = 1\n\
        [outputs]\nx = { from = 'x', unit = 'mm' }\nc = { from = 'c', unit = 'C' }\n";

    fn built(text: &str) -> BuiltBundle {
        build(BundleFile::parse(text).unwrap(), BTreeMap::new()).unwrap()
    }

    fn load(text: &str) -> Result<Pipeline, String> {
        let built = built(text);
        let files = MemoryFiles(&built);
        let at_desk = check_fit(&built.manifest, &files).map_err(|error| error.to_string());
        let loaded = Pipeline::load(&built.manifest, &files, &LoadOptions::default());
        let loaded = loaded.map_err(|error| error.to_string());
        assert_eq!(at_desk.as_ref().err(), loaded.as_ref().err());
        loaded
    }

    fn told(outcome: &FrameOutcome) -> String {
        let FrameOutcome { key, frame, spans, result, .. } = outcome;
        let spans: Vec<_> =
            spans.iter().map(|(stream, it)| format!("{stream} {}-{}", it.first, it.last)).collect();
        let result = match result {
            Ok(parts) => {
                let of = |name: &str| match parts[0].outputs[name] {
                    Value::Number(number) => number,
                    other => panic!("{other} is no number"),
                };
                format!("x {} c {}", of("x"), of("c"))
            }
            Err(error) => error.to_string(),
        };
        format!("{key} {frame}: {result} ({})", spans.join(", "))
    }

    /// A row of `shaking` every half second, and one of `heat` every four seconds, of press A.
    fn recording(seconds: u32) -> String {
        let mut text = String::from("port,t,k,name,x,y,c\n");
        for half in 0..2 * seconds {
            let time = format!("1970-01-01T00:00:{:02}.{}Z", half / 2, 5 * (half % 2));
            if half % 8 == 0 {
                text += &format!("heat,{time},,A,,,{}\n", half / 2);
            }
            text += &format!("shaking,{time},A,,{half},0,\n");
        }
        text
    }

    #[test]
    fn ports_are_joined_in_a_recording_and_a_filter_goes_on_from_frame_to_frame() {
        let mut pipeline = load(BUNDLE).unwrap();
        let bundle = BundleFile::parse(BUNDLE).unwrap();
        let text = recording(15);
        let mut replay = Replay::open(&bundle, text.as_bytes()).unwrap();
        let mut outcomes = Vec::new();
        while let Some(pushed) = replay.push(&mut pipeline) {
            outcomes.extend(pushed.unwrap());
        }
        let live = outcomes.len();
        outcomes.extend(finish(&mut pipeline).flatten());
        let told: Vec<_> = outcomes.iter().map(told).collect();
        // Frame n begins at 2n and ends at 2n + 4: `fast` has its last second, two rows of x and y;
        // `slow` what held at 2n and at 2n + 2, smoothed over both.
        assert_eq!(
            told,
            [
                "A 0: x 7 c 0 (heat/A 0-0, shaking/A 0-3)",
                "A 1: x 11 c 2 (shaking/A 4-7)",
                "A 2: x 15 c 4 (heat/A 1-1, shaking/A 8-11)",
                "A 3: x 19 c 6 (shaking/A 12-15)",
                "A 4: x 23 c 8 (heat/A 2-2, shaking/A 16-19)",
                "A 5: x 27 c 10 (shaking/A 20-23)",
            ]
        );
        assert_eq!(live, 5, "heat is at 12, and frames wait two seconds");
        assert_eq!((replay.readings(), replay.unused()), (34, Default::default()));
    }

    #[test]
    fn units_and_shapes_are_checked_across_the_join() {
        for (from, to, said) in [
            (
                "x = { from = 'x', unit = 'mm' }",
                "x = { from = 'x', unit = 'C' }",
                "output x: x is in mm, not in C",
            ),
            (
                "index = 2",
                "index = 4",
                "stage x: input input: fast is f32 [2, 2], index 4 is beyond it",
            ),
            (
                "input = 'slow'",
                "input = 'fast'",
                "stage smooth: input input: fast is f32 [2, 2], of every 4 readings only 2 come: filter what they are made of",
            ),
        ] {
            assert!(BUNDLE.contains(from));
            let error = load(&BUNDLE.replace(from, to)).err().unwrap_or_else(|| "accepted".into());
            assert_eq!(error, said);
        }
    }

    #[test]
    fn a_key_more_than_there_may_be_is_told_and_costs_no_other() {
        let mut cutter = super::Cutter::of(&BundleFile::parse(BUNDLE).unwrap());
        let reading = |key: &str, second: i64| crate::pipeline::Reading {
            key: format!("heat/{key}"),
            sequence: 0,
            time_unix_ns: second * 1_000_000_000,
            values: vec![0.0],
        };
        assert!(cutter.push(&reading("A", 0), 1).is_empty());
        let told = cutter.push(&reading("B", 5), 1);
        let [told] = told.as_slice() else { panic!("it was taken") };
        assert!(matches!(told.windows, Err(super::FrameError::Streams { max: 1 })));
        assert_eq!((told.key.as_str(), told.number, told.first, told.last), ("B", 2, 0, 0));
        assert!(cutter.push(&reading("A", 1), 1).is_empty());
        let none = crate::pipeline::Reading { key: "light/A".into(), ..reading("A", 2) };
        assert!(cutter.push(&none, 1).is_empty());
    }
}
