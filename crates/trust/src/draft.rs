//! A document on its way from signer to signer: what it says, who has to sign it, and who has.
//!
//! The file carries what the document follows as well, so that a machine without a network can say
//! what changes. Nobody trusts a document because it came in a draft.

mod role;

pub use role::ROLE_FILE_BYTES_MAX;

use crate::delegation::{self, Delegation};
use crate::document::{DOCUMENT_BYTES_MAX, Seen, parse, timestamp};
use crate::error::TrustError;
use crate::key::PublicKey;
use crate::releases::{ReleasesSpec, verify_releases};
use crate::role::RoleSpec;
use crate::root::{Root, RootSpec};
use lineside_bundle::Digest;
use role::RoleFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sigstore_tuf::{Metadata, Targets};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

const FORMAT: u32 = 1;
/// Largest file of a draft that is read, in bytes: two documents and the root, quoted.
pub const DRAFT_BYTES_MAX: usize = 4 * DOCUMENT_BYTES_MAX;
const ROOT: &str = "root";
const RELEASES: &str = "list of releases";

/// Why a draft cannot be read, signed, joined or finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// Not a draft, or a damaged one.
    #[error("it is no draft: {0}")]
    Format(String),
    /// What it holds is not what it should be.
    #[error(transparent)]
    Document(#[from] TrustError),
    /// A first root that is not the first.
    #[error("it holds root {0} without the one before, which its signers have to see")]
    NotFirst(u64),
    /// A list whose version does not follow.
    #[error("it holds list {version} to follow list {before}; have it drafted anew")]
    ListSequence {
        /// Its version.
        version: u64,
        /// The version before.
        before: u64,
    },
    /// Somebody's signature is not of what the draft says.
    #[error(
        "the signature of {0} is not of this document: somebody has changed one of the two; \
         have it drafted and signed anew"
    )]
    Tampered(String),
    /// A signature of nobody who has to sign.
    #[error("it is signed with key {0}, which has no say in it")]
    Stranger(String),
    /// A key that the document does not ask for.
    #[error("key {key} has no say in {document}; the keys that have: {named}")]
    Unnamed {
        /// Whose.
        key: String,
        /// Which document.
        document: String,
        /// The keys that may sign.
        named: String,
    },
    /// A key that has signed.
    #[error("{0} has signed it already")]
    Signed(String),
    /// Two drafts of different documents.
    #[error(
        "they are not one document: one is {one} with digest {one_digest}, the other {other} \
         with digest {other_digest}"
    )]
    Different {
        /// The first.
        one: String,
        /// Digest of what is signed.
        one_digest: String,
        /// The second.
        other: String,
        /// Digest of what is signed.
        other_digest: String,
    },
    /// Too few signatures.
    #[error("{document} is not signed by enough keys: {lacking}")]
    Lacking {
        /// Which document.
        document: String,
        /// By whom how many of how many, and who has not.
        lacking: String,
    },
}

/// What a draft says, and what was before.
#[derive(Debug, Clone)]
pub enum Contents {
    /// A root, and the one that it follows.
    Root {
        /// What it says.
        spec: Box<RootSpec>,
        /// What the one before says.
        before: Option<Box<RootSpec>>,
    },
    /// A list of releases, and the one that it follows, if that holds by the same root.
    Releases {
        /// What it says.
        spec: ReleasesSpec,
        /// What the one before says.
        before: Option<ReleasesSpec>,
    },
    /// A list of a role to which the release keys have delegated, and the one that it follows, if that
    /// holds by the keys that the role has now.
    Role {
        /// Who signs it, and what he may.
        role: Box<Delegation>,
        /// What it says.
        spec: RoleSpec,
        /// What the one before says.
        before: Option<RoleSpec>,
        /// What lies at the paths that are no releases.
        files: BTreeMap<String, String>,
    },
}

/// Keys of which so many have to sign.
#[derive(Debug, Clone)]
pub struct Quorum {
    /// Who wants it: `root 1`.
    pub by: String,
    /// How many must.
    pub threshold: usize,
    /// Those who have signed.
    pub signed: Vec<PublicKey>,
    /// Those who have not.
    pub unsigned: Vec<PublicKey>,
}

impl Quorum {
    /// Whether enough have signed.
    pub fn is_met(&self) -> bool {
        self.signed.len() >= self.threshold
    }
}

/// A role that has to sign, with its keys: by whose word, how many.
type Signers = (String, usize, Vec<PublicKey>);

/// A document that is being signed. All signatures in it fit.
#[derive(Debug, Clone)]
pub struct Draft {
    root: Option<Root>,
    before: Option<Vec<u8>>,
    /// What stands behind a list of a delegated role.
    role: Option<RoleFile>,
    contents: Contents,
    roles: Vec<Signers>,
    signed: Value,
    payload: Vec<u8>,
    /// By key.
    signatures: BTreeMap<String, String>,
}

/// The file. Documents that were signed are kept as texts, byte for byte.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DraftFile {
    format: u32,
    /// The root that says who has to sign; none for the first root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    /// The list of releases that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    releases: Option<String>,
    /// What stands behind a list of a delegated role; then this draft is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<RoleFile>,
    document: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    signatures: Vec<Signature>,
    signed: Value,
}

impl Draft {
    /// A root to be signed, to follow `before` if that is given.
    ///
    /// # Errors
    /// It does not follow, or does not hold together.
    pub fn root(spec: &RootSpec, before: Option<&Root>) -> Result<Draft, DraftError> {
        let document = Envelope { signatures: Vec::new(), signed: spec.signed() };
        Draft::checked(document, before.cloned(), None, None)
    }

    /// A list of releases to be signed by keys of `root`, to follow the list `before`. `document` is
    /// the list in its envelope.
    ///
    /// # Errors
    /// It does not follow, or is no list of releases.
    pub fn releases(
        document: &[u8],
        root: &Root,
        before: Option<&[u8]>,
    ) -> Result<Draft, DraftError> {
        let document = serde_json::from_slice(document).map_err(format_error)?;
        Draft::checked(document, Some(root.clone()), before.map(<[u8]>::to_vec), None)
    }

    /// A list to be signed by keys of the role `name`, to follow its list `before`. `document` is the
    /// list in its envelope, `list` the list of releases that delegates to the role, and `files` what
    /// lies at those of its paths that are no releases.
    ///
    /// # Errors
    /// It does not follow, goes beyond the paths of the role, or speaks of what is not in `files`.
    pub fn role(
        document: &[u8],
        root: &Root,
        name: &str,
        list: &[u8],
        before: Option<&[u8]>,
        files: BTreeMap<String, String>,
    ) -> Result<Draft, DraftError> {
        let document = serde_json::from_slice(document).map_err(format_error)?;
        let (list, before) = (text(list), before.map(text));
        let role = RoleFile { name: name.to_owned(), list, before, files };
        Draft::checked(document, Some(root.clone()), None, Some(role))
    }

    /// Reads a draft. Whoever made it, what is shown of it is all that it says, its signatures fit,
    /// and it may follow what it says it follows.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn parse(bytes: &[u8]) -> Result<Draft, DraftError> {
        if bytes.len() > DRAFT_BYTES_MAX {
            let problem = format!("{} bytes, {DRAFT_BYTES_MAX} are allowed", bytes.len());
            return Err(DraftError::Format(problem));
        }
        let file: DraftFile = serde_json::from_slice(bytes).map_err(format_error)?;
        if file.format != FORMAT {
            return Err(DraftError::Format(format!(
                "format {}, this version of lineside reads {FORMAT}",
                file.format
            )));
        }
        let root = file.root.map(|root| Root::pin(root.as_bytes())).transpose()?;
        Draft::checked(file.document, root, file.releases.map(String::into_bytes), file.role)
    }

    /// The draft as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let file = DraftFile {
            format: FORMAT,
            root: self.root.as_ref().map(|root| text(root.bytes())),
            releases: self.before.as_deref().map(text),
            role: self.role.clone(),
            document: self.envelope(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("a draft has only string keys");
        bytes.push(b'\n');
        bytes
    }

    /// What it says.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The root in force, which says who has to sign; none for the first root.
    pub fn root_before(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    /// What it is: `root 2`.
    pub fn name(&self) -> String {
        match &self.contents {
            Contents::Root { spec, .. } => format!("{ROOT} {}", spec.version),
            Contents::Releases { spec, .. } => format!("{RELEASES} {}", spec.version),
            Contents::Role { role, spec, .. } => format!("list {} of {}", spec.version, role.name),
        }
    }

    /// The bytes to be signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Digest of the bytes to be signed: what signers compare who are not in one place.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// Who has to sign, and who has.
    pub fn quorums(&self) -> Vec<Quorum> {
        let quorum = |(by, threshold, keys): &Signers| {
            let has_signed = |key: &PublicKey| self.signatures.contains_key(&key.id());
            let (signed, unsigned) = keys.iter().cloned().partition(has_signed);
            Quorum { by: by.clone(), threshold: *threshold, signed, unsigned }
        };
        self.roles.iter().map(quorum).collect()
    }

    /// Whether a signature of this key would count, and is not there yet.
    ///
    /// # Errors
    /// [`DraftError::Unnamed`], [`DraftError::Signed`]; it has expired at `now`.
    pub fn may_sign(&self, key: &PublicKey, now: OffsetDateTime) -> Result<(), DraftError> {
        let Some(named) = self.named(&key.id()) else {
            let ids: BTreeSet<String> = self.keys().map(PublicKey::to_string).collect();
            return Err(DraftError::Unnamed {
                key: key.to_string(),
                document: self.name(),
                named: ids.into_iter().collect::<Vec<_>>().join(", "),
            });
        };
        if self.signatures.contains_key(&key.id()) {
            return Err(DraftError::Signed(named.to_string()));
        }
        Ok(self.verify_expiry(now)?)
    }

    /// Adds the signature (hex digits) that `key` has made of [`Draft::payload`].
    ///
    /// # Errors
    /// As [`Draft::may_sign`]; [`DraftError::Tampered`] if it does not fit.
    pub fn sign(
        &mut self,
        key: &PublicKey,
        signature: String,
        now: OffsetDateTime,
    ) -> Result<(), DraftError> {
        self.may_sign(key, now)?;
        self.add(key.id(), signature)
    }

    /// Takes the signatures of another draft of the same document.
    ///
    /// # Errors
    /// [`DraftError::Different`].
    pub fn join(&mut self, other: &Draft) -> Result<(), DraftError> {
        if self.payload != other.payload || self.roles != other.roles {
            return Err(DraftError::Different {
                one: self.name(),
                one_digest: self.digest().short(),
                other: other.name(),
                other_digest: other.digest().short(),
            });
        }
        self.signatures.extend(other.signatures.clone());
        Ok(())
    }

    /// The document, if a device that trusts what it follows would take it at `now`.
    ///
    /// # Errors
    /// [`DraftError::Lacking`] names who has not signed; it has expired.
    pub fn finish(&self, now: OffsetDateTime) -> Result<Vec<u8>, DraftError> {
        let lacking: Vec<String> = self.quorums().iter().filter_map(lacking).collect();
        if !lacking.is_empty() {
            return Err(DraftError::Lacking { document: self.name(), lacking: lacking.join("; ") });
        }
        let bytes = serde_json::to_vec(&self.envelope()).expect("a document has only string keys");
        self.verify_expiry(now)?;
        match (&self.contents, &self.root) {
            (Contents::Root { .. }, None) => drop(Root::pin(&bytes)?),
            (Contents::Root { .. }, Some(before)) => drop(before.update(&bytes)?),
            (Contents::Releases { before, .. }, Some(root)) => {
                let seen = match (before, &self.before) {
                    (Some(spec), Some(bytes)) => {
                        Some(Seen { version: spec.version, digest: Digest::of(bytes) })
                    }
                    _ => None,
                };
                verify_releases(root, &bytes, seen.as_ref(), now)?;
            }
            (Contents::Role { before, .. }, Some(root)) => {
                let role = self.role.as_ref().ok_or_else(no_root)?;
                role.verify(root, before.as_ref(), &bytes, now)?;
            }
            (Contents::Releases { .. } | Contents::Role { .. }, None) => return Err(no_root()),
        }
        Ok(bytes)
    }

    fn checked(
        document: Envelope,
        root: Option<Root>,
        before: Option<Vec<u8>>,
        role: Option<RoleFile>,
    ) -> Result<Draft, DraftError> {
        let bytes = serde_json::to_vec(&document).map_err(format_error)?;
        let kind = document.signed["_type"].as_str().unwrap_or_default();
        let (contents, roles, payload) = match (kind, &root, (&before, &role)) {
            ("root", _, (Some(_), _) | (_, Some(_))) => {
                return Err(DraftError::Format("a root follows no list of releases".into()));
            }
            ("root", root, (None, None)) => {
                let metadata: Metadata<sigstore_tuf::Root> = parse(ROOT, &bytes)?;
                let spec = RootSpec::of(&metadata)?;
                let roles = root_roles(&spec, root.as_ref())?;
                let before = root.as_ref().map(Root::spec).transpose()?.map(Box::new);
                let contents = Contents::Root { spec: Box::new(spec), before };
                (contents, roles, metadata.signed_canonical().to_vec())
            }
            ("targets", Some(_), (Some(_), Some(_))) => {
                let problem = "a list of a role follows no list of releases";
                return Err(DraftError::Format(problem.into()));
            }
            ("targets", Some(root), (None, Some(role))) => {
                let metadata: Metadata<Targets> = parse(delegation::DOCUMENT, &bytes)?;
                let (contents, quorum) = role.contents(&metadata, root)?;
                (contents, vec![quorum], metadata.signed_canonical().to_vec())
            }
            ("targets", Some(root), (before, None)) => {
                let metadata: Metadata<Targets> = parse(RELEASES, &bytes)?;
                let spec = ReleasesSpec::of(&metadata)?;
                let before = before.as_deref().map(|bytes| list_before(root, bytes)).transpose()?;
                let version = before.as_ref().map_or(0, |(before, _)| before.version);
                // After one that no longer holds a version may be left out: others may have signed more.
                let follows = match &before {
                    Some((_, false)) => spec.version > version,
                    _ => spec.version == version + 1,
                };
                if !follows {
                    return Err(DraftError::ListSequence {
                        version: spec.version,
                        before: version,
                    });
                }
                let (keys, threshold) = (root.spec()?.releases.0, root.release_keys().1);
                let roles = vec![(format!("{ROOT} {}", root.version()), threshold, keys)];
                // One that does not hold by this root tells nobody what was released before.
                let before = before.and_then(|(before, holds)| holds.then_some(before));
                let contents = Contents::Releases { spec, before };
                (contents, roles, metadata.signed_canonical().to_vec())
            }
            ("targets", None, _) => return Err(no_root()),
            _ => return Err(DraftError::Format("neither a root nor a list of releases".into())),
        };
        let Envelope { signed, signatures } = document;
        let mut draft = Draft {
            root,
            before,
            role,
            contents,
            roles,
            signed,
            payload,
            signatures: BTreeMap::new(),
        };
        for Signature { keyid, sig } in signatures {
            draft.add(keyid, sig)?;
        }
        Ok(draft)
    }

    fn add(&mut self, id: String, signature: String) -> Result<(), DraftError> {
        let Some(key) = self.named(&id) else {
            return Err(DraftError::Stranger(id.chars().take(12).collect()));
        };
        if !key.verifies(&self.payload, &signature) {
            return Err(DraftError::Tampered(key.to_string()));
        }
        self.signatures.insert(id, signature);
        Ok(())
    }

    fn named(&self, id: &str) -> Option<&PublicKey> {
        self.keys().find(|key| key.id() == id)
    }

    fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.roles.iter().flat_map(|(_, _, keys)| keys)
    }

    fn verify_expiry(&self, now: OffsetDateTime) -> Result<(), TrustError> {
        let (document, expires) = match &self.contents {
            Contents::Root { spec, .. } => (ROOT, spec.expires),
            Contents::Releases { spec, .. } => {
                self.root.as_ref().map_or(Ok(()), |root| root.verify_expiry(now))?;
                (RELEASES, spec.expires)
            }
            Contents::Role { spec, .. } => {
                self.root.as_ref().map_or(Ok(()), |root| root.verify_expiry(now))?;
                (delegation::DOCUMENT, spec.expires)
            }
        };
        if expires <= now {
            let (expired, now) = (timestamp(expires), timestamp(now));
            return Err(TrustError::Expired { document, expired, now });
        }
        Ok(())
    }

    fn envelope(&self) -> Envelope {
        let signature = |(keyid, sig): (&String, &String)| {
            let (keyid, sig) = (keyid.clone(), sig.clone());
            Signature { keyid, sig }
        };
        let signatures = self.signatures.iter().map(signature).collect();
        Envelope { signatures, signed: self.signed.clone() }
    }
}

/// Who has to sign a root: enough keys of itself and of the one before (TUF 5.3.4, 6.1).
fn root_roles(spec: &RootSpec, before: Option<&Root>) -> Result<Vec<Signers>, DraftError> {
    let role = |spec: &RootSpec| {
        let (keys, threshold) = spec.root.clone();
        (format!("{ROOT} {}", spec.version), threshold, keys)
    };
    let Some(before) = before else {
        return if spec.version == 1 {
            Ok(vec![role(spec)])
        } else {
            Err(DraftError::NotFirst(spec.version))
        };
    };
    if spec.version != before.version() + 1 {
        let (version, current) = (spec.version, before.version());
        return Err(TrustError::RootSequence { version, current }.into());
    }
    Ok(vec![role(&before.spec()?), role(spec)])
}

/// What the list before says, and whether it holds by this root. If its keys were replaced since, it
/// binds nobody, and the list that follows is signed by those who come after.
fn list_before(root: &Root, bytes: &[u8]) -> Result<(ReleasesSpec, bool), DraftError> {
    let holds = match verify_releases(root, bytes, None, OffsetDateTime::UNIX_EPOCH) {
        Ok(_) => true,
        Err(TrustError::Signature { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    Ok((ReleasesSpec::of(&parse(RELEASES, bytes)?)?, holds))
}

/// Who is asked for how many signatures more.
fn lacking(quorum: &Quorum) -> Option<String> {
    let Quorum { by, threshold, signed, unsigned } = quorum;
    let names: Vec<String> = unsigned.iter().map(PublicKey::to_string).collect();
    let lacking = threshold.saturating_sub(signed.len());
    (lacking > 0).then(|| {
        format!(
            "{by} wants {threshold} signatures and has {}, lacking {lacking} of: {}",
            signed.len(),
            names.join(", ")
        )
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn no_root() -> DraftError {
    DraftError::Format("a list of releases without the root that says who signs it".into())
}

fn format_error(error: serde_json::Error) -> DraftError {
    DraftError::Format(error.to_string())
}
