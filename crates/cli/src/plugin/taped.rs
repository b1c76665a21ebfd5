//! Recorded frames in the making: what a plugin in a bundle was given, and what it answered.

use super::compare::expected;
use super::frames::{FILE_BYTES_MAX, FILES_MAX, Line, Wanted, written};
use crate::new_files::replace;
use anyhow::{Context, anyhow, bail};
use lineside_runtime::{Pipeline, PluginCall};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Characters of the stage's name, and of a stream's key, in the name of its file.
const NAME_MAX: usize = 60;

/// The calls of the plugin that is one stage, stream by stream.
pub struct Taped {
    pub stage: String,
    /// By key.
    streams: BTreeMap<String, Tape>,
    bytes: u64,
    /// Calls that are on it.
    pub calls: u64,
    /// Calls for which there was no room.
    pub left_out: u64,
    settings: BTreeMap<String, String>,
}

/// One stream, as a file of recorded frames has it.
#[derive(Default)]
struct Tape {
    text: String,
    /// The number that the next frame has unless it says otherwise.
    next: u64,
}

impl Taped {
    pub fn of(stage: &str) -> Taped {
        Taped {
            stage: stage.to_owned(),
            streams: BTreeMap::new(),
            bytes: 0,
            calls: 0,
            left_out: 0,
            settings: BTreeMap::new(),
        }
    }

    /// Begins with a pipeline.
    ///
    /// # Errors
    /// It has no plugin of this name.
    pub fn begin(&mut self, pipeline: &mut Pipeline) -> anyhow::Result<()> {
        let settings = pipeline.record_plugin(&self.stage).map_err(|said| anyhow!(said))?;
        self.settings = settings.iter().cloned().collect();
        Ok(())
    }

    /// Takes the calls since it was last asked to.
    ///
    /// # Errors
    /// If they cannot be written as JSON.
    pub fn take(&mut self, pipeline: &mut Pipeline) -> anyhow::Result<()> {
        pipeline.take_plugin_calls().iter().try_for_each(|call| self.add(call))
    }

    fn add(&mut self, call: &PluginCall) -> anyhow::Result<()> {
        if self.streams.len() >= FILES_MAX && !self.streams.contains_key(&call.key) {
            bail!(
                "stage {} is given more than {FILES_MAX} streams, and no more recordings are read of a plugin: \
                 --record-stage takes a recording with fewer keys",
                self.stage
            );
        }
        let tape = self.streams.entry(call.key.clone()).or_default();
        let mut text = match tape.text.is_empty() && !self.settings.is_empty() {
            true => {
                let settings = Some(self.settings.clone());
                serde_json::to_string(&Line { settings, ..Line::default() })? + "\n"
            }
            false => String::new(),
        };
        text += &(serde_json::to_string(&line(call, tape.next))? + "\n");
        // Behind a call that is left out its stream would be another one.
        if self.left_out > 0 || self.bytes + text.len() as u64 > FILE_BYTES_MAX {
            self.left_out += 1;
            return Ok(());
        }
        self.bytes += text.len() as u64;
        self.calls += 1;
        tape.text += &text;
        tape.next = call.frame.map_or(0, |(number, ..)| number.wrapping_add(1));
        Ok(())
    }

    /// Writes a file for each stream into a folder that was [free](free_folder). Returns them.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let name = folder.display();
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {name}"))?;
        let mut names = BTreeSet::new();
        let taped = self.streams.iter().filter(|(_, tape)| !tape.text.is_empty());
        let files = taped.map(|(key, tape)| {
            let file = folder.join(format!("{}.jsonl", free(&self.stage, key, &mut names)));
            replace(&file, tape.text.as_bytes())?;
            Ok(file)
        });
        files.collect()
    }
}

/// Makes sure that recordings may be written into a folder: that it is not there yet, or has nothing in it.
///
/// # Errors
/// It has, or is none: what lies there already would be taken for recordings of the same plugin.
pub fn free_folder(folder: &Path) -> anyhow::Result<()> {
    let name = folder.display();
    let mut listing = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        listing => listing.with_context(|| format!("cannot list {name}"))?,
    };
    match listing.next() {
        None => Ok(()),
        Some(_) => bail!(
            "{name} is not empty, and a plugin is tried on every recording of a folder: name a new folder for \
             --record-stage, or remove what is in this one"
        ),
    }
}

/// A call as it is written where the frame before makes this one's number the `next`.
fn line(call: &PluginCall, next: u64) -> Line {
    let mut line = Line::default();
    match call.frame {
        Some((number, first_sequence, time_ns)) => {
            line.number = (number != next).then_some(number);
            line.first_sequence = (first_sequence != number).then_some(first_sequence);
            line.time_ns = (time_ns != 0).then_some(time_ns);
            let inputs = call.inputs.iter();
            line.inputs = Some(inputs.map(|(name, it)| (name.clone(), written(it))).collect());
        }
        None => line.finish = Some(true),
    }
    match expected(&call.answer, &call.outputs) {
        Some(Wanted::Results(results)) => line.expected = Some(results),
        Some(Wanted::Refusal(words)) => line.refused = Some(words),
        // Where it broke nobody has said what to expect.
        Some(Wanted::Anything) | None => {}
    }
    line
}

/// A file's name for a stream that no other one has.
fn free(stage: &str, key: &str, names: &mut BTreeSet<String>) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let plainly = |name: &str| -> String {
        name.chars().take(NAME_MAX).map(|char| if plain(char) { char } else { '_' }).collect()
    };
    let (stage, key) = (plainly(stage), plainly(key));
    let name = if key.is_empty() { stage } else { format!("{stage}-{key}") };
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut free = std::iter::once(name.clone()).chain(numbered);
    let free = free.find(|name| !names.contains(name)).unwrap_or(name);
    names.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::super::frames::Recording;
    use super::*;
    use lineside_runtime::{Data, Element, PluginError, Port, Results, Tensor};

    fn call(
        key: &str,
        frame: Option<(u64, u64, i64)>,
        answer: Result<Results, PluginError>,
    ) -> PluginCall {
        let tensor = Tensor::new(vec![2], Data::F32(vec![0.1, -2.5])).unwrap();
        PluginCall {
            key: key.into(),
            frame,
            inputs: frame.map(|_| ("x".to_owned(), tensor)).into_iter().collect(),
            outputs: vec![Port::new("n".into(), Element::I64, vec![1]).unwrap()],
            answer,
        }
    }

    #[test]
    fn calls_are_written_as_recordings_are_read() {
        let seven = || Ok(vec![vec![Tensor::new(vec![1], Data::I64(vec![7])).unwrap()]]);
        let mut taped = Taped::of("judge");
        taped.settings = BTreeMap::from([("rows".into(), "2".into())]);
        for call in [
            call("mill 1", Some((4, 8, 99)), seven()),
            call("mill/1", Some((0, 0, 0)), Err(PluginError::Refused("why".into()))),
            // Several calls of one frame: a plugin behind a plugin.
            call("mill 1", Some((5, 10, 0)), Err(PluginError::Trap("unreachable".into()))),
            call("mill 1", Some((5, 10, 0)), Ok(vec![])),
            call("mill 1", None, seven()),
        ] {
            taped.add(&call).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let files = taped.write(&folder.path().join("new")).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
        assert_eq!(names, ["judge-mill_1.jsonl", "judge-mill_1-2.jsonl"]);
        let texts: Vec<_> =
            files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert_eq!(
            texts[0],
            "{\"settings\":{\"rows\":\"2\"}}\n\
             {\"number\":4,\"first_sequence\":8,\"time_ns\":99,\"inputs\":{\"x\":[0.1,-2.5]},\"expected\":[{\"n\":7}]}\n\
             {\"first_sequence\":10,\"inputs\":{\"x\":[0.1,-2.5]}}\n\
             {\"number\":5,\"first_sequence\":10,\"inputs\":{\"x\":[0.1,-2.5]},\"expected\":[]}\n\
             {\"finish\":true,\"expected\":[{\"n\":7}]}\n"
        );
        assert_eq!(
            texts[1],
            "{\"settings\":{\"rows\":\"2\"}}\n{\"inputs\":{\"x\":[0.1,-2.5]},\"refused\":\"why\"}\n"
        );
        let recordings = super::super::frames::read(&folder.path().join("new")).unwrap();
        let frames =
            |it: &Recording| it.calls.iter().filter_map(|call| call.frame).collect::<Vec<_>>();
        let found: Vec<_> = recordings.iter().map(frames).collect();
        assert_eq!(found, [vec![(0, 0, 0)], vec![(4, 8, 99), (5, 10, 0), (5, 10, 0)]]);
    }

    #[test]
    fn no_more_streams_are_recorded_than_are_read() {
        let mut taped = Taped::of("judge");
        for key in 0..FILES_MAX {
            taped.add(&call(&key.to_string(), Some((0, 0, 0)), Ok(vec![]))).unwrap();
        }
        taped.add(&call("7", Some((1, 1, 0)), Ok(vec![]))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        taped.write(folder.path()).unwrap();
        assert_eq!(super::super::frames::read(folder.path()).unwrap().len(), FILES_MAX);
        let error = taped.add(&call("another", Some((0, 0, 0)), Ok(vec![]))).unwrap_err();
        assert!(error.to_string().contains("more than 1000 streams"), "{error}");
    }

    #[test]
    fn a_folder_that_holds_something_is_not_recorded_into() {
        let folder = tempfile::tempdir().unwrap();
        free_folder(&folder.path().join("none yet")).unwrap();
        free_folder(folder.path()).unwrap();
        let file = folder.path().join("older.jsonl");
        std::fs::write(&file, "{}").unwrap();
        let error = free_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not empty") && error.contains("name a new folder"), "{error}");
        assert!(free_folder(&file).is_err(), "it is no folder");
    }

    #[test]
    fn a_stage_may_be_called_like_a_file_and_is_written_into_the_folder_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere/judge");
        let mut taped = Taped::of(elsewhere.to_str().unwrap());
        taped.add(&call("", Some((0, 0, 0)), Ok(vec![]))).unwrap();
        let files = taped.write(&folder.path().join("here")).unwrap();
        assert_eq!(files[0].parent(), Some(&*folder.path().join("here")), "{files:?}");
        assert!(files[0].is_file() && !elsewhere.parent().unwrap().exists());
    }

    #[test]
    fn what_has_no_room_ends_every_recording_and_is_counted() {
        let mut taped = Taped::of("judge");
        taped.add(&call("a", Some((0, 0, 0)), Ok(vec![]))).unwrap();
        taped.bytes = FILE_BYTES_MAX;
        taped.add(&call("a", Some((1, 1, 0)), Ok(vec![]))).unwrap();
        taped.bytes = 0;
        taped.add(&call("b", Some((0, 0, 0)), Ok(vec![]))).unwrap();
        assert_eq!((taped.calls, taped.left_out), (1, 2));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            taped.write(folder.path()).unwrap(),
            [folder.path().join("judge.jsonl")].map(|it| it.with_file_name("judge-a.jsonl"))
        );
    }
}
