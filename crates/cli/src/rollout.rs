//! `lineside rollout`: brings a release to many devices, in waves.

mod plan;
mod told;

use crate::connection::Connection;
use crate::output::Output;
use crate::server::Server;
use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the server is asked how far a rollout is.
const ASKED_EVERY: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub enum RolloutCommand {
    /// Say what a plan would do if it began now, wave by wave. Nothing is made.
    Check {
        /// The plan: docs/rollout.toml is one, with all that may stand in it.
        plan: PathBuf,
    },
    /// Make a rollout of a plan, say what it will do, and have it begin unless it needs approvals.
    Begin(Begin),
    /// List rollouts, the newest first.
    List,
    /// Show a rollout: its waves, and what happened.
    Show {
        /// Its number.
        id: u32,
    },
    /// List the devices of a rollout, with what each does and why.
    Devices {
        /// Its number.
        id: u32,
        /// Those in this state, as in `stuck`.
        #[arg(long)]
        state: Option<String>,
    },
    /// Wait until a rollout is through, stops, asks or is over. Exit code 0 if it is through or done.
    Wait {
        /// Its number.
        id: u32,
        /// How long, in seconds.
        #[arg(long, default_value_t = 3600, value_name = "N")]
        seconds: u64,
    },
    /// Approve a rollout that somebody else has planned.
    Approve(Person),
    /// Have a draft begin, once it has its approvals.
    Start(Start),
    /// Have it do nothing more for now. Devices that were given the release go on.
    Pause(Person),
    /// Have it go on. What has broken a gate so far is put up with.
    Resume(Person),
    /// Have it go on after a wave, where it asks.
    Proceed(Person),
    /// Try devices again that have refused the release, taken it back or got stuck.
    Retry(Devices),
    /// Leave a device out. One that has not decided is given what it had before.
    Exclude(Devices),
    /// Give all its devices what they had before.
    RollBack(Person),
    /// Give it up. Devices keep what they have.
    Abort(Person),
    /// End it well: newcomers are not given the release any more.
    Close(Person),
    /// Forget one that is over.
    Forget {
        /// Its number.
        id: u32,
    },
}

#[derive(Args)]
pub struct Begin {
    /// The plan: docs/rollout.toml is one, with all that may stand in it.
    plan: PathBuf,
    /// Make a draft that begins by `lineside rollout start`.
    #[arg(long)]
    draft: bool,
    /// Begin though other rollouts want the same slots: priorities decide.
    #[arg(long)]
    by_priority: bool,
    /// Who plans it, which is written down [default: the administrator].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    by: String,
}

#[derive(Args)]
pub struct Start {
    #[command(flatten)]
    person: Person,
    /// Begin though other rollouts want the same slots: priorities decide.
    #[arg(long)]
    by_priority: bool,
}

#[derive(Args)]
pub struct Person {
    /// The number of the rollout.
    id: u32,
    /// Who says so, which is written down [default: the administrator].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    by: String,
}

#[derive(Args)]
pub struct Devices {
    #[command(flatten)]
    person: Person,
    /// The devices; for `retry`, all of them where none is named.
    devices: Vec<String>,
}

pub fn run(
    command: RolloutCommand,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let server = Server::at(connection)?;
    let wish = |Person { id, by }: Person, wish: Value| {
        let shown = server.wish(id, &wish, &by)?;
        output.print(told::line(&shown)?, &shown)
    };
    match command {
        RolloutCommand::Check { plan } => {
            let ahead = server.preflight(&plan::read(&plan, "")?)?;
            output.print(told::ahead(&ahead)?, &ahead)
        }
        RolloutCommand::Begin(begin) => self::begin(&server, &begin, output),
        RolloutCommand::List => {
            let listed = server.rollouts()?;
            output.print(told::list(&listed)?, &listed)
        }
        RolloutCommand::Show { id } => {
            let shown = server.rollout(id)?;
            output.print(told::paragraph(&shown)?, &shown)
        }
        RolloutCommand::Devices { id, state } => {
            let members = server.rollout_devices(id, state.as_deref())?;
            output.print(told::devices(&members)?, &members)
        }
        RolloutCommand::Wait { id, seconds } => {
            wait(&server, id, Duration::from_secs(seconds), output)
        }
        RolloutCommand::Approve(person) => wish(person, json!("approve")),
        RolloutCommand::Start(Start { person, by_priority }) => {
            wish(person, begin_wish(by_priority))
        }
        RolloutCommand::Pause(person) => wish(person, json!("pause")),
        RolloutCommand::Resume(person) => wish(person, json!("resume")),
        RolloutCommand::Proceed(person) => {
            // The wave that the person has seen is judged, and no later one.
            let wave = server.rollout(person.id)?["wave"].clone();
            wish(person, json!({ "proceed": { "wave": wave } }))
        }
        RolloutCommand::Retry(Devices { person, devices }) => {
            wish(person, json!({ "retry": { "devices": devices } }))
        }
        RolloutCommand::Exclude(Devices { person, devices }) => {
            if devices.is_empty() {
                bail!("name the devices that are to be left out");
            }
            let Person { id, by } = person;
            let mut shown = Value::Null;
            for device in devices {
                shown = server.wish(id, &json!({ "exclude": { "device": device } }), &by)?;
            }
            output.print(told::line(&shown)?, &shown)
        }
        RolloutCommand::RollBack(person) => wish(person, json!("roll-back")),
        RolloutCommand::Abort(person) => wish(person, json!("abort")),
        RolloutCommand::Close(person) => wish(person, json!("close")),
        RolloutCommand::Forget { id } => {
            server.forget_rollout(id)?;
            output.print(format!("rollout {id} is forgotten"), &json!({ "forgotten": id }))
        }
    }
}

fn begin_wish(by_priority: bool) -> Value {
    json!({ "begin": { "conflicts": if by_priority { "by-priority" } else { "refuse" } } })
}

fn begin(server: &Server, begin: &Begin, output: &Output) -> anyhow::Result<()> {
    let plan = plan::read(&begin.plan, &begin.by)?;
    let ahead = told::ahead(&server.preflight(&plan)?)?;
    let made = server.plan_rollout(&plan)?;
    let id = told::id(&made)?;
    let approvals = made["plan"]["approvals"].as_u64().unwrap_or(0);
    if begin.draft || approvals > 0 {
        let next = match approvals {
            0 => format!("next: lineside rollout start {id}"),
            one_or_more => format!(
                "it needs {one_or_more} approvals by others: lineside rollout approve {id} --by NAME; then: \
                 lineside rollout start {id}"
            ),
        };
        return output.print(format!("{ahead}\n\n{}\n{next}", told::line(&made)?), &made);
    }
    let shown = server.wish(id, &begin_wish(begin.by_priority), &begin.by)?;
    let next = format!("next: lineside rollout show {id}");
    output.print(format!("{ahead}\n\n{}\n{next}", told::line(&shown)?), &shown)
}

/// Waits until a rollout does nothing more by itself.
fn wait(server: &Server, id: u32, patience: Duration, output: &Output) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let shown = server.rollout(id)?;
        let status = shown["status"].as_str().unwrap_or_default().to_owned();
        match status.as_str() {
            "standing" | "done" => return output.print(told::line(&shown)?, &shown),
            "running" | "rolling_back" if since.elapsed() < patience => sleep(ASKED_EVERY),
            "running" | "rolling_back" => bail!(
                "{} after {} s: `lineside rollout devices {id}` says what each device does",
                told::line(&shown)?,
                patience.as_secs()
            ),
            _ => bail!("{}: `lineside rollout show {id}`", told::line(&shown)?),
        }
    }
}
