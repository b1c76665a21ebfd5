//! The story that `cargo xtask demo` tells: real programs, real models, real recordings.
//!
//! Two wind turbine controllers and a bedside monitor run signed models. Frost comes and one model
//! cries wolf; a better one takes over, a wrong one is refused by its checks, another wrong one is
//! taken back by its behaviour.

mod outcome;
mod story;
mod voice;

use anyhow::{Context, bail};
use lineside_tests::child;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use story::Story;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use voice::Voice;

/// How often it is looked whether somebody wants the end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest that removing what was written may take.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// Whether the devices go on after the story.
#[derive(Clone, Copy, PartialEq)]
enum Stay {
    UntilInterrupted,
    No,
}

fn main() -> ExitCode {
    let stay = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => Stay::UntilInterrupted,
        [option] if option == "--once" => Stay::No,
        _ => {
            eprintln!("usage: cargo xtask demo [--once]");
            return ExitCode::from(2);
        }
    };
    match tell_until_interrupted(stay) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tell_until_interrupted(stay: Stay) -> anyhow::Result<()> {
    let interrupted = interruption();
    let folder = TempDir::with_prefix("lineside-demo-").context("cannot make a folder")?;
    let path = folder.path().to_owned();
    let telling = std::thread::spawn(move || tell(&path, stay));
    while !telling.is_finished() {
        if interrupted.recv_timeout(LOOK_EVERY).is_ok() {
            child::kill_all();
            remove(&folder.keep())?;
            println!("demo: stopped");
            return Ok(());
        }
    }
    match telling.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let kept = folder.keep();
            Err(error.context(format!("what the programs said is in {}", kept.display())))
        }
        Err(_) => bail!("the story broke off"),
    }
}

/// Removes the folder, which has keys and a token in it. What was killed may still be writing there
/// for a moment.
fn remove(folder: &Path) -> anyhow::Result<()> {
    let what = format!("{} can be removed", folder.display());
    child::wait_for(LEAVE_MAX, &what, || {
        // Gone, and not made again by a program on its last leg.
        (fs::remove_dir_all(folder).is_err() && !folder.exists()).then_some(())
    })
}

/// Hears of Ctrl-C and of being told to stop.
fn interruption() -> Receiver<()> {
    let (tell, heard) = channel();
    std::thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // The story may have ended meanwhile.
            let _ = tell.send(());
            Ok(())
        })
    });
    heard
}

fn tell(folder: &Path, stay: Stay) -> anyhow::Result<()> {
    let mut story = Story::begin(folder, Voice::new())?;
    story.play()?;
    let outcome = story.outcome()?;
    story.tell_outcome(&outcome);
    if stay == Stay::UntilInterrupted {
        println!("{outcome}");
        story.invite()?;
        loop {
            story.listen()?;
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    drop(story);
    println!("{outcome}");
    outcome.check()
}
