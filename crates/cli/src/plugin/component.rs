//! What a WebAssembly file is: component or not, what it asks for, what it gives, what it uses.

use anyhow::{Context, bail};
use lineside_runtime::NOT_RUN;
use serde::{Deserialize, Serialize};
use std::path::Path;
use wasmparser::{Validator, WasmFeatures};
use wit_component::DecodedWasm;

/// What a plugin exports.
pub const INTERFACE: &str = "lineside:plugin/processor@1.0.0";
/// All that it may import.
const LOG: &str = "lineside:plugin/log@1.0.0";
/// Longest file that is read: what a memory of WebAssembly could hold.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// How every file begins.
const MAGIC: &[u8] = b"\0asm";
/// What says in the header that it is a component (component model, Binary.md).
const COMPONENT: &[u8] = b"\x0d\0\x01\0";

/// What devices do not run, and what to do about it.
const REFUSED: [(WasmFeatures, &str, &str); 5] = [
    (WasmFeatures::RELAXED_SIMD, NOT_RUN[0].0, NOT_RUN[0].1),
    (WasmFeatures::THREADS, NOT_RUN[1].0, NOT_RUN[1].1),
    (WasmFeatures::MEMORY64, "64-bit memory", "a plugin has up to 4 GiB: build for wasm32"),
    (WasmFeatures::GC_TYPES, "garbage-collected types", "no device has a collector"),
    (WasmFeatures::EXCEPTIONS, "exceptions", "build without: errors are values here"),
];

/// The bytes of a file that may be anything.
///
/// # Errors
/// It cannot be read, or is larger than a plugin can be.
pub fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(file).context("cannot be read")?.len();
    if length > FILE_BYTES_MAX {
        bail!("it has more than {} GiB", FILE_BYTES_MAX >> 30);
    }
    std::fs::read(file).context("cannot be read")
}

/// Whether a component is a plugin as devices want one.
///
/// # Errors
/// What is wrong with it, by name, with what to do.
pub fn accept(bytes: &[u8]) -> anyhow::Result<()> {
    Contents::of(bytes)?.accept()
}

/// Everything but what devices do not run.
fn run_by_devices() -> WasmFeatures {
    REFUSED.iter().fold(WasmFeatures::all(), |all, (feature, ..)| all.difference(*feature))
}

/// What a component that devices do not run uses of what they do not run, each with what to do.
///
/// # Errors
/// It uses nothing of that, or more: it is broken.
fn refused(bytes: &[u8]) -> anyhow::Result<Vec<(String, String)>> {
    let everything = WasmFeatures::all();
    let validated = |features| Validator::new_with_features(features).validate_all(bytes);
    validated(everything).context("it is broken")?;
    let uses = |feature: &WasmFeatures| validated(everything.difference(*feature)).is_err();
    let used = REFUSED.iter().filter(|(feature, ..)| uses(feature));
    Ok(used.map(|(_, name, cure)| ((*name).to_owned(), (*cure).to_owned())).collect())
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// What it wants from its host, by name.
    pub imports: Vec<String>,
    /// What it gives, by name.
    pub exports: Vec<String>,
    /// What of WebAssembly it uses that devices do not run, each with what to do.
    pub refused: Vec<(String, String)>,
}

impl Contents {
    /// Looks into a component.
    ///
    /// # Errors
    /// It is none, or broken, with what to do.
    pub fn of(bytes: &[u8]) -> anyhow::Result<Contents> {
        match bytes.strip_prefix(MAGIC) {
            Some(rest) if rest.starts_with(COMPONENT) => {}
            Some(_) => bail!(
                "it is a module, not a component: `lineside plugin build` makes a component of it"
            ),
            None => bail!("it is no WebAssembly: `lineside plugin build` makes a plugin"),
        }
        let refused = match Validator::new_with_features(run_by_devices()).validate_all(bytes) {
            Ok(_) => Vec::new(),
            Err(_) => refused(bytes)?,
        };
        match wit_component::decode(bytes).context("it has no interface")? {
            DecodedWasm::Component(resolve, world) => {
                let world = &resolve.worlds[world];
                let imports = world.imports.keys().map(|key| resolve.name_world_key(key));
                let exports = world.exports.keys().map(|key| resolve.name_world_key(key));
                Ok(Contents { imports: imports.collect(), exports: exports.collect(), refused })
            }
            DecodedWasm::WitPackage(..) => bail!("it is an interface, not a component"),
        }
    }

    /// Whether it is a plugin as devices want one.
    ///
    /// # Errors
    /// What is wrong with it, by name, with what to do.
    pub fn accept(&self) -> anyhow::Result<()> {
        let others: Vec<&str> =
            self.imports.iter().map(String::as_str).filter(|import| *import != LOG).collect();
        if !others.is_empty() {
            let others = others.join(", ");
            bail!("it asks for {others} from outside, and {}", self.import_cure());
        }
        if let Some((name, cure)) = self.refused.first() {
            bail!("it uses {name}: {cure}");
        }
        if self.exports.iter().any(|export| export == INTERFACE) {
            return Ok(());
        }
        let unversioned = INTERFACE.split('@').next().unwrap_or(INTERFACE);
        match self.exports.iter().find(|export| export.starts_with(unversioned)) {
            Some(other) => bail!(
                "it is made for {other}, devices have {INTERFACE}: build it with the interface of `lineside \
                 plugin new`"
            ),
            None => bail!(
                "it does not export {INTERFACE}: it is a component for something else; `lineside plugin new` \
                 begins one"
            ),
        }
    }

    fn import_cure(&self) -> &'static str {
        match self.imports.iter().any(|import| import.starts_with("wasi:")) {
            true => {
                "a plugin has no WASI: `lineside plugin build` builds without, in Rust for \
                 wasm32-unknown-unknown, in JavaScript with its features disabled, in Python with --stub-wasi"
            }
            false => "a plugin gets its settings and its frames, nothing else",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that holds one core module.
    fn around(module: &[u8]) -> Vec<u8> {
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        component.extend([1, u8::try_from(module.len()).unwrap()]);
        component.extend(module);
        component
    }

    fn refused(bytes: &[u8]) -> String {
        let looked = Contents::of(bytes).and_then(|contents| contents.accept());
        format!("{:#}", looked.unwrap_err())
    }

    #[test]
    fn what_a_component_wants_from_outside_is_named() {
        // The smallest component there is, and one that imports an instance of an interface.
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        assert_eq!(Contents::of(&component).unwrap().imports, Vec::<String>::new());
        assert!(refused(&component).starts_with("it does not export lineside:plugin/processor@1"));
        component.extend(b"\x07\x03\x01\x42\0");
        component.extend(b"\x0a\x16\x01\0\x11test:plugin/clock\x05\0");
        assert_eq!(Contents::of(&component).unwrap().imports, ["test:plugin/clock"]);
        assert_eq!(
            refused(&component),
            "it asks for test:plugin/clock from outside, and a plugin gets its settings and its frames, \
             nothing else"
        );
    }

    #[test]
    fn instructions_whose_answers_differ_and_threads_are_refused_with_the_cure() {
        // (module (func (drop (i8x16.relaxed_swizzle (v128.const 0) (v128.const 0)))))
        let mut module =
            b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x2c\x01\x2a\0".to_vec();
        for _ in 0..2 {
            module.extend(b"\xfd\x0c");
            module.extend([0; 16]);
        }
        module.extend(b"\xfd\x80\x02\x1a\x0b");
        let said = refused(&around(&module));
        assert!(said.starts_with("it uses relaxed SIMD: its answers differ from proc"), "{said}");
        // (module (memory 1 1 shared))
        let said = refused(&around(b"\0asm\x01\0\0\0\x05\x04\x01\x03\x01\x01"));
        assert!(said.starts_with("it uses threads: a plugin is one thread"), "{said}");
        // (module (memory i64 1))
        let said = refused(&around(b"\0asm\x01\0\0\0\x05\x03\x01\x04\x01"));
        assert!(said.starts_with("it uses 64-bit memory: "), "{said}");
    }

    #[test]
    fn what_is_no_component_is_told_with_what_makes_one() {
        assert!(refused(b"").starts_with("it is no WebAssembly: "));
        assert!(refused(b"#!/bin/sh").starts_with("it is no WebAssembly: "));
        let said = refused(b"\0asm\x01\0\0\0");
        assert!(said.starts_with("it is a module, not a component: "), "{said}");
        assert!(refused(b"\0asm\x0d\0\x01\0\x01\x7f").starts_with("it is broken: "));
    }
}
