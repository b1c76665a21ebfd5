//! Sizes, times and memory of recipes for real files, measured by hand:
//!
//! ```text
//! cargo bench -p lineside-delta --bench measure -- make OLD NEW RECIPE
//! cargo bench -p lineside-delta --bench measure -- snap OLD NEW SHARE SNAPPED
//! cargo bench -p lineside-delta --bench measure -- apply OLD RECIPE BYTES MADE
//! ```
//!
//! `apply` reads the old file in place as a device does, and tells its peak memory (Linux).

use lineside_delta::{Base, Tolerance, apply, make, snap};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::FileExt;
use std::time::Instant;

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
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let begun = Instant::now();
    match arguments[..] {
        ["make", old, new, recipe] => {
            let made = make(&fs::read(old)?, &fs::read(new)?);
            println!("{} bytes", made.len());
            fs::write(recipe, made)?;
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
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let peak = status.lines().filter(|line| line.starts_with("VmHWM"));
            peak.for_each(|line| println!("{line}"));
        }
        _ => println!(
            "make OLD NEW RECIPE | snap OLD NEW SHARE SNAPPED | apply OLD RECIPE BYTES MADE"
        ),
    }
    println!("{:.2} s", begun.elapsed().as_secs_f64());
    Ok(())
}
