//! What a delegated role signs: its list as the server has it, and the one that follows.

use crate::keys::folder::{Freshness, KeyFolder, KnownList};
use crate::keys::signer::Signer;
use crate::output::Usage;
use crate::server::{Kind, Server};
use anyhow::{Context, bail};
use lineside_bundle::Digest;
use lineside_trust::{
    Delegation, Draft, Listed, Others, RoleDraft, TrustError, TrustedReleases, TrustedTargets,
    verify_delegated,
};
use lineside_wire::name::RoleName;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// A role to which the release keys have delegated.
pub struct Role<'a> {
    name: RoleName,
    folder: KeyFolder,
    server: &'a Server,
    now: OffsetDateTime,
    releases: TrustedReleases,
    /// The list that delegates to it, as it came.
    list: Vec<u8>,
    delegation: Delegation,
    /// What it has signed last.
    last: Option<Last>,
}

/// The last list of a role.
struct Last {
    bytes: Vec<u8>,
    version: u64,
    /// None where it does not hold by the keys and paths that the role has now.
    trusted: Option<TrustedTargets>,
    is_expired: bool,
    /// The server has an older one or none: it was lost, or restored from a copy.
    is_forgotten: bool,
    /// What lies in the folder of keys, from when it held.
    kept: Option<Vec<u8>>,
}

impl<'a> Role<'a> {
    /// The role called `name`, as the server and the folder of keys know it.
    ///
    /// # Errors
    /// The release keys have delegated nothing to it, or what is said of it is not to be trusted.
    pub fn of(name: &RoleName, keys: &Path, server: &'a Server) -> anyhow::Result<Role<'a>> {
        let folder = KeyFolder::open(keys)?;
        folder.compare(server.url(), server.root()?.as_deref())?;
        Role::with(folder, server, name, OffsetDateTime::now_utc())
    }

    /// As [`Role::of`], for a folder that was compared with the server.
    ///
    /// # Errors
    /// As [`Role::of`].
    pub fn with(
        folder: KeyFolder,
        server: &'a Server,
        name: &RoleName,
        now: OffsetDateTime,
    ) -> anyhow::Result<Role<'a>> {
        let known = folder.verify(server.releases()?.as_deref(), now)?;
        let Some(known) = known else { bail!(nobody(name, &[])) };
        let KnownList { bytes: list, releases, freshness, is_forgotten, .. } = known;
        if freshness != Freshness::Fresh {
            bail!(
                "the list of releases, which names role {name}, holds no longer: the release keys have \
                 to sign it anew first, with `lineside release delegate {name}`"
            );
        }
        if is_forgotten {
            bail!(
                "the server has forgotten the list of releases, which names role {name}: give it back \
                 first, with `lineside keys publish`"
            );
        }
        let roles = releases.delegations()?;
        let delegation = roles.iter().find(|role| role.name == name.as_str());
        let delegation = delegation.with_context(|| nobody(name, &roles))?.clone();
        let kept = folder.kept_role(name)?;
        let last = last(name, &releases, server.role(name)?, kept, now)?;
        Ok(Role { name: name.clone(), folder, server, now, releases, list, delegation, last })
    }

    /// What it has signed last, as far as it holds by the keys and paths that it has now.
    pub fn trusted(&self) -> Option<&TrustedTargets> {
        self.last.as_ref()?.trusted.as_ref()
    }

    /// Whether what it has signed last holds no longer, because of its date or its keys.
    pub fn is_stale(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.is_expired || last.trusted.is_none())
    }

    /// Gives the server what the role has signed last, if that lies here and the server has lost it.
    /// Whether it had.
    ///
    /// # Errors
    /// The server lacks something that the list speaks of.
    pub fn give_back(&self) -> anyhow::Result<bool> {
        match &self.last {
            Some(Last { bytes, is_forgotten: true, trusted: Some(_), .. }) => {
                self.server.put_role(&self.name, bytes).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Refuses a path that is not among those that it may sign.
    ///
    /// # Errors
    /// Which paths it may sign, and what to do.
    pub fn check_path(&self, path: &str) -> anyhow::Result<()> {
        if self.releases.delegates_for(path).contains(&self.name.as_str()) {
            return Ok(());
        }
        bail!(
            "{path} is not among the paths that {name} may sign, which are: {}. If it shall, the release \
             keys say so with `lineside release delegate {name} --path PATH`",
            self.delegation.paths.join(", "),
            name = self.name
        )
    }

    /// The keys in these files, if they are enough of the role's.
    ///
    /// # Errors
    /// One of them is not the role's, or they are too few.
    pub fn signers(&self, files: &[PathBuf]) -> anyhow::Result<Vec<Signer>> {
        let Delegation { keys, threshold, .. } = &self.delegation;
        let mut signers: BTreeMap<String, Signer> = BTreeMap::new();
        for file in files {
            let signer = Signer::open(file)?;
            let id = signer.public().id();
            if keys.iter().all(|key| key.id() != id) {
                bail!(
                    "{} is no key of {}; the keys that the release keys gave it: {}",
                    file.display(),
                    self.name,
                    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                );
            }
            signers.insert(id, signer);
        }
        if signers.len() < *threshold {
            let problem = format!(
                "{} signs with {threshold} of its keys, and {} is named: name each with --key KEY, or \
                 write the list for its signers with --draft FILE",
                self.name,
                signers.len()
            );
            return Err(Usage(problem).into());
        }
        Ok(signers.into_values().collect())
    }

    /// The list that follows what it has signed last. `path` is what is to be added, whose bundle may
    /// have releases of others.
    ///
    /// # Errors
    /// What was kept in the folder of keys is no list.
    pub fn next(&self, path: &str) -> anyhow::Result<RoleDraft> {
        let others =
            others(self.server, &self.folder, &self.releases, path, Some(&self.name), self.now)?;
        let name = self.name.as_str();
        match &self.last {
            None => Ok(RoleDraft::after(None, others)),
            Some(Last { trusted: Some(trusted), .. }) => {
                Ok(RoleDraft::after(Some(trusted), others))
            }
            Some(Last { version, kept: Some(kept), .. }) => {
                RoleDraft::carrying_on(kept, &self.releases, name, *version, others)
                    .with_context(|| format!("what lies here of {name} cannot be used"))
            }
            Some(Last { version, .. }) => bail!(
                "list {version} of {name} does not hold by the keys and paths that it has now, and here \
                 is no list from when it did: sign in the folder of keys in which {name} signed last, or \
                 from which its list was published, and name it with --keys DIR"
            ),
        }
    }

    /// What lies at those paths of the next list that are no releases, fetched from the server, but for
    /// those that are `replaced`.
    ///
    /// # Errors
    /// The server lacks one, or it is no text.
    pub fn files(
        &self,
        next: &RoleDraft,
        replaced: &[&str],
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let kept = next.files().iter().filter(|(path, _)| !replaced.contains(&path.as_str()));
        kept.map(|(path, (digest, _))| Ok((path.clone(), self.fetch(path, digest)?))).collect()
    }

    /// What lies at a path that is no release, by what it has signed last.
    ///
    /// # Errors
    /// It has signed nothing there, or the server lacks it.
    pub fn file(&self, path: &str) -> anyhow::Result<String> {
        let signed = self.trusted().and_then(|trusted| trusted.files().get(path));
        let (digest, _) = signed.with_context(|| format!("{} has signed no {path}", self.name))?;
        self.fetch(path, digest)
    }

    fn fetch(&self, path: &str, digest: &Digest) -> anyhow::Result<String> {
        let bytes = self.server.blob(&self.name, Kind::Blob, digest)?;
        String::from_utf8(bytes).with_context(|| format!("{path} is no text"))
    }

    /// The draft of a list, for its signers; `files` is what it speaks of besides releases.
    ///
    /// # Errors
    /// It does not follow what was signed last.
    pub fn draft(
        &self,
        next: &RoleDraft,
        expires: OffsetDateTime,
        files: BTreeMap<String, String>,
    ) -> anyhow::Result<Draft> {
        let before = self.last.as_ref().map(|last| last.bytes.as_slice());
        let unsigned = next.sign(expires, &[]);
        let (root, name) = (self.folder.root(), self.name.as_str());
        Ok(Draft::role(&unsigned, root, name, &self.list, before, files)?)
    }

    /// Gives the server a list that was signed, and before it what it speaks of besides releases.
    ///
    /// # Errors
    /// It was signed for other keys or paths than the role has now, or the server does not take it.
    pub fn publish(&self, signed: &[u8], files: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let seen = self.trusted().map(TrustedTargets::seen);
        let name = self.name.as_str();
        verify_delegated(&self.releases, name, signed, seen.as_ref(), self.now).with_context(
            || format!("the list of {name} is not published; have it drafted anew"),
        )?;
        for text in files.values() {
            let (digest, bytes) = (Digest::of(text.as_bytes()), text.as_bytes());
            if !self.server.has_blob(&self.name, &digest)? {
                self.server.put_blob(&self.name, &digest, bytes)?;
            }
        }
        self.server.put_role(&self.name, signed)?;
        let kept = self.folder.keep_role(&self.name, signed);
        kept.context("published, but the list is not kept in the folder of keys")
    }
}

/// Releases of the bundle of `path` that somebody else than `except` has signed, or the release keys,
/// and those that they have withdrawn: their numbers are taken. What the server has lost may lie here.
///
/// # Errors
/// What the server says.
pub fn others(
    server: &Server,
    folder: &KeyFolder,
    releases: &TrustedReleases,
    path: &str,
    except: Option<&RoleName>,
    now: OffsetDateTime,
) -> anyhow::Result<Others> {
    let mut others = Others::default();
    if except.is_some() {
        others.releases.extend(releases.iter().cloned());
        others.withdrawn.push(releases.withdrawn().clone());
    }
    let roles: BTreeSet<&str> = releases.delegates_for(path).into_iter().collect();
    for role in roles {
        let name: RoleName = role.parse()?;
        if except == Some(&name) {
            continue;
        }
        let lists = [server.role_beside(&name, path)?, folder.kept_role(&name)?];
        // What nobody has signed who may takes no number here: those of keys that a role has lost were
        // counted when it lost them.
        for targets in lists.iter().flatten().filter_map(|list| signed(releases, role, list, now)) {
            others.releases.extend(targets.releases().values().cloned());
            others.withdrawn.push(targets.withdrawn().clone());
        }
    }
    Ok(others)
}

/// What a role has signed by the keys and within the paths that it has by `releases`. A list past its date
/// counts: it holds on devices, and a number given twice would leave floors blind.
pub fn signed(
    releases: &TrustedReleases,
    role: &str,
    list: &[u8],
    now: OffsetDateTime,
) -> Option<TrustedTargets> {
    let verify = |now| verify_delegated(releases, role, list, None, now);
    match verify(now) {
        Err(TrustError::Expired { .. }) => verify(OffsetDateTime::UNIX_EPOCH).ok(),
        verified => verified.ok(),
    }
}

/// What a role has signed last: what the server has, or what lies here where that is newer.
fn last(
    name: &RoleName,
    releases: &TrustedReleases,
    theirs: Option<Vec<u8>>,
    kept: Option<Vec<u8>>,
    now: OffsetDateTime,
) -> anyhow::Result<Option<Last>> {
    let version = |bytes: &Option<Vec<u8>>| -> anyhow::Result<u64> {
        let listed = bytes.as_deref().map(|bytes| Listed::of("role's list", bytes)).transpose()?;
        Ok(listed.map_or(0, |listed| listed.version()))
    };
    let (their_version, kept_version) = (version(&theirs)?, version(&kept)?);
    if their_version == kept_version && theirs != kept {
        bail!(
            "the server has another list {kept_version} of {name} than was signed or published here: \
             somebody signed two. Ask whoever holds keys of {name} which one holds"
        );
    }
    let is_forgotten = kept_version > their_version;
    let newest = if is_forgotten { kept.clone() } else { theirs };
    let Some(bytes) = newest else { return Ok(None) };
    let verify = |now| verify_delegated(releases, name.as_str(), &bytes, None, now);
    let (trusted, is_expired) = match verify(now) {
        Err(TrustError::Expired { .. }) => (verify(OffsetDateTime::UNIX_EPOCH).ok(), true),
        verified => (verified.ok(), false),
    };
    let version = their_version.max(kept_version);
    Ok(Some(Last { bytes, version, trusted, is_expired, is_forgotten, kept }))
}

fn nobody(name: &RoleName, roles: &[Delegation]) -> String {
    let known: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
    let known = match known.as_slice() {
        [] => "nobody".to_owned(),
        known => known.join(", "),
    };
    format!(
        "the release keys have delegated nothing to {name}, but to {known}; next, with the release keys: \
         lineside release delegate {name} --path PATH --key PUBLIC-KEY"
    )
}
