//! The plugin that means harm, and bundles around it.

use crate::{complaint, lineside, root};
use lineside_bundle::{BuiltBundle, BundleFile, build};
use std::path::Path;
use std::sync::OnceLock;

/// The evil plugin's component, built once for all tests of a program.
///
/// # Panics
/// With the tool's words if it cannot be built.
pub fn plugin() -> &'static [u8] {
    static PLUGIN: OnceLock<Vec<u8>> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let folder = tempfile::tempdir().expect("the machine has a folder for what is temporary");
        let file = folder.path().join("evil.wasm");
        let source = root().join("tests/evil-plugin");
        let output = lineside(&[
            "plugin",
            "build",
            &source.to_string_lossy(),
            "-o",
            &file.to_string_lossy(),
        ]);
        assert!(output.status.success(), "{}", complaint(&output));
        std::fs::read(file).expect("the tool has written it")
    })
}

/// The evil plugin's component with one module more in it, which nobody ever starts.
pub fn with(module: &[u8]) -> Vec<u8> {
    let mut component = plugin().to_vec();
    section(&mut component, 1, module);
    component
}

/// A module with an instruction that answers otherwise on another processor:
/// `(module (func (drop (i8x16.relaxed_swizzle (v128.const 0) (v128.const 0)))))`.
pub fn relaxed() -> Vec<u8> {
    let zero = [&b"\xfd\x0c"[..], &[0; 16]].concat();
    module(&[&zero[..], &zero, b"\xfd\x80\x02\x1a"].concat())
}

/// A module that is over the compiler's head: one function, almost as long as one may be, of some hundred
/// thousand branches that each change what the next one goes by.
pub fn endless() -> Vec<u8> {
    // block; if x, leave it; y = y * 3; x = x + 1; end
    let turn = b"\x02\x40\x20\0\x0d\0\x20\x01\x41\x03\x6c\x21\x01\x20\0\x41\x01\x6a\x21\0\x0b";
    module(&turn.repeat(7_000_000 / turn.len()))
}

/// A module of a function with this code and two locals.
fn module(code: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0".to_vec();
    section(&mut module, 3, b"\x01\0");
    let mut body = vec![1];
    sized(&mut body, &[b"\x01\x02\x7f", code, b"\x0b"].concat());
    section(&mut module, 10, &body);
    module
}

fn section(to: &mut Vec<u8>, id: u8, bytes: &[u8]) {
    to.push(id);
    sized(to, bytes);
}

/// Bytes behind their number, in LEB128.
fn sized(to: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes.len();
    while rest >= 128 {
        to.push(rest as u8 | 128);
        rest >>= 7;
    }
    to.push(rest as u8);
    to.extend(bytes);
}

/// The description of a bundle with `limits` whose plugin does `deed`, with `more` keys of its stage and
/// `rest` behind them.
pub fn description(deed: &str, limits: &str, more: &str, rest: &str) -> String {
    format!(
        "format = 1\nname = 'evil'\nversion = '1'\noutputs.y.from = 'evil.y'\n\
         inputs.row = {{ key = 'key', rate_hz = 1.0, fields = [{{ name = 'x' }}] }}\n\
         stages.window = {{ kind = 'window', input = 'row', rows = 2, stride = 2 }}\n\
         limits = {{ {limits} }}\n\
         [stages.evil]\nkind = 'plugin'\nplugin = 'plugins/evil.wasm'\n\
         inputs.x = 'window'\nconfig.deed = '{deed}'\n{more}\n{rest}"
    )
}

/// Lays a bundle's source into `folder`: a description and the plugin that it names, as `wasm` is.
///
/// # Panics
/// If the folder cannot be written.
pub fn lay(folder: &Path, description: &str, wasm: &[u8]) {
    let written = std::fs::create_dir_all(folder.join("plugins"))
        .and_then(|()| std::fs::write(folder.join("plugins/evil.wasm"), wasm))
        .and_then(|()| std::fs::write(folder.join("bundle.toml"), description));
    written.expect("the folder can be written");
}

/// A bundle of such a description, built by somebody whose tool looks into no plugin.
///
/// # Panics
/// If the description makes no bundle.
pub fn bundle(description: &str, wasm: &[u8]) -> BuiltBundle {
    let files = [("plugins/evil.wasm".to_owned(), wasm.to_vec())].into();
    let built = BundleFile::parse(description).map(|bundle| build(bundle, files));
    built.expect("a description").expect("a bundle of it")
}
