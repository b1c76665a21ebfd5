//! A recording through a bundle's pipeline, as rows: of its readings and of its findings.

use crate::counted::{Cell, Moment, Read, Sink, Source, SourceColumn};
use crate::engines::options;
use crate::output::Output;
use crate::table_file::TableFile;
use crate::watch::{Watch, WatchedFiles};
use anyhow::Context;
use lineside_bundle::BuiltBundle;
use lineside_drift::{Kind, Role};
use lineside_runtime::{
    FrameError, FrameOutcome, MemoryFiles, Pipeline, Recording, RowError, Sequencer, Value, finish,
    in_engine_thread,
};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// A recording, and the bundle that answers it.
pub struct PipelineSource<'a> {
    pub bundle: &'a BuiltBundle,
    pub recording: PathBuf,
    pub seconds: NonZeroU32,
    pub output: &'a Output,
    columns: Vec<SourceColumn>,
    /// Places of the first field of each port; and of the outputs.
    inputs: BTreeMap<String, usize>,
    outputs: BTreeMap<String, usize>,
}

impl<'a> PipelineSource<'a> {
    pub fn new(
        bundle: &'a BuiltBundle,
        recording: PathBuf,
        seconds: NonZeroU32,
        output: &'a Output,
    ) -> PipelineSource<'a> {
        let description = &bundle.manifest.bundle;
        let (mut columns, mut inputs) = (Vec::new(), BTreeMap::new());
        for (port, it) in &description.inputs {
            inputs.insert(port.clone(), columns.len());
            columns.extend(it.fields.iter().map(|field| SourceColumn {
                name: description.input_column(port, &field.name),
                role: Role::Input,
                // Ports have numbers.
                kind: Some(Kind::Numerical),
                range: field.range,
            }));
        }
        let mut outputs = BTreeMap::new();
        for name in description.outputs.keys() {
            outputs.insert(name.clone(), columns.len());
            columns.push(SourceColumn {
                name: name.clone(),
                role: Role::Output,
                kind: None,
                range: description.trial.outputs.get(name).copied(),
            });
        }
        PipelineSource { bundle, recording, seconds, output, columns, inputs, outputs }
    }

    fn answered(&self, outcome: FrameOutcome, read: &mut Told, sink: &mut Sink<'_>) {
        let Ok(parts) = outcome.result else {
            // The recording begins in the middle of a window, which is no fault of anybody.
            let begins = matches!(outcome.result, Err(FrameError::Begins { .. }));
            read.read.unreadable += u64::from(!begins);
            return;
        };
        for part in parts {
            let time_ms = Some(outcome.time_unix_ns.div_euclid(1_000_000));
            let moment = Moment { time_ms, number: read.findings };
            read.findings += 1;
            for (name, at) in &self.outputs {
                let cell = match part.outputs.get(name) {
                    None => Cell::Missing,
                    Some(Value::Number(value)) => Cell::Number(*value),
                    Some(value) => Cell::Whole(value.as_f64()),
                };
                sink(*at, moment, cell);
            }
        }
    }
}

#[derive(Default)]
struct Told {
    read: Read,
    findings: u64,
}

impl Source for PipelineSource<'_> {
    fn columns(&self) -> &[SourceColumn] {
        &self.columns
    }

    fn read(&self, sink: &mut Sink<'_>) -> anyhow::Result<Read> {
        let name = self.recording.display();
        let file = TableFile::open(&self.recording)?;
        let description = &self.bundle.manifest.bundle;
        let mut recording =
            Recording::open_all(description, file).with_context(|| name.to_string())?;
        let id = self.bundle.release_id().to_string();
        let watch = Watch::over_answers(&id, self.seconds, self.output);
        let mut told = Told::default();
        in_engine_thread(|| -> anyhow::Result<()> {
            let files = WatchedFiles { files: &MemoryFiles(self.bundle), watch: &watch };
            let mut pipeline = Pipeline::load(&self.bundle.manifest, &files, &options())
                .with_context(|| id.clone())?;
            watch.step(format!("answering {name}"));
            let mut sequencer = Sequencer::default();
            for row in &mut recording {
                watch.again();
                let row = match row {
                    Ok(row) => row,
                    Err(error) if error.reason == RowError::IO => {
                        return Err(error).with_context(|| name.to_string());
                    }
                    Err(_) => {
                        told.read.unreadable += 1;
                        continue;
                    }
                };
                let time_ms = Some(row.time_unix_ns.div_euclid(1_000_000));
                let moment = Moment { time_ms, number: told.read.rows };
                let first = match self.inputs.len() {
                    1 => self.inputs.values().next(),
                    _ => row.key.split_once('/').and_then(|(port, _)| self.inputs.get(port)),
                };
                for (place, value) in row.values.iter().enumerate() {
                    if let Some(first) = first {
                        sink(first + place, moment, Cell::Number(*value));
                    }
                }
                let Some(reading) = sequencer.accept(row) else {
                    told.read.unreadable += 1;
                    continue;
                };
                told.read.rows += 1;
                for outcome in pipeline.push(&reading) {
                    self.answered(outcome, &mut told, sink);
                }
            }
            for outcomes in finish(&mut pipeline) {
                watch.again();
                outcomes.into_iter().for_each(|outcome| self.answered(outcome, &mut told, sink));
            }
            Ok(())
        })?;
        Ok(told.read)
    }
}
