//! The plugin that means harm, and bundles around it.

use crate::{build, complaint, lineside, root};
use lineside_bundle::BuiltBundle;
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

/// A bundle of such a description, built.
///
/// # Panics
/// With the tool's words if it refuses.
pub fn bundle(description: &str, wasm: &[u8]) -> BuiltBundle {
    let folder = tempfile::tempdir().expect("the machine has a folder for what is temporary");
    lay(folder.path(), description, wasm);
    build(folder.path(), &[], &folder.path().join("evil.lsb"))
}
