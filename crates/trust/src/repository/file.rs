//! A file that the repository vouches for.

use super::error::RepositoryError;
use ring::digest::{Context, SHA256, SHA512};
use serde_json::Value;
use sigstore_tuf::TargetFile;

/// What the repository says of one of its files. Only [`super::Client::target`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedFile {
    name: String,
    length: u64,
    hashes: Vec<(Algorithm, String)>,
    custom: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha512,
}

impl TrustedFile {
    /// Its name on the mirror: with a digest before the last part where the repository keeps
    /// consistent snapshots (TUF 6.2).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its SHA-256 as hex digits, if the repository gives that.
    pub fn sha256(&self) -> Option<&str> {
        let hash = self.hashes.iter().find(|(algorithm, _)| *algorithm == Algorithm::Sha256);
        hash.map(|(_, hex)| hex.as_str())
    }

    /// What whoever signed it says of it besides.
    pub fn custom(&self) -> Option<&Value> {
        self.custom.as_ref()
    }

    /// Begins to check bytes that arrive in pieces.
    pub fn check(&self) -> FileCheck {
        let context = |algorithm| match algorithm {
            Algorithm::Sha256 => Context::new(&SHA256),
            Algorithm::Sha512 => Context::new(&SHA512),
        };
        let hashes = self.hashes.iter().map(|(algorithm, hex)| (context(*algorithm), hex.clone()));
        FileCheck { name: self.name.clone(), left: self.length, hashes: hashes.collect() }
    }
}

/// What the targets say of the file `path`, if it can be checked.
pub(super) fn trusted_file(
    path: &str,
    file: &TargetFile,
    consistent: bool,
) -> Result<TrustedFile, RepositoryError> {
    let hash = |name: &str, algorithm| {
        file.hashes.get(name).map(|hex| (algorithm, hex.to_ascii_lowercase()))
    };
    let hashes: Vec<(Algorithm, String)> =
        [hash("sha256", Algorithm::Sha256), hash("sha512", Algorithm::Sha512)]
            .into_iter()
            .flatten()
            .collect();
    let Some((_, first)) = hashes.first() else {
        let problem = "it has neither sha256 nor sha512".into();
        return Err(RepositoryError::Format { document: path.into(), problem });
    };
    let name = match path.rsplit_once('/') {
        _ if !consistent => path.to_owned(),
        Some((folder, name)) => format!("{folder}/{first}.{name}"),
        None => format!("{first}.{path}"),
    };
    Ok(TrustedFile { name, length: file.length, hashes, custom: file.custom.clone() })
}

/// A check of bytes against a [`TrustedFile`], under way.
pub struct FileCheck {
    name: String,
    left: u64,
    hashes: Vec<(Context, String)>,
}

impl FileCheck {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`RepositoryError::Format`] as soon as there are more bytes than were promised.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), RepositoryError> {
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or_else(|| self.failed("it has more bytes than were promised"))?;
        for (context, _) in &mut self.hashes {
            context.update(piece);
        }
        Ok(())
    }

    /// Whether those were all bytes, and the right ones.
    ///
    /// # Errors
    /// [`RepositoryError::Format`].
    pub fn finish(mut self) -> Result<(), RepositoryError> {
        if self.left > 0 {
            return Err(self.failed(&format!("{} bytes are missing", self.left)));
        }
        for (context, wanted) in std::mem::take(&mut self.hashes) {
            let digest = context.finish();
            let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            if hex != wanted {
                return Err(self.failed("it has another digest than was promised"));
            }
        }
        Ok(())
    }

    fn failed(&self, problem: &str) -> RepositoryError {
        RepositoryError::Format { document: self.name.clone(), problem: problem.into() }
    }
}
