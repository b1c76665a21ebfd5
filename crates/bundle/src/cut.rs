//! How a bundle cuts readings into frames: by number, or by the readings' own time. Ports whose windows
//! go by time are joined: a frame has a window of each.
//!
//! By time, frame `n` begins `n` strides after 1970 and ends when the longest window is over. All windows
//! of a frame end together.

use crate::check::{DescriptionError, place};
use crate::description::{BundleFile, Stage};
use crate::stages::{Between, Resample, Window};
use std::collections::BTreeSet;

/// Rows of a window that is still a frame and not a recording.
pub(crate) const WINDOW_ROWS_MAX: u32 = 1 << 20;
/// Ports of a bundle.
const PORTS_MAX: usize = 16;
/// Bytes of a port's name, where there are several.
const PORT_BYTES_MAX: usize = 63;
/// Longest window, and longest wait for a port, in seconds.
const SECONDS_MAX: f64 = 7.0 * 86_400.0;
/// Shortest stride in seconds.
const STRIDE_SECONDS_MIN: f64 = 0.001;
/// Most rows a second.
const RATE_HZ_MAX: f64 = 1e6;
/// Frames that may be open at a time, because they overlap or wait for a port.
const FRAMES_OPEN_MAX: u64 = 4096;
/// Values of one key that may wait for their frames to be whole.
const VALUES_OPEN_MAX: f64 = (1 << 24) as f64;

/// How readings are cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// By number.
    Count {
        /// Readings in a frame.
        rows: u32,
        /// Readings from one frame's first to the next one's.
        stride: u32,
    },
    /// By time.
    Time(TimeCut),
}

/// Frames by time, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeCut {
    /// From one frame's beginning to the next one's.
    pub stride_ns: u64,
    /// From a frame's beginning to its end.
    pub span_ns: u64,
    /// How long after its end a frame waits for a port that is silent, by the time of the others.
    pub wait_ns: u64,
}

impl TimeCut {
    /// The last frame that begins at this time or before it; none before 1970.
    pub fn frame(&self, time_unix_ns: i64) -> Option<u64> {
        Some(u64::try_from(time_unix_ns).ok()? / self.stride_ns)
    }

    /// When a frame begins, in nanoseconds since 1970.
    pub fn begin(&self, frame: u64) -> u64 {
        frame.saturating_mul(self.stride_ns)
    }

    /// When a frame ends, in nanoseconds since 1970: what is read then is no part of it.
    pub fn end(&self, frame: u64) -> u64 {
        self.begin(frame).saturating_add(self.span_ns)
    }
}

/// A window by time, in rows.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeWindow {
    /// The window's stage.
    pub stage: String,
    /// Place of the port that it is made of, among the ports by name.
    pub port: usize,
    /// Rows from one frame's beginning to the next one's.
    pub stride: u64,
    /// Rows from a frame's beginning to the window's: a short window begins later than a long one.
    pub offset: u64,
    /// Its rows.
    pub rows: u64,
    /// What lies between two readings.
    pub between: Between,
    /// The longest time between two readings that a row may be made of, in nanoseconds.
    pub gap_ns: u64,
}

impl BundleFile {
    /// How readings are cut into frames, in a description that was checked.
    pub fn cut(&self) -> Cut {
        let counted = self.windows().find_map(|(_, window)| Some((window.rows?, window.stride?)));
        match counted {
            Some((rows, stride)) => Cut::Count { rows, stride },
            None => Cut::Time(self.time_cut()),
        }
    }

    /// The longest time between two readings of a window by number, in nanoseconds, where one is said.
    pub fn window_gap_ns(&self) -> Option<u64> {
        let (_, window) = self.windows().next()?;
        window.gap_seconds.map(ns)
    }

    /// The windows by time, by name.
    pub fn time_windows(&self) -> Vec<TimeWindow> {
        let cut = self.time_cut();
        let window = |(name, window): (&str, &Window)| {
            let resample = self.resample(&window.input)?;
            let port = self.inputs.keys().position(|port| *port == resample.input)?;
            let seconds = window.seconds?;
            let rows = |ns: u64| (ns as f64 * resample.rate_hz / 1e9).round() as u64;
            Some(TimeWindow {
                stage: name.to_owned(),
                port,
                stride: rows(cut.stride_ns),
                offset: rows(cut.span_ns - ns(seconds).min(cut.span_ns)),
                rows: rows(ns(seconds)),
                between: resample.method,
                gap_ns: ns(resample.gap_seconds),
            })
        };
        self.windows().filter_map(window).collect()
    }

    /// The name of the stream of a port's readings with this key: the key itself, where there is one port.
    pub fn stream(&self, port: &str, key: &str) -> String {
        match self.inputs.len() {
            1 => key.to_owned(),
            _ => format!("{port}/{key}"),
        }
    }

    /// The place of a stream's port among the ports by name, and its key; none of a stream that there
    /// cannot be.
    pub fn place<'a>(&self, stream: &'a str) -> Option<(usize, &'a str)> {
        if self.inputs.len() == 1 {
            return Some((0, stream));
        }
        let (port, key) = stream.split_once('/')?;
        Some((self.inputs.keys().position(|name| name == port)?, key))
    }

    fn windows(&self) -> impl Iterator<Item = (&str, &Window)> {
        self.stages.iter().filter_map(|(name, stage)| match stage {
            Stage::Window(window) => Some((name.as_str(), window)),
            _ => None,
        })
    }

    fn resample(&self, name: &str) -> Option<&Resample> {
        match self.stages.get(name) {
            Some(Stage::Resample(resample)) => Some(resample),
            _ => None,
        }
    }

    fn time_cut(&self) -> TimeCut {
        let seconds = self.windows().filter_map(|(_, window)| window.seconds);
        let stride = self.windows().find_map(|(_, window)| window.stride_seconds).unwrap_or(1.0);
        let wait = self.join.as_ref().map_or(stride, |join| join.wait_seconds);
        TimeCut {
            stride_ns: ns(stride).max(1),
            span_ns: ns(seconds.fold(0.0, f64::max)),
            wait_ns: ns(wait),
        }
    }

    /// Checks that ports and windows fit together.
    pub(crate) fn check_cut(&self) -> Result<(), DescriptionError> {
        let names: Vec<&str> = self.windows().map(|(name, _)| name).collect();
        let stages = |problem| place("stages", problem);
        if names.is_empty() {
            return stages(
                "one stage must be of kind \"window\": it makes frames of readings".into(),
            );
        }
        let counted = self.windows().any(|(_, it)| it.rows.is_some() || it.stride.is_some());
        if counted && names.len() > 1 {
            let names = names.join(", ");
            return stages(format!(
                "one window is possible, found [{names}]: several have to go by time"
            ));
        }
        self.check_ports(counted)?;
        if counted {
            if self.join.is_some() {
                let problem = "there is nothing to join: the window goes by `rows`";
                return place("join", problem.into());
            }
            return Ok(());
        }
        let wait = self.join.as_ref().map(|join| join.wait_seconds);
        if let Some(wait) = wait
            && !(0.0..=SECONDS_MAX).contains(&wait)
        {
            let problem = format!("{wait} must be 0 to {SECONDS_MAX} seconds");
            return place("join.wait_seconds", problem);
        }
        for (name, window) in self.windows() {
            self.check_time_window(window).map_err(|problem| stage(name, problem))?;
        }
        self.check_strides()?;
        for (name, resample) in self.stages.iter().filter_map(|(name, stage)| match stage {
            Stage::Resample(resample) => Some((name, resample)),
            _ => None,
        }) {
            if !self.windows().any(|(_, window)| window.input == *name) {
                return Err(stage(name, format!("no window reads it ({})", resample.input)));
            }
        }
        let read: BTreeSet<usize> = self.time_windows().iter().map(|window| window.port).collect();
        if let Some((_, port)) = self.inputs.keys().enumerate().find(|(at, _)| !read.contains(at)) {
            let problem = "no stage `resample` reads it".to_owned();
            return Err(DescriptionError::Port { port: port.clone(), problem });
        }
        self.check_room()
    }

    fn check_ports(&self, counted: bool) -> Result<(), DescriptionError> {
        let names: Vec<&str> = self.inputs.keys().map(String::as_str).collect();
        let Some((first, others)) = names.split_first() else {
            return place("inputs", "at least one port is needed".into());
        };
        if others.is_empty() {
            return Ok(());
        }
        if counted || names.len() > PORTS_MAX {
            let named = names.join(", ");
            let problem = match counted {
                true => format!(
                    "exactly one port is possible, found [{named}]: several are joined by windows \
                     with `seconds`, each behind a stage `resample`"
                ),
                false => format!("at most {PORTS_MAX} ports are possible, found [{named}]"),
            };
            return place("inputs", problem);
        }
        let has_key = self.inputs[*first].key.is_some();
        for (name, port) in &self.inputs {
            let problem = if name.contains('/') || name.is_empty() || name.len() > PORT_BYTES_MAX {
                Some(format!(
                    "the name of one of several ports has 1 to {PORT_BYTES_MAX} bytes, and no `/`"
                ))
            } else if port.key.is_some() != has_key {
                Some(format!("has a key or none, as port {first}: frames are joined key by key"))
            } else if port.time.is_none() {
                Some("needs `time`: several ports are joined by the time of their readings".into())
            } else if port.fields.iter().any(|field| field.name == "port") {
                Some("field port: in recordings of several ports that is the port's name".into())
            } else {
                None
            };
            if let Some(problem) = problem {
                return Err(DescriptionError::Port { port: name.clone(), problem });
            }
        }
        Ok(())
    }

    fn check_time_window(&self, window: &Window) -> Result<(), String> {
        let (Some(seconds), Some(stride)) = (window.seconds, window.stride_seconds) else {
            return Err("needs `rows` and `stride`, or `seconds` and `stride_seconds`".into());
        };
        if !(STRIDE_SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
            return Err(format!(
                "seconds = {seconds} must be {STRIDE_SECONDS_MIN} to {SECONDS_MAX}"
            ));
        }
        if !(STRIDE_SECONDS_MIN..=SECONDS_MAX).contains(&stride) {
            return Err(format!(
                "stride_seconds = {stride} must be {STRIDE_SECONDS_MIN} to {SECONDS_MAX}"
            ));
        }
        let Some(resample) = self.resample(&window.input) else {
            return Err(match self.inputs.contains_key(&window.input) {
                true => format!(
                    "{} is a port: put a stage `resample` between it and this one, as a model wants \
                     as many rows every time",
                    window.input
                ),
                false => format!("there is no stage `resample` of the name {}", window.input),
            });
        };
        let rate = resample.rate_hz;
        for (what, seconds) in [("seconds", seconds), ("stride_seconds", stride)] {
            let rows = seconds * rate;
            if (rows - rows.round()).abs() > 1e-6 || rows.round() < 1.0 {
                return Err(format!(
                    "{what} = {seconds} are {rows} rows of {} at {rate} Hz, and have to be a whole \
                     number of them",
                    window.input
                ));
            }
        }
        let rows = seconds * rate;
        if rows > f64::from(WINDOW_ROWS_MAX) {
            return Err(format!("has {rows} rows, and may have {WINDOW_ROWS_MAX}"));
        }
        Ok(())
    }

    /// All windows move on alike, and the longest leaves out nothing.
    fn check_strides(&self) -> Result<(), DescriptionError> {
        let of = |(name, it): (&str, &Window)| {
            Some((
                name.to_owned(),
                it.seconds?,
                it.stride_seconds?,
                self.resample(&it.input)?.rate_hz,
            ))
        };
        let windows: Vec<_> = self.windows().filter_map(of).collect();
        let longest = windows.iter().map(|(_, seconds, ..)| *seconds).fold(0.0, f64::max);
        for (name, seconds, stride, rate) in &windows {
            if let Some((other, _, unlike, _)) = windows.iter().find(|(_, _, it, _)| it != stride) {
                return Err(stage(
                    name,
                    format!(
                        "stride_seconds = {stride}, and {unlike} of {other}: windows of one frame \
                         move on alike"
                    ),
                ));
            }
            if *stride > longest {
                return Err(stage(
                    name,
                    format!(
                        "stride_seconds = {stride} must be at most {longest}, the seconds of the \
                         longest window: readings between windows would be lost"
                    ),
                ));
            }
            let before = (longest - seconds) * rate;
            if (before - before.round()).abs() > 1e-6 {
                return Err(stage(
                    name,
                    format!(
                        "it ends with the longest window, of {longest} s, and so begins {before} rows \
                         behind its beginning: that has to be a whole number"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// What waits for frames to be whole has a bound.
    fn check_room(&self) -> Result<(), DescriptionError> {
        let TimeCut { stride_ns, span_ns, wait_ns } = self.time_cut();
        let open = (span_ns + wait_ns).div_ceil(stride_ns);
        if open > FRAMES_OPEN_MAX {
            return place(
                "stages",
                format!(
                    "{open} frames would be open at a time, {FRAMES_OPEN_MAX} may be: let windows \
                     overlap less, or `join.wait_seconds` be shorter"
                ),
            );
        }
        let strides = (span_ns + wait_ns) as f64 / stride_ns as f64 + 2.0;
        let ports: Vec<_> = self.inputs.values().collect();
        // Of each row's time the first and the last reading are kept.
        let values = |window: &TimeWindow| {
            let fields = ports.get(window.port).map_or(0, |port| port.fields.len());
            2.0 * strides * window.stride as f64 * fields as f64
        };
        let values: f64 = self.time_windows().iter().map(values).sum();
        match values <= VALUES_OPEN_MAX {
            true => Ok(()),
            false => place(
                "stages",
                format!(
                    "{values} values of a key could wait for their frames, {VALUES_OPEN_MAX} may: let \
                     windows be shorter, or rates lower"
                ),
            ),
        }
    }
}

impl Resample {
    /// Checks its own keys.
    ///
    /// # Errors
    /// What is wrong, by key.
    pub(crate) fn check(&self, bundle: &BundleFile) -> Result<(), String> {
        let Resample { input, rate_hz, gap_seconds, .. } = self;
        if !bundle.inputs.contains_key(input) {
            return Err(format!("there is no port {input}"));
        }
        if !(rate_hz.is_finite() && *rate_hz > 0.0 && *rate_hz <= RATE_HZ_MAX) {
            return Err(format!("rate_hz = {rate_hz} must be above 0 and at most {RATE_HZ_MAX}"));
        }
        if !(gap_seconds.is_finite() && *gap_seconds > 0.0 && *gap_seconds <= SECONDS_MAX) {
            return Err(format!(
                "gap_seconds = {gap_seconds} must be above 0, up to {SECONDS_MAX}"
            ));
        }
        Ok(())
    }
}

/// Checks the longest time between two readings of a window by number.
fn check_gap(gap_seconds: Option<f64>, has_time: bool) -> Result<(), String> {
    match gap_seconds {
        None => Ok(()),
        Some(_) if !has_time => Err("gap_seconds needs readings with a `time` of their own".into()),
        Some(gap) if gap > 0.0 && gap <= SECONDS_MAX => Ok(()),
        Some(gap) => Err(format!("gap_seconds = {gap} must be above 0, up to {SECONDS_MAX}")),
    }
}

impl Window {
    /// Checks a window by number; what concerns those by time is checked together.
    ///
    /// # Errors
    /// What is wrong, by key.
    pub(crate) fn check(&self, bundle: &BundleFile) -> Result<(), String> {
        let Window { input, rows, stride, seconds, stride_seconds, gap_seconds } = self;
        let (Some(rows), Some(stride)) = (rows, stride) else {
            return match (rows, stride) {
                (None, None) if gap_seconds.is_some() => {
                    Err("goes by time: `gap_seconds` is for its stage `resample` to say".into())
                }
                (None, None) => Ok(()),
                _ => Err("needs both `rows` and `stride`".into()),
            };
        };
        if seconds.is_some() || stride_seconds.is_some() {
            return Err("has `rows` and `seconds`: it goes by number or by time".into());
        }
        if bundle.resample(input).is_some() {
            return Err(format!(
                "{input} is resampled: say `seconds` and `stride_seconds` for `rows` and `stride`"
            ));
        }
        if !bundle.inputs.contains_key(input) {
            return Err(format!("there is no port {input}"));
        }
        check_gap(*gap_seconds, bundle.inputs[input].time.is_some())?;
        if !(1..=WINDOW_ROWS_MAX).contains(rows) {
            return Err(format!("rows = {rows} must be 1 to {WINDOW_ROWS_MAX}"));
        }
        if !(1..=*rows).contains(stride) {
            return Err(format!(
                "stride = {stride} must be 1 to rows = {rows}: readings between windows would be lost"
            ));
        }
        Ok(())
    }
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

fn stage(stage: &str, problem: String) -> DescriptionError {
    DescriptionError::Stage { stage: stage.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOINED: &str = r#"
format = 1
name = "pump"
version = "1"
[join]
wait_seconds = 5
[inputs.shaking]
key = "pump"
time = "at"
fields = [{ name = "x" }, { name = "y" }]
[inputs.heat]
key = "machine"
time = "time"
fields = [{ name = "celsius" }]
[stages.even]
kind = "resample"
input = "shaking"
rate_hz = 100
gap_seconds = 0.1
[stages.held]
kind = "resample"
input = "heat"
rate_hz = 0.5
method = "hold"
gap_seconds = 30
[stages.fast]
kind = "window"
input = "even"
seconds = 1
stride_seconds = 10
[stages.slow]
kind = "window"
input = "held"
seconds = 60
stride_seconds = 10
[stages.last]
kind = "select"
input = "slow"
index = 29
[outputs]
it = { from = "last" }
"#;

    fn said(from: &str, to: &str) -> String {
        assert!(JOINED.contains(from), "{from:?}");
        let bundle = BundleFile::parse(&JOINED.replacen(from, to, 1));
        bundle.err().map_or("accepted".into(), |error| error.to_string())
    }

    #[test]
    fn windows_of_a_frame_end_together_and_are_counted_in_rows() {
        let bundle = BundleFile::parse(JOINED).unwrap();
        let wanted =
            TimeCut { stride_ns: 10_000_000_000, span_ns: 60_000_000_000, wait_ns: 5_000_000_000 };
        assert_eq!(bundle.cut(), Cut::Time(wanted));
        let windows = bundle.time_windows();
        let told: Vec<_> = windows
            .iter()
            .map(|it| (it.stage.as_str(), it.port, it.stride, it.offset, it.rows))
            .collect();
        assert_eq!(told, [("fast", 1, 1000, 5900, 100), ("slow", 0, 5, 0, 30)]);
        assert_eq!(wanted.frame(-1), None);
        assert_eq!((wanted.frame(9_999_999_999), wanted.frame(10_000_000_000)), (Some(0), Some(1)));
        assert_eq!(
            (bundle.stream("heat", "a/b"), bundle.place("heat/a/b")),
            ("heat/a/b".into(), Some((0, "a/b")))
        );
        assert_eq!(bundle.place("a"), None);
    }

    #[test]
    fn what_cannot_be_joined_is_refused_by_stage_and_port() {
        for (from, to, wanted) in [
            (
                "seconds = 1\n",
                "seconds = 1.005\n",
                "stage fast: seconds = 1.005 are 100.49999999999999 rows of even at 100 Hz, and have to be a whole number of them",
            ),
            (
                "stride_seconds = 10",
                "stride_seconds = 5",
                "stage fast: stride_seconds = 5, and 10 of slow: windows of one frame move on alike",
            ),
            (
                "stride_seconds = 10\n",
                "",
                "stage fast: needs `rows` and `stride`, or `seconds` and `stride_seconds`",
            ),
            (
                "input = \"even\"",
                "input = \"shaking\"",
                "stage fast: shaking is a port: put a stage `resample` between it and this one, as a model wants as many rows every time",
            ),
            (
                "input = \"even\"",
                "input = \"held\"",
                "stage fast: seconds = 1 are 0.5 rows of held at 0.5 Hz, and have to be a whole number of them",
            ),
            (
                "key = \"machine\"\n",
                "",
                "port shaking: has a key or none, as port heat: frames are joined key by key",
            ),
            (
                "time = \"at\"",
                "rate_hz = 1",
                "port shaking: needs `time`: several ports are joined by the time of their readings",
            ),
            (
                "wait_seconds = 5",
                "wait_seconds = -1",
                "join.wait_seconds: -1 must be 0 to 604800 seconds",
            ),
            (
                "wait_seconds = 5",
                "wait_seconds = 86400",
                "stages: 8646 frames would be open at a time, 4096 may be: let windows overlap less, or `join.wait_seconds` be shorter",
            ),
            (
                "seconds = 60",
                "seconds = 60\ngap_seconds = 5",
                "stage slow: goes by time: `gap_seconds` is for its stage `resample` to say",
            ),
            (
                "gap_seconds = 30",
                "gap_seconds = 0",
                "stage held: gap_seconds = 0 must be above 0, up to 604800",
            ),
            (
                "rate_hz = 100",
                "rate_hz = inf",
                "stage even: rate_hz = inf must be above 0 and at most 1000000",
            ),
            (
                "input = \"slow\"",
                "input = \"held\"",
                "stage last: input input: held makes no frames: put a window between it and this stage",
            ),
            ("input = \"heat\"", "input = \"shaking\"", "port heat: no stage `resample` reads it"),
            (
                "seconds = 60\nstride_seconds = 10",
                "rows = 30\nstride = 5",
                "stage slow: held is resampled: say `seconds` and `stride_seconds` for `rows` and `stride`",
            ),
        ] {
            assert_eq!(said(from, to), wanted, "{from} -> {to}");
        }
        let named =
            JOINED.replace("\"heat\"", "\"he/at\"").replace("inputs.heat", "inputs.'he/at'");
        let error = BundleFile::parse(&named).unwrap_err().to_string();
        let wanted = "port he/at: the name of one of several ports has 1 to 63 bytes, and no `/`";
        assert_eq!(error, wanted);
        let two = JOINED.replace("stride_seconds = 10", "stride_seconds = 70");
        let error = BundleFile::parse(&two).unwrap_err().to_string();
        assert!(error.ends_with("readings between windows would be lost"), "{error}");
    }
}
