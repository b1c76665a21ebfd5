//! Lists the sources of the SDK, all of which `lineside plugin new` hands out.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let sdk = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?)
        .join("../../plugins/sdk")
        .canonicalize()?;
    let mut files = vec![sdk.join("README.md")];
    sources(&sdk.join("src"), &mut files)?;
    files.sort();
    println!("cargo::rerun-if-changed={}", sdk.join("src").display());
    let mut list = "&[\n".to_owned();
    for file in files {
        let path = file.strip_prefix(&sdk)?.display();
        writeln!(list, "(\"lineside/sdk/{path}\", include_str!({file:?})),")?;
    }
    list += "]\n";
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("sdk.rs"), list)?;
    Ok(())
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => sources(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}
