//! The tables `[sources.NAME]`: where readings come from.

use super::mqtt::{MqttEnd, mqtt_end};
use super::{Wrong, wrong};
use serde::Deserialize;
use std::path::{Path, PathBuf};

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
