//! The library that the engine lies in: one for the whole process, for as long as that lives.

use super::super::error::EngineError;
use super::super::loader::contained;
use super::sentence;
use lineside_bundle::{Digest, Hasher};
use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of the library that are read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A shared library of onnxruntime. Nothing is known of it but where it should lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedLibrary {
    /// The file.
    pub path: PathBuf,
    /// What the file must be to be loaded; anything where none is said.
    pub digest: Option<Digest>,
}

impl SharedLibrary {
    /// Loads it into this process, to see whether it can be used; gives what the file is. One that is
    /// broken may end the process.
    ///
    /// # Errors
    /// [`EngineError::Load`], for a file that is none, or another, or of an interface that is too old;
    /// and if another one was loaded into this process.
    pub fn try_out(&self) -> Result<Digest, EngineError> {
        let unreadable =
            |error: io::Error| EngineError::Load(format!("{}: {error}", self.path.display()));
        let digest = digest_of(&self.path).map_err(unreadable)?;
        self.environment()?;
        Ok(digest)
    }

    /// What sessions are made in; the library is loaded where it is not yet.
    ///
    /// # Errors
    /// As [`SharedLibrary::try_out`].
    pub fn environment(&self) -> Result<Environment, EngineError> {
        static LOADED: Mutex<Option<(SharedLibrary, Environment)>> = Mutex::new(None);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.display();
        if let Some((library, environment)) = &*loaded {
            if library == self {
                return Ok(environment.clone());
            }
            let problem = format!("{path}: this process has loaded {}", library.path.display());
            return Err(EngineError::Load(problem));
        }
        let environment = contained(|| self.open()).and_then(|opened| opened);
        let environment =
            environment.map_err(|problem| EngineError::Load(format!("{path}: {problem}")))?;
        *loaded = Some((self.clone(), environment.clone()));
        Ok(environment)
    }

    fn open(&self) -> Result<Environment, String> {
        if let Some(wanted) = self.digest {
            let digest = digest_of(&self.path).map_err(|error| error.to_string())?;
            if digest != wanted {
                return Err(format!("its digest is {digest}, {wanted} is wanted"));
            }
        }
        // A relative one would be looked for beside the program first.
        let path = std::path::absolute(&self.path).map_err(|error| error.to_string())?;
        let builder = ort::init_from(path).map_err(|error| match error {
            LoadDynamicError::Dlopen { error, .. } => causes(&error),
            LoadDynamicError::MissingApi { .. } => "it is no onnxruntime".to_owned(),
            LoadDynamicError::BadVersion { version_str, .. } => {
                format!("it is version {version_str}, 1.{} or later is needed", ort::MINOR_VERSION)
            }
            LoadDynamicError::InvalidVersionString => "its version is no text".to_owned(),
        })?;
        let failed = |error: ort::Error| sentence(&error);
        let environment = builder.with_telemetry(false).build().map_err(failed)?;
        // What fails comes back as an error; what it prints besides would be in nobody's log.
        environment.set_log_level(LogLevel::Fatal);
        Ok(environment)
    }
}

/// What the system says is a cause of the error.
fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| error.source());
    causes.map(|error| sentence(&error)).collect::<Vec<_>>().join(": ")
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hasher) = (File::open(path)?, Hasher::default());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&piece[..length]),
        }
    }
}
