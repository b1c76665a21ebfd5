//! Filters along the rows, which go on from where the stream's frame before has ended.

use super::{Fitted, Input, Stage, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::frame::Fault;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Data, Element, Tensor};
use lineside_bundle::stages::Filter;
use std::collections::{BTreeMap, VecDeque};

/// Bytes that a filter may carry, for each stream.
const STATE_BYTES_MAX: usize = 1 << 20;

struct Filtered {
    shape: Vec<usize>,
    columns: usize,
    kernel: Kernel,
    /// Where rows are readings: by how many it moves on. Else there is one row, a new one.
    stride: Option<usize>,
    streams: BTreeMap<String, Stream>,
}

/// What the filter computes.
enum Kernel {
    /// `y[n] = sum(h[k] x[n - k])`.
    Fir(Vec<f64>),
    /// Sections of second order, with `a0` divided out: `b0, b1, b2, a1, a2`.
    Biquads(Vec<[f64; 5]>),
}

/// What a stream's next frame goes on from.
#[derive(Clone)]
struct Stream {
    /// First reading of the frame that follows without a gap.
    next: u64,
    /// What each column's filter remembers.
    columns: Vec<Memory>,
    /// Rows that the next frame has in common with this one, filtered.
    kept: Vec<f32>,
}

#[derive(Clone)]
enum Memory {
    /// The values before, the newest first.
    Fir(VecDeque<f64>),
    /// The two delays of each section (transposed direct form II).
    Biquads(Vec<[f64; 2]>),
}

pub(super) fn fit(filter: &Filter, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let shape = input.flow.port.shape().to_vec();
    if shape.is_empty() || shape.len() > 2 {
        return Err(input.wrong("rows, or rows and columns, are needed"));
    }
    let (rows, columns) = (shape[0], input.flow.columns());
    let stride = input.flow.stride;
    // Of other rows nobody knows which of them have come before.
    if stride.is_none() && rows != 1 {
        return Err(input.wrong("which are not readings: filter the window, or one row a frame"));
    }
    if let Some(stride) = stride.filter(|stride| *stride > rows) {
        return Err(input.wrong(format!(
            "of every {stride} readings only {rows} come: filter what they are made of"
        )));
    }
    let kernel = match (&filter.fir, &filter.biquads) {
        (Some(taps), _) => Kernel::Fir(taps.clone()),
        (None, sections) => {
            let divided =
                |[b0, b1, b2, a0, a1, a2]: &[f64; 6]| [b0 / a0, b1 / a0, b2 / a0, a1 / a0, a2 / a0];
            Kernel::Biquads(sections.iter().flatten().map(divided).collect())
        }
    };
    let remembered = match &kernel {
        Kernel::Fir(taps) => taps.len(),
        Kernel::Biquads(sections) => 2 * sections.len(),
    };
    let kept = rows - stride.unwrap_or(rows);
    let bytes = columns.saturating_mul(remembered * size_of::<f64>() + kept * size_of::<f32>());
    if bytes > STATE_BYTES_MAX {
        return Err(input.wrong(format!("its state has more than {STATE_BYTES_MAX} bytes")));
    }
    let output = Flow::new(Element::F32, shape.clone())?
        .in_units(input.flow.units.clone())
        .moving_as(input.flow);
    Fitted::one(Filtered { shape, columns, kernel, stride, streams: BTreeMap::new() }, output)
}

impl Stage for Filtered {
    fn run(&mut self, frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let before = self.streams.get(frame.key);
        // Behind a gap it begins anew: what it remembers belongs to other readings.
        let before =
            before.filter(|it| self.stride.is_none_or(|stride| it.next == frame.row(stride)));
        let mut stream = before.cloned().unwrap_or_else(|| self.begun(&values));
        let mut filtered = std::mem::take(&mut stream.kept);
        let new = values.get(filtered.len()..).unwrap_or_default();
        for row in new.chunks_exact(self.columns) {
            for (value, memory) in row.iter().zip(&mut stream.columns) {
                filtered.push(self.kernel.next(*value, memory) as f32);
            }
        }
        if filtered.iter().any(|value| !value.is_finite()) {
            return Err((Fault::NotFinite, "the filter's answer is beyond 32 bits".into()));
        }
        if let Some(stride) = self.stride {
            stream.kept = filtered.get(stride * self.columns..).unwrap_or_default().to_vec();
            stream.next = frame.row(stride).saturating_add(stride as u64);
        }
        self.streams.insert(frame.key.to_owned(), stream);
        Ok(vec![tensor(&self.shape, Data::F32(filtered))?])
    }

    fn finish(&mut self, key: &str) {
        self.streams.remove(key);
    }
}

impl Filtered {
    /// A stream that has always been what its first row is.
    fn begun(&self, values: &[f64]) -> Stream {
        let columns = values.iter().take(self.columns).map(|value| self.kernel.settled(*value));
        Stream { next: 0, columns: columns.collect(), kept: vec![] }
    }
}

impl Kernel {
    /// What is remembered of a signal that has always been `value`.
    fn settled(&self, value: f64) -> Memory {
        match self {
            Kernel::Fir(taps) => Memory::Fir(VecDeque::from(vec![value; taps.len() - 1])),
            Kernel::Biquads(sections) => {
                let mut input = value;
                let delays = sections.iter().map(|[b0, b1, b2, a1, a2]| {
                    let output = input * (b0 + b1 + b2) / (1.0 + a1 + a2);
                    let second = b2 * input - a2 * output;
                    let first = b1 * input - a1 * output + second;
                    input = output;
                    [first, second]
                });
                Memory::Biquads(delays.collect())
            }
        }
    }

    /// The answer to the next value.
    fn next(&self, value: f64, memory: &mut Memory) -> f64 {
        match (self, memory) {
            (Kernel::Fir(taps), Memory::Fir(before)) => {
                before.push_front(value);
                let answer = taps.iter().zip(before.iter()).map(|(tap, value)| tap * value).sum();
                before.truncate(taps.len() - 1);
                answer
            }
            (Kernel::Biquads(sections), Memory::Biquads(delays)) => {
                let through = |input: f64, (section, delays): (&[f64; 5], &mut [f64; 2])| {
                    let [b0, b1, b2, a1, a2] = section;
                    let output = b0 * input + delays[0];
                    delays[0] = b1 * input - a1 * output + delays[1];
                    delays[1] = b2 * input - a2 * output;
                    output
                };
                sections.iter().zip(delays).fold(value, through)
            }
            (Kernel::Fir(_), Memory::Biquads(_)) | (Kernel::Biquads(_), Memory::Fir(_)) => {
                unreachable!("a kernel makes its own memory")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};
    use super::*;
    use proptest::prelude::*;

    const FIR: &str = "kind = 'filter'\ninput = 'window'\nfir = [0.5, 0.3, 0.2]";
    /// `y[n] = x[n] - x[n-1] + 0.5 y[n-1]`, and behind it half of everything; `a0` is 2.
    const BIQUADS: &str = "kind = 'filter'\ninput = 'window'\n\
        biquads = [[2, -2, 0, 2, -1, 0], [1, 0, 0, 2, 0, 0]]";

    fn moving(shape: &[usize], stride: usize) -> Flow {
        Flow { stride: Some(stride), ..window(shape) }
    }

    fn at(bench: &mut Bench, key: &str, first: u64, values: &[f32]) -> Vec<f64> {
        let filtered = bench.run_at(key, first, &[Data::F32(values.to_vec())]).unwrap();
        (0..filtered[0].len()).map(|at| filtered[0].data().number(at).unwrap()).collect()
    }

    #[test]
    fn the_answer_to_a_pulse_is_the_coefficients() {
        let mut filter = Bench::new(FIR, &[moving(&[5], 5)]);
        close(&filter.numbers(&[0.0, 1.0, 0.0, 0.0, 0.0]), &[0.0, 0.5, 0.3, 0.2, 0.0]);
        // 1, then -0.5, -0.25, …; and half of it.
        let mut filter = Bench::new(BIQUADS, &[moving(&[5], 5)]);
        close(&filter.numbers(&[0.0, 1.0, 0.0, 0.0, 0.0]), &[0.0, 0.5, -0.25, -0.125, -0.0625]);
    }

    #[test]
    fn a_signal_that_never_changes_is_settled_from_the_first_row_on() {
        let mut filter = Bench::new(FIR, &[moving(&[2, 2], 2)]);
        close(&filter.numbers(&[7.0, -3.0, 7.0, -3.0]), &[7.0, -3.0, 7.0, -3.0]);
        let mut filter = Bench::new(BIQUADS, &[moving(&[3], 3)]);
        close(&filter.numbers(&[7.0, 7.0, 7.0]), &[0.0, 0.0, 0.0]);
    }

    #[test]
    fn behind_a_gap_and_at_the_end_of_a_stream_it_begins_anew() {
        let mut filter = Bench::new(FIR, &[moving(&[2], 2)]);
        close(&at(&mut filter, "a", 0, &[0.0, 1.0]), &[0.0, 0.5]);
        close(&at(&mut filter, "b", 0, &[4.0, 4.0]), &[4.0, 4.0]);
        close(&at(&mut filter, "a", 2, &[0.0, 0.0]), &[0.3, 0.2]);
        close(&at(&mut filter, "a", 6, &[9.0, 9.0]), &[9.0, 9.0]);
        filter.finish("a");
        close(&at(&mut filter, "a", 8, &[1.0, 1.0]), &[1.0, 1.0]);
        // What are no readings follow each other, whatever lies between.
        let mut filter = Bench::new(FIR, &[window(&[1])]);
        close(&at(&mut filter, "a", 0, &[0.0]), &[0.0]);
        close(&at(&mut filter, "a", 70, &[1.0]), &[0.5]);
        close(&at(&mut filter, "a", 70, &[0.0]), &[0.3]);
    }

    #[test]
    fn a_frame_that_fails_leaves_the_stream_where_it_was() {
        let stage = FIR.replace("0.3", "3e38");
        let mut filter = Bench::new(&stage, &[window(&[1])]);
        close(&at(&mut filter, "a", 0, &[0.0]), &[0.0]);
        close(&at(&mut filter, "a", 1, &[2.0]), &[1.0]);
        let (fault, _) = filter.run_at("a", 2, &[Data::F32(vec![1.0])]).unwrap_err();
        assert_eq!(fault, Fault::NotFinite);
        // The 2 is still the value before.
        assert!(filter.run_at("a", 3, &[Data::F32(vec![1.0])]).is_err());
    }

    #[test]
    fn what_is_no_filter_or_no_signal_is_refused() {
        let filter = |settings: &str, flow| {
            refused(&format!("kind = 'filter'\ninput = 'window'\n{settings}"), flow)
        };
        for (settings, said) in [
            ("", "needs either `fir` or `biquads`"),
            ("fir = [1]\nbiquads = [[1, 0, 0, 1, 0, 0]]", "needs either `fir` or `biquads`"),
            ("fir = []", "fir has 0 values, 1 to 4096 are possible"),
            ("fir = [nan]", "fir = NaN must be finite"),
            (
                "biquads = [[1, 0, 0, 1, 0, 0], [1, 0, 0, 1, -2, 1]]",
                "biquads, section 1 is not stable: its answer to a pulse never ends",
            ),
            (
                "biquads = [[1, 0, 0, 0, 0, 0]]",
                "biquads, section 0 is not stable: its answer to a pulse never ends",
            ),
        ] {
            assert_eq!(filter(settings, window(&[4])), said, "{settings}");
        }
        assert!(filter("biquads = [[1, 0, 0]]", window(&[4])).contains("an array of length 6"));
        let fir = "fir = [1]";
        assert_eq!(
            filter(fir, window(&[2, 3, 4])),
            "input input: window is f32 [2, 3, 4], rows, or rows and columns, are needed"
        );
        assert_eq!(
            filter(fir, window(&[3])),
            "input input: window is f32 [3], which are not readings: filter the window, or one row a frame"
        );
        assert_eq!(
            filter(fir, moving(&[3], 4)),
            "input input: window is f32 [3], of every 4 readings only 3 come: filter what they are made of"
        );
        assert_eq!(
            filter(fir, moving(&[1 << 19], 1)),
            "input input: window is f32 [524288], its state has more than 1048576 bytes"
        );
    }

    proptest! {
        /// A signal cut into windows in any way is filtered as a whole.
        #[test]
        fn windows_that_overlap_are_pieces_of_one_filtered_signal(
            signal in proptest::collection::vec(-9f32..9.0, 12..60),
            rows in 1..8usize,
            stride in 1..8usize,
            stage in prop_oneof![Just(FIR), Just(BIQUADS)],
        ) {
            let stride = stride.min(rows);
            let whole = Bench::new(stage, &[moving(&[signal.len()], 1)]).numbers(&signal);
            let mut filter = Bench::new(stage, &[moving(&[rows], stride)]);
            for first in (0..=signal.len() - rows).step_by(stride) {
                let piece = at(&mut filter, "", first as u64, &signal[first..first + rows]);
                prop_assert_eq!(&piece, &whole[first..first + rows]);
            }
        }
    }
}
