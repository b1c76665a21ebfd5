//! The folder that `lineside keys new` made: the root that people trust, and keys that sign.

use super::signer::Signer;
use crate::new_files;
use anyhow::{Context, bail};
use lineside_trust::{
    DOCUMENT_BYTES_MAX, ReleasesDraft, Root, Seen, SignedRelease, TrustError, TrustedReleases,
    verify_releases,
};
use lineside_wire::name::RoleName;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// The root document.
pub const ROOT: &str = "root.json";
/// The key that signs roots.
pub const ROOT_KEY: &str = "root.pem";
/// The last list of releases that was signed or seen here.
const RELEASES: &str = "releases.json";
/// The root that the last list of releases was verified with. After the release keys were replaced
/// the list holds by this root only, until it is signed anew.
const RELEASES_ROOT: &str = "releases-root.json";
/// Name of the file with the release key of this number, from 1.
pub fn release_key(number: usize) -> String {
    format!("release-{number}.pem")
}

/// Name of the file with the root of this version. Each that was trusted here stays: a server that
/// stands in for one that is lost has to be led from the first to the last, as devices are.
pub fn root_file(version: u64) -> String {
    format!("{version}.root.json")
}

/// Name of the file with the last list of a delegated role.
pub fn role_list(role: &RoleName) -> String {
    format!("role-{role}.json")
}

/// A folder of keys.
pub struct KeyFolder {
    path: PathBuf,
    root: Root,
}

impl KeyFolder {
    /// Opens the folder at `path` by its root, which is trusted because it lies there.
    ///
    /// # Errors
    /// No such folder, or a root that does not hold together.
    pub fn open(path: &Path) -> anyhow::Result<KeyFolder> {
        let file = path.join(ROOT);
        let name = file.display();
        let bytes = read(&file, DOCUMENT_BYTES_MAX as u64).with_context(|| {
            format!(
                "no keys in {}: name the folder with --keys DIR, or make one with `lineside keys new`",
                path.display()
            )
        })?;
        let root = Root::pin(&bytes).with_context(|| format!("{name} cannot be trusted"))?;
        Ok(KeyFolder { path: path.to_owned(), root })
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The roots that were trusted here, each the way to the next; the last is this folder's.
    ///
    /// # Errors
    /// What lies here as one of them is not what it was.
    pub fn roots(&self) -> anyhow::Result<Vec<Root>> {
        let mut roots = vec![self.root.clone()];
        let mut next = self.root.clone();
        while next.version() > 1 {
            let file = self.path.join(root_file(next.version() - 1));
            if !file.exists() {
                break;
            }
            let name = file.display();
            let bytes = read(&file, DOCUMENT_BYTES_MAX as u64)?;
            let root = Root::pin(&bytes).with_context(|| format!("{name} cannot be trusted"))?;
            let follows = root.update(next.bytes());
            follows.with_context(|| format!("{name} does not lead to root {}", next.version()))?;
            roots.push(root.clone());
            next = root;
        }
        roots.reverse();
        Ok(roots)
    }

    /// Keeps this folder's root by its version, whatever becomes of [`ROOT`].
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_root(&self) -> anyhow::Result<()> {
        let file = self.path.join(root_file(self.root.version()));
        match file.exists() {
            true => Ok(()),
            false => new_files::make(&file, self.root.bytes()),
        }
    }

    /// Puts the next root in the place of this folder's, which stays by its version.
    ///
    /// # Errors
    /// What the file system says.
    pub fn follow(&self, next: &[u8]) -> anyhow::Result<()> {
        self.keep_root()?;
        new_files::replace(&self.path.join(ROOT), next)
    }

    /// Whether a server's root is one before this folder's.
    ///
    /// # Errors
    /// As for [`KeyFolder::roots`].
    pub fn follows(&self, theirs: &Root) -> anyhow::Result<bool> {
        let is_next = theirs.update(self.root.bytes()).is_ok();
        Ok(is_next || self.roots()?.iter().rev().skip(1).any(|root| root.agrees_with(theirs)))
    }

    /// Refuses a server that follows another root than this folder has.
    ///
    /// # Errors
    /// What is different, and what to do.
    pub fn compare(&self, url: &str, theirs: Option<&[u8]>) -> anyhow::Result<()> {
        let here = self.path.display();
        let Some(theirs) = theirs else {
            bail!("the server at {url} has no root yet; run `lineside keys publish --keys {here}`");
        };
        let pinned = Root::pin(theirs).with_context(|| format!("{url} sends no root"))?;
        if pinned.agrees_with(&self.root) {
            return Ok(());
        }
        if let Ok(next) = self.root.update(theirs) {
            bail!(
                "the server at {url} has root version {}, {here} has version {}: \
                 get the new {ROOT} from whoever signed it, not from the server, and run \
                 `lineside keys follow NEW --root {here}/{ROOT}`",
                next.version(),
                self.root.version()
            );
        }
        if self.follows(&pinned)? {
            bail!(
                "{here} has root version {}, and the server at {url} not yet; \
                 run `lineside keys publish --keys {here}`",
                self.root.version()
            );
        }
        bail!(
            "the server at {url} follows another root than {here}: \
             these are keys of another server, or that server is not what it seems"
        )
    }

    /// As many release keys as the root wants, from the files `release-*.pem` of this folder, and
    /// `release-*.token` for those that lie in tokens.
    ///
    /// # Errors
    /// Fewer than needed.
    pub fn release_keys(&self) -> anyhow::Result<Vec<Signer>> {
        let (named, threshold) = self.root.release_keys();
        let mut keys: Vec<Signer> = Vec::new();
        for path in self.key_files()? {
            if keys.len() == threshold {
                break;
            }
            let key = Signer::open(&path)?;
            let id = key.public().id();
            let is_new = keys.iter().all(|other| other.public().id() != id);
            if is_new && named.contains(&id) {
                keys.push(key);
            }
        }
        if keys.len() < threshold {
            bail!(
                "a release needs {threshold} signatures; {} has {} of the keys that {ROOT} names, as {}: \
                 bring the others together there",
                self.path.display(),
                keys.len(),
                release_key(1)
            );
        }
        Ok(keys)
    }

    /// Verifies the server's list of releases: signed, and no older than what was seen here.
    ///
    /// A list past its date is believed, because it is to be signed anew. So is one of keys that were
    /// replaced since, if it is the very one that was verified here. Where the server has none or an
    /// older one than was seen here, that one is what the next has to follow; and where the server has
    /// another of replaced keys, which whoever stole them may have signed.
    ///
    /// # Errors
    /// Why it is not trusted, and what to do.
    pub fn verify(
        &self,
        releases: Option<&[u8]>,
        now: OffsetDateTime,
    ) -> anyhow::Result<Option<KnownList>> {
        let kept = self.kept_releases()?.map(|bytes| self.trust_kept(bytes, now)).transpose()?;
        let forgotten = |kept| KnownList { is_forgotten: true, ..kept };
        let Some(bytes) = releases else { return Ok(kept.map(forgotten)) };
        if let Some(kept) = &kept
            && kept.freshness == Freshness::KeysReplaced
            && kept.bytes == bytes
        {
            return Ok(Some(kept.clone()));
        }
        let seen = kept.as_ref().map(|kept| kept.releases.seen());
        let verified = known(&self.root, bytes.to_vec(), seen.as_ref(), now);
        match (verified, kept) {
            (Ok(theirs), _) => Ok(Some(theirs)),
            (Err(TrustError::Older { .. }), Some(kept)) => Ok(Some(forgotten(kept))),
            (Err(error @ TrustError::Signature { .. }), kept) => {
                match (kept, self.of_replaced_keys(bytes)?) {
                    (Some(kept), Some(_)) if kept.freshness != Freshness::KeysReplaced => {
                        Ok(Some(forgotten(kept)))
                    }
                    (Some(kept), disowned @ Some(_)) => Ok(Some(KnownList { disowned, ..kept })),
                    _ => Err(error).context(
                        "the server's list of releases is not trusted; if the release keys were \
                         replaced, sign it anew in the folder of keys that it was last signed or seen in",
                    ),
                }
            }
            (Err(error), _) => Err(error).context("the server's list of releases is not trusted"),
        }
    }

    /// The last list of releases that was signed or seen here.
    ///
    /// # Errors
    /// What the file system says.
    pub fn kept_releases(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.path.join(RELEASES);
        if !path.exists() {
            return Ok(None);
        }
        read(&path, DOCUMENT_BYTES_MAX as u64).map(Some)
    }

    /// Keeps a list of releases that was verified, so that an older one is noticed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_releases(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.keep_root()?;
        if self.kept_releases()?.as_deref() == Some(bytes) {
            return Ok(());
        }
        new_files::replace(&self.path.join(RELEASES), bytes)?;
        // After the list: should this one not be written, the list still holds by the root itself.
        new_files::replace(&self.path.join(RELEASES_ROOT), self.root.bytes())
    }

    /// What a delegated role has signed last, of what was signed or seen here.
    ///
    /// # Errors
    /// What the file system says.
    pub fn kept_role(&self, role: &RoleName) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.path.join(role_list(role));
        if !path.exists() {
            return Ok(None);
        }
        read(&path, DOCUMENT_BYTES_MAX as u64).map(Some)
    }

    /// Keeps what a delegated role has signed and was verified, so that an older list is noticed, and
    /// that the next one goes on from it even where the role has got other keys meanwhile.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_role(&self, role: &RoleName, list: &[u8]) -> anyhow::Result<()> {
        new_files::replace(&self.path.join(role_list(role)), list)
    }

    /// Verifies the list that lies here, by the root or by the one that it was verified with then.
    fn trust_kept(&self, kept: Vec<u8>, now: OffsetDateTime) -> anyhow::Result<KnownList> {
        let error = match known(&self.root, kept.clone(), None, now) {
            Ok(known) => return Ok(known),
            Err(error) => error,
        };
        let former = self.path.join(RELEASES_ROOT);
        if former.exists() {
            let bytes = read(&former, DOCUMENT_BYTES_MAX as u64)?;
            if let Ok(known) = Root::pin(&bytes).and_then(|root| known(&root, kept, None, now)) {
                return Ok(KnownList { freshness: Freshness::KeysReplaced, ..known });
            }
        }
        let path = self.path.join(RELEASES);
        Err(error).with_context(|| format!("{} cannot be trusted", path.display()))
    }

    /// A list that holds by a root before this folder's.
    fn of_replaced_keys(&self, bytes: &[u8]) -> anyhow::Result<Option<TrustedReleases>> {
        let verify =
            |root: &Root| verify_releases(root, bytes, None, OffsetDateTime::UNIX_EPOCH).ok();
        Ok(self.roots()?.iter().rev().skip(1).find_map(verify))
    }

    fn key_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let listing = std::fs::read_dir(&self.path)
            .with_context(|| format!("cannot list {}", self.path.display()))?;
        let mut files = Vec::new();
        for entry in listing {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_key = [".pem", ".token"].iter().any(|ending| name.ends_with(ending));
            if name.starts_with("release-") && is_key {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Refuses a secret that others may read: it may be theirs as well by now.
///
/// # Errors
/// They may.
pub fn refuse_others(path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        bail!("{name} may be read by others (mode {mode:o}); run: chmod 600 {name}");
    }
    Ok(())
}

/// The list of releases that the next one follows.
#[derive(Debug, Clone)]
pub struct KnownList {
    /// As it was signed.
    pub bytes: Vec<u8>,
    /// What it says.
    pub releases: TrustedReleases,
    /// Whether it is to be signed anew.
    pub freshness: Freshness,
    /// The server has none, or an older one: it was lost, or restored from a copy.
    pub is_forgotten: bool,
    /// What the server has instead, signed by keys that were replaced.
    pub disowned: Option<TrustedReleases>,
}

impl KnownList {
    /// The list that follows.
    pub fn next(&self) -> ReleasesDraft {
        let next = ReleasesDraft::after(Some(&self.releases));
        match &self.disowned {
            Some(disowned) => next.beyond(disowned),
            None => next,
        }
    }

    /// What the server's list has and this one has not, by keys that were replaced. It is not signed
    /// anew.
    pub fn unsigned_anew(&self) -> Vec<String> {
        let disowned = self.disowned.iter().flat_map(TrustedReleases::iter);
        let new = disowned.filter(|release| self.releases.get(&release.path()) != Some(release));
        new.map(SignedRelease::path).collect()
    }

    /// The same as a line of text, empty if there is nothing.
    pub fn tell_unsigned(&self) -> String {
        tell_unsigned(&self.unsigned_anew())
    }
}

/// Says what of a server's list is not signed anew, as a line of text, empty if there is nothing.
pub fn tell_unsigned(paths: &[String]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    format!(
        "\nnot signed anew, and given to no device: {}. The server's list has it by keys that were \
         replaced, and the list that lies here has not; if it is yours, release it again",
        paths.join(", ")
    )
}

/// Verifies a list by a root; a date that has passed is said.
fn known(
    root: &Root,
    bytes: Vec<u8>,
    seen: Option<&Seen>,
    now: OffsetDateTime,
) -> Result<KnownList, TrustError> {
    let verify = |now| verify_releases(root, &bytes, seen, now);
    let (releases, freshness) = match verify(now) {
        Err(TrustError::Expired { .. }) => {
            (verify(OffsetDateTime::UNIX_EPOCH)?, Freshness::Expired)
        }
        verified => (verified?, Freshness::Fresh),
    };
    Ok(KnownList { bytes, releases, freshness, is_forgotten: false, disowned: None })
}

/// Whether a document is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// Past its date.
    Expired,
    /// Signed by keys that the root no longer names.
    KeysReplaced,
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// What the file system says, with the path.
pub fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
    if size > bytes_max {
        bail!("{name} has {size} bytes, at most {bytes_max} are read");
    }
    std::fs::read(path).with_context(|| format!("cannot read {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_bundle::{Digest, ReleaseId};
    use lineside_trust::{KeyPair, ReleasesDraft, RootSpec, sign_root};
    use ring::rand::SystemRandom;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const LATER: OffsetDateTime = datetime!(2027-11-24 12:00 UTC);

    fn secret(path: &Path, key: &KeyPair) {
        std::fs::write(path, key.to_pem()).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A folder with a root that wants two of three release keys, of which two lie in it.
    struct Desk {
        folder: tempfile::TempDir,
        root_key: KeyPair,
        people: Vec<KeyPair>,
        spec: RootSpec,
    }

    impl Desk {
        fn new() -> Desk {
            let random = SystemRandom::new();
            let key = || KeyPair::generate(&random).unwrap();
            let (root_key, people) = (key(), vec![key(), key(), key()]);
            let spec = RootSpec {
                version: 1,
                expires: LATER,
                root: (vec![root_key.public()], 1),
                releases: (people.iter().map(KeyPair::public).collect(), 2),
                online: key().public(),
                director: key().public(),
            };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            std::fs::write(path.join(ROOT), sign_root(&spec, &[&root_key])).unwrap();
            secret(&path.join(release_key(1)), &key());
            secret(&path.join(release_key(2)), &people[1]);
            secret(&path.join(release_key(3)), &people[2]);
            Desk { folder, root_key, people, spec }
        }

        fn open(&self) -> KeyFolder {
            KeyFolder::open(self.folder.path()).unwrap()
        }

        /// A list of releases of this version, good until `expires`.
        fn list(&self, version: usize, expires: OffsetDateTime) -> Vec<u8> {
            let keys = [&self.people[0], &self.people[1]];
            let folder = self.open();
            let mut bytes = Vec::new();
            for number in 1..=version {
                let trusted = verify_releases(folder.root(), &bytes, None, NOW).ok();
                let mut draft = ReleasesDraft::after(trusted.as_ref());
                let id = ReleaseId {
                    name: "turbine".parse().unwrap(),
                    version: number.to_string().parse().unwrap(),
                    digest: Digest::of(&[0]),
                    size: 1,
                };
                draft.add(id, None).unwrap();
                let until = if number == version { expires } else { LATER };
                bytes = draft.sign(until, &keys);
            }
            bytes
        }
    }

    #[test]
    fn as_many_keys_sign_as_the_root_wants_and_only_those_it_names() {
        let desk = Desk::new();
        let ids: Vec<String> =
            desk.open().release_keys().unwrap().iter().map(|key| key.public().id()).collect();
        assert_eq!(ids, [desk.people[1].id(), desk.people[2].id()]);
        std::fs::remove_file(desk.folder.path().join(release_key(3))).unwrap();
        let error = desk.open().release_keys().err().unwrap().to_string();
        assert!(error.contains("needs 2 signatures") && error.contains("has 1 of"), "{error}");
    }

    #[test]
    fn a_release_key_that_others_may_read_signs_nothing() {
        let desk = Desk::new();
        let path = desk.folder.path().join(release_key(2));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = desk.open().release_keys().err().unwrap().to_string();
        assert!(
            error.ends_with(&format!("(mode 640); run: chmod 600 {}", path.display())),
            "{error}"
        );
    }

    #[test]
    fn a_server_that_went_back_is_noticed() {
        let desk = Desk::new();
        let (old, new) = (desk.list(1, LATER), desk.list(2, LATER));
        assert!(desk.open().verify(Some(&old), NOW).is_ok());
        desk.open().keep_releases(&new).unwrap();
        for forgotten in [Some(old.as_slice()), None] {
            let known = desk.open().verify(forgotten, NOW).unwrap().unwrap();
            assert!(known.is_forgotten && known.bytes == new);
        }
        assert!(!desk.open().verify(Some(&new), NOW).unwrap().unwrap().is_forgotten);
    }

    #[test]
    fn every_root_that_was_trusted_stays_and_leads_to_the_next() {
        let desk = Desk::new();
        let versions = |folder: &KeyFolder| -> Vec<u64> {
            folder.roots().unwrap().iter().map(Root::version).collect()
        };
        assert_eq!(versions(&desk.open()), [1]);
        let first = desk.open().root().clone();
        for version in [2, 3] {
            let next = RootSpec { version, ..desk.spec.clone() };
            desk.open().follow(&sign_root(&next, &[&desk.root_key])).unwrap();
        }
        assert_eq!(versions(&desk.open()), [1, 2, 3]);
        assert!(desk.open().follows(&first).unwrap());
        let here = desk.open().root().clone();
        assert!(!desk.open().follows(&here).unwrap());

        // A root that somebody else made does not lead here.
        let path = desk.folder.path().join(root_file(2));
        std::fs::write(&path, Desk::new().open().root().bytes()).unwrap();
        let error = format!("{:#}", desk.open().roots().unwrap_err());
        assert!(error.contains("2.root.json does not lead to root 3"), "{error}");
        std::fs::remove_file(path).unwrap();
        assert_eq!(versions(&desk.open()), [3]);
    }

    #[test]
    fn a_list_past_its_date_is_told_apart_from_one_that_nobody_signed() {
        let desk = Desk::new();
        let expired = desk.list(1, NOW - Duration::days(1));
        let known = desk.open().verify(Some(&expired), NOW).unwrap().unwrap();
        assert!(known.releases.get("turbine/1").is_some());
        assert_eq!(known.freshness, Freshness::Expired);
        let forged = String::from_utf8(desk.list(1, LATER)).unwrap().replace("turbine", "turbina");
        let error = format!("{:#}", desk.open().verify(Some(forged.as_bytes()), NOW).unwrap_err());
        assert!(error.contains("is not trusted"), "{error}");
    }

    #[test]
    fn a_list_of_replaced_keys_is_the_base_of_the_next_if_it_was_verified_here_before() {
        let mut desk = Desk::new();
        let (seen_here, other) = (desk.list(2, LATER), desk.list(3, LATER));
        desk.open().keep_releases(&seen_here).unwrap();
        let random = SystemRandom::new();
        desk.people = (0..3).map(|_| KeyPair::generate(&random).unwrap()).collect();
        desk.spec.version = 2;
        desk.spec.releases = (desk.people.iter().map(KeyPair::public).collect(), 2);
        let before = desk.open().root().clone();
        let root = sign_root(&desk.spec, &[&desk.root_key]);
        std::fs::write(desk.folder.path().join(ROOT), root).unwrap();
        assert!(desk.open().follows(&before).unwrap());
        let error = desk.open().compare("URL", Some(before.bytes())).unwrap_err().to_string();
        assert!(error.contains("keys publish"), "{error}");

        let known = desk.open().verify(Some(&seen_here), NOW).unwrap().unwrap();
        assert_eq!(known.freshness, Freshness::KeysReplaced);
        assert!(known.releases.get("turbine/2").is_some());
        assert!(known.unsigned_anew().is_empty() && known.tell_unsigned().is_empty());
        // Whoever has a key that was replaced may have signed this one: it is not gone on from.
        let known = desk.open().verify(Some(&other), NOW).unwrap().unwrap();
        assert_eq!((known.freshness, known.is_forgotten), (Freshness::KeysReplaced, false));
        assert!(known.bytes == seen_here && known.releases.get("turbine/3").is_none());
        assert_eq!(known.unsigned_anew(), ["turbine/3"]);
        assert!(
            known.tell_unsigned().contains("not signed anew, and given to no device: turbine/3.")
        );
        let next = known.next().sign(LATER, &[&desk.people[0], &desk.people[1]]);
        let next = verify_releases(desk.open().root(), &next, None, NOW).unwrap();
        assert_eq!(next.seen().version, 4);
        // One of keys that nobody here has ever trusted is refused as before.
        let stranger = Desk::new().list(3, LATER);
        let error = format!("{:#}", desk.open().verify(Some(&stranger), NOW).unwrap_err());
        assert!(error.contains("is not trusted") && error.contains("sign it anew"), "{error}");

        // Signed anew it holds by the root itself.
        let anew = desk.list(3, LATER);
        desk.open().keep_releases(&anew).unwrap();
        let known = desk.open().verify(Some(&anew), NOW).unwrap().unwrap();
        assert_eq!(known.freshness, Freshness::Fresh);
        let known = desk.open().verify(Some(&seen_here), NOW).unwrap().unwrap();
        assert!(known.is_forgotten && known.bytes == anew);
    }

    #[test]
    fn another_root_is_refused_and_a_newer_one_is_not_taken_from_the_server() {
        let desk = Desk::new();
        let folder = desk.open();
        let compare = |root: Option<&[u8]>| folder.compare("URL", root).map_err(|e| e.to_string());
        assert!(compare(Some(folder.root().bytes())).is_ok());
        assert!(compare(None).unwrap_err().contains("has no root yet"));
        let other = Desk::new();
        let stranger = compare(Some(other.open().root().bytes())).unwrap_err();
        assert!(stranger.contains("follows another root"), "{stranger}");
        let next = RootSpec { version: 2, ..desk.spec.clone() };
        let newer = compare(Some(&sign_root(&next, &[&desk.root_key]))).unwrap_err();
        assert!(
            newer.contains("root version 2") && newer.contains("not from the server"),
            "{newer}"
        );
    }
}
