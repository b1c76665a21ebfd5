//! The server's own keys: one signs assignments, one signs snapshot and timestamp, one signs what the audit log
//! has become. None can release.

use crate::error::Error;
use crate::store::DataFolder;
use lineside_trust::{KeyPair, PublicKey};
use ring::rand::SystemRandom;
use serde::Serialize;
use utoipa::ToSchema;

/// The server's keys.
pub(crate) struct ServerKeys {
    /// Signs assignments.
    pub director: KeyPair,
    /// Signs snapshot and timestamp.
    pub online: KeyPair,
    /// Signs checkpoints of the audit log.
    pub audit: KeyPair,
}

/// What the root must name, in TUF's form.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OnlineKeys {
    /// Signs assignments.
    #[schema(value_type = Object)]
    pub director: PublicKey,
    /// Signs snapshot and timestamp.
    #[schema(value_type = Object)]
    pub online: PublicKey,
}

impl ServerKeys {
    /// Reads the keys, and makes them at the first start.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Conflict`] if a file is damaged.
    pub fn open(folder: &DataFolder) -> Result<ServerKeys, Error> {
        Ok(ServerKeys {
            director: key(folder, "keys/director.pem")?,
            online: key(folder, "keys/online.pem")?,
            audit: key(folder, "keys/audit.pem")?,
        })
    }

    /// The public parts.
    pub fn public(&self) -> OnlineKeys {
        OnlineKeys { director: self.director.public(), online: self.online.public() }
    }
}

fn key(folder: &DataFolder, name: &str) -> Result<KeyPair, Error> {
    let unusable = |error| {
        let path = folder.join(name);
        Error::Conflict(format!("the key in {} cannot be used: {error}", path.display()))
    };
    let text = folder
        .secret(name, || Ok(KeyPair::generate(&SystemRandom::new()).map_err(unusable)?.to_pem()))?;
    KeyPair::from_pem(&text).map_err(unusable)
}
