//! A folder that is an OCI image layout, as skopeo and its like write one.

use anyhow::{Context, bail};
use lineside_bundle::BuiltBundle;
use lineside_bundle::archive::Layout;
use std::path::Path;

/// Where the blobs lie.
const BLOBS: &str = "blobs/sha256";

/// Reads the bundle in `folder`. Only what a layout has is looked at, whatever else lies there.
///
/// # Errors
/// By file or digest; a folder that is none.
pub fn read(folder: &Path) -> anyhow::Result<BuiltBundle> {
    let name = folder.display();
    if !folder.join("oci-layout").is_file() {
        bail!("neither bundle.toml nor oci-layout is in {name}: it is no bundle");
    }
    let mut paths = vec!["oci-layout".to_owned(), "index.json".to_owned()];
    let blobs = folder.join(BLOBS);
    let listing =
        std::fs::read_dir(&blobs).with_context(|| format!("cannot list {}", blobs.display()))?;
    for entry in listing {
        let entry = entry.with_context(|| format!("cannot list {}", blobs.display()))?;
        paths.push(format!("{BLOBS}/{}", entry.file_name().to_string_lossy()));
    }
    let mut layout = Layout::default();
    for path in paths {
        let file = folder.join(&path);
        let read = || format!("cannot read {}", file.display());
        let metadata = std::fs::metadata(&file).with_context(read)?;
        if !metadata.is_file() {
            bail!("{} is no file", file.display());
        }
        layout.admit(&path, metadata.len()).with_context(|| format!("{name} is no bundle"))?;
        let bytes = std::fs::read(&file).with_context(read)?;
        layout.add(path, bytes);
    }
    layout.bundle().with_context(|| format!("{name} is no bundle"))
}
