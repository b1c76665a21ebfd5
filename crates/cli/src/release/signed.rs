//! How another list of releases is signed: at once by the keys that lie here, or as a draft.

use super::LIST_LIFE;
use super::publish::put_draft;
use crate::connection::Connection;
use crate::keys::KEYS;
use crate::keys::folder::{KeyFolder, KnownList};
use crate::keys::signer::{self, Pin, Signer};
use crate::output::Output;
use crate::server::Server;
use anyhow::Context;
use clap::Args;
use lineside_trust::{Draft, ReleasesDraft, TrustedReleases, verify_releases};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

#[derive(Args)]
pub struct Signed {
    /// The folder with the root.json that is trusted here, and as many release keys as must sign.
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    pub keys: PathBuf,
    /// Put the list to be signed into this file: its signers sign it each on a machine of his own with
    /// `keys sign`, then comes `keys publish`.
    #[arg(long, value_name = "FILE")]
    pub draft: Option<PathBuf>,
    #[command(flatten)]
    pub pin: Pin,
}

/// The list of releases that holds, and those who sign the next.
pub struct Desk {
    pub folder: KeyFolder,
    pub server: Server,
    pub known: Option<KnownList>,
    pub now: OffsetDateTime,
    /// None where a draft is written instead.
    pub keys: Vec<Signer>,
}

impl Desk {
    /// Opens the folder of keys, and compares it with the server. Who writes a `draft` needs no key here.
    ///
    /// # Errors
    /// Too few keys lie here to sign at once, or the server is not the one that they are for.
    pub fn open(
        keys: &Path,
        draft: Option<&Path>,
        connection: &Connection,
    ) -> anyhow::Result<Desk> {
        let folder = KeyFolder::open(keys)?;
        let keys = match draft {
            Some(_) => Vec::new(),
            None => folder.release_keys()?,
        };
        let server = Server::at(connection)?;
        folder.compare(server.url(), server.root()?.as_deref())?;
        let now = OffsetDateTime::now_utc();
        let known = folder.verify(server.releases()?.as_deref(), now)?;
        Ok(Desk { folder, server, known, now, keys })
    }

    /// The list that follows.
    pub fn next(&self) -> ReleasesDraft {
        self.known.as_ref().map_or_else(|| ReleasesDraft::after(None), KnownList::next)
    }

    /// What is not in it and the server's list has, as a line of text.
    pub fn tell_unsigned(&self) -> String {
        self.known.as_ref().map(KnownList::tell_unsigned).unwrap_or_default()
    }

    /// Signs a list and gives it to the server; none if it became a draft, of which all is said.
    ///
    /// # Errors
    /// The list does not follow, a key does not sign, or the server does not take it.
    pub fn sign(
        &self,
        next: &ReleasesDraft,
        signed: &Signed,
        output: &Output,
    ) -> anyhow::Result<Option<TrustedReleases>> {
        let before = self.known.as_ref().map(|known| known.bytes.as_slice());
        let unsigned = next.sign(self.now + LIST_LIFE, &[]);
        let draft = Draft::releases(&unsigned, self.folder.root(), before)?;
        if let Some(file) = &signed.draft {
            let (text, json) = put_draft(&draft, file)?;
            output.print(text + &self.tell_unsigned(), &json)?;
            return Ok(None);
        }
        let bytes = signer::finish(draft, &self.keys, &signed.pin, self.now, output.json)?;
        let releases = verify_releases(self.folder.root(), &bytes, None, self.now)?;
        self.server.put_releases(&bytes)?;
        let kept = self.folder.keep_releases(&bytes);
        kept.context("said, but the list is not kept beside the keys")?;
        Ok(Some(releases))
    }
}
