//! Makes, snaps and applies, for `cargo xtask bench delta` and by hand:
//!
//! ```text
//! measure make OLD NEW RECIPE
//! measure snap OLD NEW SHARE SNAPPED
//! measure apply OLD RECIPE BYTES MADE
//! ```
//!
//! `apply` reads the old file in place, as a device does.

use lineside_delta::{Base, Tolerance, apply, make, snap};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::FileExt;

struct OnDisk {
    file: File,
    bytes: u64,
}

impl Base for OnDisk {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, from: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, from)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["make", old, new, recipe] => {
            fs::write(recipe, make(&fs::read(old)?, &fs::read(new)?))?;
        }
        ["snap", old, new, share, snapped] => {
            let tolerance = Tolerance::new(share.parse()?).ok_or("a share is more than 0")?;
            fs::write(snapped, snap(&fs::read(old)?, &fs::read(new)?, tolerance))?;
        }
        ["apply", old, recipe, bytes, made] => {
            let file = File::open(old)?;
            let bytes_old = file.metadata()?.len();
            let out = BufWriter::new(File::create(made)?);
            let old = OnDisk { file, bytes: bytes_old };
            apply(&old, File::open(recipe)?, bytes.parse()?, out)?;
        }
        _ => {
            return Err(
                "make OLD NEW RECIPE | snap OLD NEW SHARE SNAPPED | apply OLD RECIPE BYTES MADE"
                    .into(),
            );
        }
    }
    Ok(())
}
