//! `lineside`: the tool of people and build machines.

mod alerts;
mod ask;
mod assign;
mod audit;
mod bundle;
mod confined;
mod connection;
mod counted;
mod device;
mod drift;
mod engines;
mod keys;
mod login;
mod model;
mod new_files;
mod output;
mod person;
mod plugin;
mod profile;
mod release;
mod report;
mod role;
mod rollout;
mod server;
mod site;
mod table_file;
mod token;
mod watch;
mod window;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use confined::Strangers;
use connection::Connection;
use output::{Output, Usage};
use std::process::ExitCode;

/// Builds bundles and plugins, signs releases, and says which device runs what.
#[derive(Parser)]
#[command(name = "lineside", version)]
struct Arguments {
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, check and look into bundles.
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Look into models, and run them on arrays of numpy's.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Begin, build, try and look into plugins: what a model cannot do.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Say how far the columns of a file are from those of another: drift.
    #[command(after_help = drift::EXAMPLES)]
    Drift(drift::Drift),
    /// Say what known-good data look like, for a bundle to be compared with.
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Write what the server knows of a slot into one file: drift, quality, value.
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Make the keys that sign roots and releases, and the root that devices trust.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Push a bundle to the server, and sign it as a release.
    Release(release::Release),
    /// Say what holds at a site, whatever a release allows.
    #[command(subcommand)]
    Site(site::SiteCommand),
    /// Say which release a slot of a device shall hold.
    Assign(assign::Assign),
    /// Approve the release that is assigned to a slot, where a person has to before it takes the route.
    Approve(assign::Approve),
    /// Say nothing any longer of what a slot shall hold; what it runs stays.
    Unassign(assign::Unassign),
    /// Bring a release to many devices, in waves that stop by themselves.
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    /// List what rules have seen, show it, and say that somebody knows of it.
    Alerts(alerts::Alerts),
    /// Log in at the server under a name of one's own.
    Login(login::Login),
    /// End the session that --token-file has.
    Logout,
    /// Say who may do what at the server: people, who log in.
    #[command(subcommand)]
    Person(person::PersonCommand),
    /// Say what programs may do at the server, and give them their tokens.
    #[command(subcommand)]
    Program(person::ProgramCommand),
    /// Make, list and take back the tokens by which vendors and sites publish what they sign.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Add, list, show, supply and remove devices.
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Say whether the audit log holds, of a server or in a file, keep a copy, and say what ran where and when.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

impl Command {
    /// What it may load that may be anybody's.
    fn strangers(&self) -> Option<Strangers> {
        use model::ModelCommand::Run;
        use plugin::PluginCommand::Test;
        match self {
            Command::Bundle(_)
            | Command::Profile(_)
            | Command::Release(_)
            | Command::Model(Run(_)) => Some(Strangers::Models),
            Command::Plugin(Test(_)) => Some(Strangers::Plugin),
            _ => None,
        }
    }
}

/// What is wrong with a command line, as all other errors are told.
fn in_a_line(rendered: &str) -> String {
    let paragraphs = rendered.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ")
    });
    let said: Vec<String> = paragraphs.filter(|paragraph| !paragraph.is_empty()).collect();
    let said = said.join("; ");
    said.strip_prefix("error: ").unwrap_or(&said).trim().to_owned()
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        // Whoever asked for JSON gets an error as JSON even where nothing else was understood.
        let json = error.use_stderr() && std::env::args().any(|argument| argument == "--json");
        let said = in_a_line(&error.render().to_string());
        Output { json }.fail_json(&said);
        // Help that was asked for, or that stands in for a command, is a page.
        if !error.use_stderr()
            || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        {
            error.exit()
        }
        eprintln!("lineside: {said}");
        std::process::exit(error.exit_code())
    });
    let output = Output { json: arguments.json };
    if let Some(strangers) = arguments.command.strangers()
        && let Some(code) = confined::apart(strangers, &output)
    {
        return code;
    }
    confined::print_no_panics_of_engines();
    let environment = connection::Environment::read();
    let connection = &arguments.connection.or_beside(std::path::Path::new(""), &environment);
    let done = match arguments.command {
        Command::Bundle(command) => bundle::run(command, &output),
        Command::Model(command) => model::run(command, &output),
        Command::Plugin(command) => plugin::run(command, &output),
        Command::Drift(drift) => drift::run(&drift, &output),
        Command::Profile(command) => profile::run(&command, &output),
        Command::Report(command) => report::run(command, connection, &output),
        Command::Keys(command) => keys::run(command, connection, &output),
        Command::Release(release) => release::run(&release, connection, &output),
        Command::Site(command) => site::run(command, connection, &output),
        Command::Assign(assign) => assign::run(&assign, connection, &output),
        Command::Approve(approve) => assign::approve(&approve, connection, &output),
        Command::Unassign(unassign) => assign::end(&unassign, connection, &output),
        Command::Rollout(command) => rollout::run(command, connection, &output),
        Command::Alerts(alerts) => alerts::run(alerts, connection, &output),
        Command::Login(login) => login::run(&login, connection, &output),
        Command::Logout => login::leave(connection, &output),
        Command::Person(command) => person::run(command, connection, &output),
        Command::Program(command) => person::run_program(command, connection, &output),
        Command::Token(command) => token::run(command, connection, &output),
        Command::Device(command) => device::run(command, connection, &output),
        Command::Audit(command) => audit::run(command, connection, &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.fail(&error);
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_in_one_line_as_everything_else() {
        let said = |arguments: &[&str]| {
            let parsed = Arguments::try_parse_from(arguments).err().map(|error| error.render());
            in_a_line(&parsed.unwrap().to_string())
        };
        let unknown = said(&["lineside", "device", "show", "Mill 7"]);
        assert!(unknown.starts_with("invalid value 'Mill 7' for '<DEVICE>': "), "{unknown}");
        let missing = said(&["lineside", "bundle", "build", "x"]);
        assert!(missing.contains("arguments were not provided: --output <OUTPUT>"), "{missing}");
        for one in [unknown, missing] {
            assert!(!one.contains('\n') && one.contains("try '--help'"), "{one}");
        }
    }
}
