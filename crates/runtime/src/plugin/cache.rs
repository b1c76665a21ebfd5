//! Compiled plugins, kept so that a worker starts in milliseconds.
//!
//! Loading compiled code means trusting it like our own, so a file of the cache begins with an
//! HMAC-SHA256 by a key that never leaves the device. Whatever does not carry it is compiled anew.
//!
//! The worker that compiles a plugin holds the key. So that one which a plugin has broken out of
//! cannot write code for the others, each release has a key of its own, made from the device's.

use lineside_bundle::Digest;
use ring::hmac;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const TAG_BYTES: usize = 32;
/// Files of one release; beyond, the oldest are removed: they are another compiler's. Those of others are
/// left alone, whatever is compiled: [`PluginCache::keep`] is for who knows which are wanted.
const FILES_MAX: usize = 64;

/// What a key is made for, so that nobody makes the same one for something else.
const RELEASE_KEY: &[u8] = b"lineside: compiled plugins of release ";

/// A folder of compiled plugins and the key that authenticates them.
#[derive(Clone)]
pub struct PluginCache {
    folder: PathBuf,
    key: hmac::Key,
    /// Tells files of one key from those of another in the same folder.
    mark: String,
}

impl PluginCache {
    /// A cache in `folder`, authenticated by `key`, which one release has, and one device.
    pub fn new(folder: PathBuf, key: &[u8; 32]) -> PluginCache {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mark = Digest::of(hmac::sign(&key, b"mark").as_ref()).short();
        PluginCache { folder, key, mark }
    }

    /// The key for the plugins of the release with this digest, made from the device's own.
    ///
    /// HMAC-SHA256 as a key derivation function in counter mode with one block (NIST SP 800-108r1,
    /// section 4.1), but that the counter and the length, which never differ, are left out.
    pub fn release_key(device_key: &[u8; 32], release: &Digest) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, device_key);
        let derived = hmac::sign(&key, &[RELEASE_KEY, &release.bytes()].concat());
        derived.as_ref().try_into().expect("a SHA-256 has 32 bytes")
    }

    /// The compiled code of the plugin with this digest, made by this very compiler; none if there
    /// is none or it was touched.
    pub(super) fn load(&self, plugin: &Digest, compiler: &str) -> Option<Vec<u8>> {
        let mut bytes = std::fs::read(self.file(plugin, compiler)).ok()?;
        if bytes.len() < TAG_BYTES {
            return None;
        }
        let code = bytes.split_off(TAG_BYTES);
        hmac::verify(&self.key, &signed(plugin, compiler, &code), &bytes).ok()?;
        Some(code)
    }

    /// Keeps compiled code. A cache that cannot be written costs time, never a plugin.
    pub(super) fn store(&self, plugin: &Digest, compiler: &str, code: &[u8]) {
        let tag = hmac::sign(&self.key, &signed(plugin, compiler, code));
        let file = self.file(plugin, compiler);
        let _ = std::fs::create_dir_all(&self.folder);
        // Whoever reads meanwhile sees the old file or the new one, and would notice half of one.
        let temporary = file.with_extension(format!("{}.part", std::process::id()));
        let written = std::fs::File::create(&temporary).and_then(|mut out| {
            out.write_all(tag.as_ref())?;
            out.write_all(code)
        });
        if written.and_then(|()| std::fs::rename(&temporary, &file)).is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        self.prune();
    }

    /// Removes from `folder` what was compiled for others than the releases that are `kept`. Returns how
    /// many files that were.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(folder: &Path, kept: &[PluginCache]) -> io::Result<usize> {
        let mut removed = 0;
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let entries = match std::fs::read_dir(folder) {
            // Nothing was compiled, or nothing can be kept.
            Err(error) if is_gone(&error) => return Ok(0),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let mark = mark(&path).unwrap_or_default();
            if kept.iter().any(|cache| cache.mark == mark) {
                continue;
            }
            match std::fs::remove_file(&path) {
                // A worker has given it its name meanwhile, or removed it.
                Err(error) if is_gone(&error) => {}
                done => {
                    done?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let dated = entries.flatten().filter_map(|entry| {
            let written = entry.metadata().and_then(|metadata| metadata.modified()).ok()?;
            Some((written, entry.path()))
        });
        let mut files: Vec<_> = dated.filter(|(_, path)| mark(path) == Some(&self.mark)).collect();
        files.sort();
        for (_, file) in files.iter().rev().skip(FILES_MAX) {
            let _ = std::fs::remove_file(file);
        }
    }

    fn file(&self, plugin: &Digest, compiler: &str) -> PathBuf {
        let compiler = Digest::of(compiler.as_bytes()).short();
        Path::new(&self.folder).join(format!("{}-{compiler}-{}.cwasm", plugin.hex(), self.mark))
    }
}

/// The mark in the name of a file, whether it is whole or one that is being written.
fn mark(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.split('.').next()?;
    Some(name.rsplit_once('-')?.1)
}

fn signed(plugin: &Digest, compiler: &str, code: &[u8]) -> Vec<u8> {
    let mut signed = plugin.bytes().to_vec();
    signed.extend(Digest::of(compiler.as_bytes()).bytes());
    signed.extend(Digest::of(code).bytes());
    signed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_bounded_and_keeps_what_came_last() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PluginCache::new(folder.path().join("cache"), &[7; 32]);
        let plugins: Vec<Digest> = (0..70u8).map(|number| Digest::of(&[number])).collect();
        for plugin in &plugins {
            cache.store(plugin, "compiler", b"code");
        }
        let files = std::fs::read_dir(folder.path().join("cache")).unwrap().count();
        assert_eq!(files, FILES_MAX);
        assert_eq!(cache.load(&plugins[69], "compiler").unwrap(), b"code");
        assert_eq!(cache.load(&plugins[69], "another compiler"), None);
    }

    #[test]
    fn what_is_compiled_for_one_release_makes_no_other_give_way() {
        let folder = tempfile::tempdir().unwrap();
        let of = |release: &[u8]| {
            let key = PluginCache::release_key(&[7; 32], &Digest::of(release));
            PluginCache::new(folder.path().to_owned(), &key)
        };
        let (runs, tried) = (of(b"runs since a year"), of(b"tried today"));
        let plugins: Vec<Digest> = (0..70u8).map(|number| Digest::of(&[number])).collect();
        runs.store(&plugins[0], "compiler", b"code");
        for plugin in &plugins {
            tried.store(plugin, "compiler", b"code");
        }
        assert!(runs.load(&plugins[0], "compiler").is_some());
        // What a worker that was killed has left is no better than the rest of its release.
        let part = tried.file(&plugins[0], "compiler").with_extension("17.part");
        std::fs::write(part, b"half").unwrap();
        std::fs::write(folder.path().join("what nobody knows"), b"?").unwrap();
        let kept = [runs.clone(), of(b"has no plugins")];
        assert_eq!(PluginCache::keep(folder.path(), &kept).unwrap(), FILES_MAX + 2);
        assert!(runs.load(&plugins[0], "compiler").is_some());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(PluginCache::keep(&folder.path().join("nothing"), &kept).unwrap(), 0);
    }

    #[test]
    fn code_that_one_release_s_worker_wrote_is_no_other_s() {
        let folder = tempfile::tempdir().unwrap();
        let releases = [Digest::of(b"one"), Digest::of(b"two")];
        let [one, two] = releases.map(|release| {
            let key = PluginCache::release_key(&[7; 32], &release);
            PluginCache::new(folder.path().to_owned(), &key)
        });
        let plugin = Digest::of(b"plugin");
        one.store(&plugin, "compiler", b"evil");
        assert_eq!(two.load(&plugin, "compiler"), None);
        // Also where the one puts its file in the other's place.
        std::fs::rename(one.file(&plugin, "compiler"), two.file(&plugin, "compiler")).unwrap();
        assert_eq!(two.load(&plugin, "compiler"), None);
        two.store(&plugin, "compiler", b"good");
        assert_eq!(two.load(&plugin, "compiler").unwrap(), b"good");
        assert_eq!(one.load(&plugin, "compiler"), None);
        let other_device = PluginCache::release_key(&[8; 32], &releases[0]);
        assert_ne!(other_device, PluginCache::release_key(&[7; 32], &releases[0]));
    }
}
