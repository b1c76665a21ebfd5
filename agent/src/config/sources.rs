//! The tables `[sources.NAME]`: where readings come from.

use super::mqtt::{MqttEnd, mqtt_end};
use super::{Wrong, wrong};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What feeds a slot, `S` of each source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotSources<S> {
    /// One source.
    One(S),
    /// One for each port, by the port's name.
    ByPort(BTreeMap<String, S>),
}

impl<S> SlotSources<S> {
    /// Each source.
    pub fn each(&self) -> impl Iterator<Item = &S> {
        let (one, by_port) = match self {
            SlotSources::One(source) => (Some(source), None),
            SlotSources::ByPort(sources) => (None, Some(sources.values())),
        };
        one.into_iter().chain(by_port.into_iter().flatten())
    }

    /// Something else of each source.
    pub fn map<T>(&self, of: impl Fn(&S) -> T) -> SlotSources<T> {
        match self {
            SlotSources::One(source) => SlotSources::One(of(source)),
            SlotSources::ByPort(sources) => SlotSources::ByPort(
                sources.iter().map(|(port, source)| (port.clone(), of(source))).collect(),
            ),
        }
    }
}

/// A source by its name.
#[derive(Debug, Clone)]
pub struct NamedSource {
    /// As the settings name it.
    pub name: String,
    /// Where its readings come from.
    pub kind: SourceKind,
}

/// Where readings come from.
#[derive(Debug, Clone)]
pub enum SourceKind {
    /// Recorded CSV files, one after the other.
    File {
        /// The files.
        paths: Vec<PathBuf>,
        /// How fast.
        pace: Pace,
    },
    /// A topic of the plant's broker: a JSON object or an array of them per message.
    Mqtt(MqttEnd),
}

/// How fast recorded readings are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// This many times as fast as they were recorded.
    Times(f64),
    /// As fast as they are taken.
    FlatOut,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum SourceFile {
    File {
        paths: Vec<PathBuf>,
        #[serde(default = "real_pace")]
        pace: PaceFile,
    },
    Mqtt {
        host: String,
        port: u16,
        topic: String,
        user: Option<String>,
        password: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PaceFile {
    Times(f64),
    Word(String),
}

fn real_pace() -> PaceFile {
    PaceFile::Word("real".into())
}

impl SourceFile {
    /// Checks what was written below `field`; paths are relative to `folder`.
    pub(super) fn check(self, field: &str, folder: &Path) -> Result<SourceKind, Wrong> {
        match self {
            SourceFile::File { paths, .. } if paths.is_empty() => {
                wrong(format!("{field}.paths"), "there must be at least one file")
            }
            SourceFile::File { paths, pace } => {
                let pace = match pace {
                    PaceFile::Times(times) if times.is_finite() && times > 0.0 => {
                        Pace::Times(times)
                    }
                    PaceFile::Word(word) if word == "real" => Pace::Times(1.0),
                    PaceFile::Word(word) if word == "flat-out" => Pace::FlatOut,
                    PaceFile::Times(other) => {
                        return wrong(format!("{field}.pace"), format!("{other} is not above 0"));
                    }
                    PaceFile::Word(other) => {
                        let problem = format!(
                            "{other:?} is neither \"real\" nor \"flat-out\" nor a number of times"
                        );
                        return wrong(format!("{field}.pace"), problem);
                    }
                };
                let paths = paths.into_iter().map(|path| folder.join(path)).collect();
                Ok(SourceKind::File { paths, pace })
            }
            SourceFile::Mqtt { host, port, topic, user, password } => {
                Ok(SourceKind::Mqtt(mqtt_end(field, host, port, topic, user, password)?))
            }
        }
    }
}
