//! Compiled plugins, kept so that a worker starts in milliseconds.
//!
//! Loading compiled code means trusting it like our own, so a file of the cache begins with an
//! HMAC-SHA256 by a key that never leaves the device. Whatever does not carry it is compiled anew.

use lineside_bundle::Digest;
use ring::hmac;
use std::io::Write;
use std::path::{Path, PathBuf};

const TAG_BYTES: usize = 32;

/// A folder of compiled plugins and the key that authenticates them.
#[derive(Clone)]
pub struct PluginCache {
    folder: PathBuf,
    key: hmac::Key,
}

impl PluginCache {
    /// A cache in `folder`, authenticated by the device's own `key`.
    pub fn new(folder: PathBuf, key: &[u8; 32]) -> PluginCache {
        PluginCache { folder, key: hmac::Key::new(hmac::HMAC_SHA256, key) }
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
        // Whoever reads meanwhile sees the old file or the new one, and would notice half of one.
        let temporary = file.with_extension(format!("{}.part", std::process::id()));
        let written = std::fs::File::create(&temporary).and_then(|mut out| {
            out.write_all(tag.as_ref())?;
            out.write_all(code)
        });
        if written.and_then(|()| std::fs::rename(&temporary, &file)).is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
    }

    fn file(&self, plugin: &Digest, compiler: &str) -> PathBuf {
        let compiler = Digest::of(compiler.as_bytes()).short();
        Path::new(&self.folder).join(format!("{}-{compiler}.cwasm", plugin.hex()))
    }
}

fn signed(plugin: &Digest, compiler: &str, code: &[u8]) -> Vec<u8> {
    let mut signed = plugin.bytes().to_vec();
    signed.extend(Digest::of(compiler.as_bytes()).bytes());
    signed.extend(Digest::of(code).bytes());
    signed
}
