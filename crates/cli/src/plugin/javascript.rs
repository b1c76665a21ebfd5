//! A plugin in JavaScript: componentize-js puts it into one component with its interpreter, and leaves
//! out all that would ask for something from outside.

use super::build::toolchain;
use anyhow::Context;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// What is left out: without any of these the component imports nothing.
const SCRIPT: &str = r#"
import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";
const { component } = await componentize({
  sourcePath: "plugin.js",
  witPath: "lineside/wit",
  worldName: "plugin",
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(process.argv[1], component);
"#;
/// Where npm notes what it has installed.
const INSTALLED: &str = "node_modules/.package-lock.json";
/// Where the component is put.
const BUILT: &str = "node_modules/.plugin.wasm";
const CURE: &str =
    "plugins in JavaScript are built by Node.js and its npm; install Node.js 20 or later";

/// Builds the plugin in `dir`; its toolchain is installed there by its package.json, if it is not yet.
///
/// # Errors
/// What npm and Node.js say.
pub fn component(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let name = dir.display();
    if !is_installed(dir) {
        let mut npm = Command::new("npm");
        match dir.join("package-lock.json").is_file() {
            true => npm.arg("ci"),
            // What it notes is where packages come from on this machine: no other's business.
            false => npm.args(["install", "--omit-lockfile-registry-resolved"]),
        };
        // Nothing of the toolchain has to be run to be installed.
        npm.args(["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        let failed = format!("npm could not install what {name}/package.json names");
        toolchain(npm.current_dir(dir), CURE, &failed)?;
    }
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", SCRIPT, BUILT]).current_dir(dir);
    toolchain(&mut node, CURE, &format!("componentize-js could not build {name}/plugin.js"))?;
    let built = dir.join(BUILT);
    fs::read(&built).with_context(|| format!("cannot read {}", built.display()))
}

/// Whether the toolchain was installed after it was last said which it is.
fn is_installed(dir: &Path) -> bool {
    let written = |file: &str| -> Option<SystemTime> {
        fs::metadata(dir.join(file)).and_then(|it| it.modified()).ok()
    };
    let Some(installed) = written(INSTALLED) else { return false };
    ["package.json", "package-lock.json"].into_iter().filter_map(written).all(|it| it <= installed)
}
