//! `cargo xtask bench delta`: recipes for real pairs of models, beside what general tools make.
//!
//! Two pairs are the examples', the others are trained here. Every tool runs by itself, one after
//! the other and several times around, so that what else the machine does falls on all alike.

use crate::setup::{self, C_COMPILER};
use crate::shell::{cargo, root, step, target_dir};
use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What the measured programs are, by the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 5] = [
    C_COMPILER,
    ("bsdiff", "bsdiff"),
    ("bspatch", "bsdiff"),
    ("zstd", "zstd"),
    // Tells a program's peak memory.
    ("/usr/bin/time", "time"),
];
/// How often each tool runs on files that take it seconds, and on others.
const ROUNDS: usize = 3;
const ROUNDS_LARGE: usize = 1;
const LARGE_BYTES: u64 = 10 << 20;
/// Shares of an update's root mean square that it is rounded to.
const TOLERANCES: [&str; 11] = ["0.5", "1", "2", "4", "6", "8", "12", "16", "24", "32", "48"];
/// The share of equal answers that a rounded update has to keep, and how sure that has to be from
/// the images to choose by: the quantile of the normal distribution for one in twenty.
const AGREEMENT_MIN: f64 = 0.995;
const SURE: f64 = 1.645;

/// Programs and folders that the measurement works with.
struct Bench {
    measure: PathBuf,
    python: PathBuf,
    scripts: PathBuf,
    folder: PathBuf,
}

/// Two versions of a model.
struct Pair {
    name: String,
    old: PathBuf,
    new: PathBuf,
}

/// How a model answers a set of images.
#[derive(Clone, Copy)]
struct Answers {
    right: u32,
    /// Equal to those of the model that was not rounded.
    equal: u32,
    all: u32,
}

/// What a program took.
#[derive(Clone, Copy)]
struct Used {
    seconds: f64,
    peak_kb: u64,
}

/// Trains the pairs, measures and prints the tables.
///
/// # Errors
/// What cannot be installed, built or run, and a file that comes out wrong.
pub fn run() -> anyhow::Result<()> {
    setup::programs(&PROGRAMS)?;
    let build = ["build", "--release", "--package", "lineside-delta", "--example", "measure"];
    step("build", cargo(&build).arg("--locked"))?;
    let folder = target_dir().join("delta");
    let scripts = root().join("crates/delta/examples/pairs");
    let python = setup::python_with(&folder.join("python"), &scripts.join("requirements.txt"))?;
    let measure = target_dir().join("release/examples/measure");
    let bench = Bench { measure, python, scripts, folder };
    bench.train()?;
    let pairs = bench.pairs()?;
    println!(
        "\n| pair | bytes | zstd -19 | bsdiff | zstd -19 --patch-from | recipe | of the better \
         | making, times bsdiff / zstd | applying, times bspatch / zstd | applying, peak of bspatch's |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut snappable = Vec::new();
    for pair in pairs {
        let better = bench.compare(&pair)?;
        if pair.name.starts_with("full-") {
            snappable.push((pair, better));
        }
    }
    println!("\n| pair | tolerance | recipe | of the better | right answers | equal answers |");
    println!("|---|---|---|---|---|---|");
    for (pair, better) in snappable {
        bench.snapped(&pair, better)?;
    }
    Ok(())
}

impl Bench {
    /// Trains the pairs, unless the same script did.
    fn train(&self) -> anyhow::Result<()> {
        let script = self.scripts.join("train.py");
        let (wanted, made) = (fs::read(&script)?, self.folder.join("trained.py"));
        if fs::read(&made).is_ok_and(|made| made == wanted) {
            return Ok(());
        }
        let mut train = Command::new(&self.python);
        step("train the pairs", train.arg(&script).arg(self.folder.join("pairs")))?;
        Ok(fs::write(made, wanted)?)
    }

    /// The examples' and all that were trained, large ones last.
    fn pairs(&self) -> anyhow::Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        for name in ["turbine", "ecg"] {
            let version = |v| root().join(format!("examples/{name}/models/{name}-{v}.onnx"));
            pairs.push(Pair { name: name.into(), old: version("v1"), new: version("v2") });
        }
        for entry in fs::read_dir(self.folder.join("pairs"))? {
            let old = entry?.path();
            let file = old.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(name) = file.strip_suffix(".old.onnx") {
                let new = old.with_file_name(format!("{name}.new.onnx"));
                pairs.push(Pair { name: name.into(), old, new });
            }
        }
        pairs.sort_by_cached_key(|pair| (bytes(&pair.new).unwrap_or(0), pair.name.clone()));
        Ok(pairs)
    }

    /// Prints a pair's row; returns the size of the better general patch.
    fn compare(&self, pair: &Pair) -> anyhow::Result<u64> {
        let (old, new) = (text(&pair.old), text(&pair.new));
        let new_bytes = bytes(&pair.new)?;
        let work = |name: &str| self.folder.join(name);
        let [alone, diff, patch, recipe, made] =
            ["alone.zst", "bsdiff", "patch.zst", "recipe", "made"].map(|name| text(&work(name)));
        let measure = text(&self.measure);
        let from = format!("--patch-from={old}");
        let packing = ["zstd", "-q", "-f", "-19"];
        self.used(&[&packing[..], &[&new, "-o", &alone]].concat())?;

        let rounds = if new_bytes < LARGE_BYTES { ROUNDS } else { ROUNDS_LARGE };
        let length = new_bytes.to_string();
        let making: [&[&str]; 3] = [
            &[&measure, "make", &old, &new, &recipe],
            &["bsdiff", &old, &new, &diff],
            &["zstd", "-q", "-f", "-19", &from, &new, "-o", &patch],
        ];
        let applying: [&[&str]; 3] = [
            &[&measure, "apply", &old, &recipe, &length, &made],
            &["bspatch", &old, &made, &diff],
            &["zstd", "-q", "-f", "-d", &from, &patch, "-o", &made],
        ];
        let mut used: [[Vec<Used>; 3]; 2] = Default::default();
        for _ in 0..rounds {
            for (used, commands) in used.iter_mut().zip([making, applying]) {
                for (used, command) in used.iter_mut().zip(commands) {
                    used.push(self.used(command)?);
                    let is_made = command.contains(&&*made);
                    if is_made && fs::read(&made)? != fs::read(&pair.new)? {
                        bail!("{}: {} makes another file", pair.name, command.join(" "));
                    }
                }
            }
        }
        let sizes = [&diff, &patch, &recipe].map(|file| bytes(Path::new(file)));
        let [diff, patch, recipe] = sizes;
        let (diff, patch, recipe) = (diff?, patch?, recipe?);
        let better = diff.min(patch);
        let [making, applying] = used.map(|tools| tools.map(|rounds| median(&rounds)));
        let times = |[ours, one, other]: [Used; 3]| {
            format!("{:.2} / {:.2}", ours.seconds / one.seconds, ours.seconds / other.seconds)
        };
        println!(
            "| {} | {new_bytes} | {} | {diff} | {patch} | {recipe} | {:.3} | {} | {} | {} of {} kB |",
            pair.name,
            bytes(Path::new(&alone))?,
            recipe as f64 / better as f64,
            times(making),
            times(applying),
            applying[0].peak_kb,
            applying[1].peak_kb,
        );
        Ok(better)
    }

    /// Prints how small recipes of rounded updates are, and how the models then answer: of all on the
    /// images to choose by, and of the smallest that surely keeps enough answers, on others.
    fn snapped(&self, pair: &Pair, better: u64) -> anyhow::Result<()> {
        let (old, new) = (text(&pair.old), text(&pair.new));
        let measure = text(&self.measure);
        let recipe = text(&self.folder.join("recipe"));
        let mut snapped = Vec::new();
        for tolerance in TOLERANCES {
            let model = text(&self.folder.join(format!("snapped-{tolerance}.onnx")));
            self.used(&[&measure, "snap", &old, &new, tolerance, &model])?;
            self.used(&[&measure, "make", &old, &model, &recipe])?;
            snapped.push((tolerance, bytes(Path::new(&recipe))?, model));
        }
        let models: Vec<&str> = snapped.iter().map(|(.., model)| &**model).collect();
        let answers = self.answers("choose", &[&[&*old, &new], &models[..]].concat())?;
        let told = |what: &str, size: Option<u64>, answers: &Answers| {
            let ratio = size.map(|size| format!("{:.3}", size as f64 / better as f64));
            let (size, ratio) = (size.map(|size| size.to_string()), ratio.unwrap_or_default());
            let size = size.unwrap_or_default();
            let (right, equal) = (answers.share(answers.right), answers.share(answers.equal));
            println!("| {} | {what} | {size} | {ratio} | {right:.4} | {equal:.4} |", pair.name);
        };
        for (what, answers) in ["old", "new"].iter().zip(&answers) {
            told(what, None, answers);
        }
        let tried: Vec<_> = snapped.iter().zip(&answers[2..]).collect();
        for ((tolerance, size, _), answers) in &tried {
            told(tolerance, Some(*size), answers);
        }
        let kept = tried.iter().filter(|(_, answers)| answers.surely_equal() >= AGREEMENT_MIN);
        let chosen = kept.map(|(snapped, _)| snapped).min_by_key(|(_, size, _)| *size);
        let Some((tolerance, size, model)) = chosen else { return Ok(()) };
        let answers = self.answers("measure", &[&old, &new, model])?;
        let whats = [("old, measured", None), ("new, measured", None)];
        let chosen = format!("{tolerance}, chosen and measured");
        let whats = whats.into_iter().chain([(&*chosen, Some(*size))]);
        whats.zip(&answers).for_each(|((what, size), answers)| told(what, size, answers));
        Ok(())
    }

    /// How models answer one set of images; `equal` is to the second one.
    fn answers(&self, set: &str, models: &[&str]) -> anyhow::Result<Vec<Answers>> {
        let mut agree = Command::new(&self.python);
        agree.arg(self.scripts.join("agree.py"));
        agree.arg(self.folder.join(format!("pairs/{set}.npz")));
        let output = agree.args(models).output().context("cannot start agree.py")?;
        if !output.status.success() {
            bail!("agree.py: {}", String::from_utf8_lossy(&output.stderr));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let answers = said.lines().map(|line| {
            let counts = line.split(' ').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
            let [right, equal, all] = counts[..] else { bail!("agree.py says {line}") };
            Ok(Answers { right, equal, all })
        });
        let answers = answers.collect::<anyhow::Result<Vec<_>>>()?;
        if answers.len() != models.len() {
            bail!("agree.py tells of {} models, {} were asked for", answers.len(), models.len());
        }
        Ok(answers)
    }

    /// Runs a program to its end.
    fn used(&self, words: &[&str]) -> anyhow::Result<Used> {
        let told = self.folder.join("peak.txt");
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "%M", "-o"]).arg(&told).args(words);
        let begun = Instant::now();
        let output = command.output().with_context(|| format!("cannot start {}", words[0]))?;
        let seconds = begun.elapsed().as_secs_f64();
        if !output.status.success() {
            bail!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        let peak_kb = fs::read_to_string(&told)?.trim().parse().context("peak memory")?;
        Ok(Used { seconds, peak_kb })
    }
}

impl Answers {
    fn share(&self, count: u32) -> f64 {
        f64::from(count) / f64::from(self.all)
    }

    /// What share of equal answers these images leave no more than [`SURE`] doubt of: the lower end
    /// of Wilson's interval.
    fn surely_equal(&self) -> f64 {
        let (share, all) = (self.share(self.equal), f64::from(self.all));
        let z2 = SURE * SURE / all;
        let spread = SURE * ((share * (1.0 - share) + z2 / 4.0) / all).sqrt();
        (share + z2 / 2.0 - spread) / (1.0 + z2)
    }
}

/// The round in the middle by time.
fn median(rounds: &[Used]) -> Used {
    let mut rounds = rounds.to_vec();
    rounds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    rounds[rounds.len() / 2]
}

fn bytes(file: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(file).with_context(|| format!("no {}", file.display()))?.len())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
