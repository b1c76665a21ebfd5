//! `lineside keys generate`: one person's key, on his own machine.

use crate::new_files::{NewFiles, Readers, split};
use crate::output::{Output, Usage};
use clap::Args;
use lineside_trust::KeyPair;
use ring::rand::SystemRandom;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub struct Generate {
    /// Where to put the secret key, as in anna.pem; its public part goes beside it, as in
    /// anna.pub.json.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Whose key it is, for those who read what it signs.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
}

pub fn run(generate: &Generate, output: &Output) -> anyhow::Result<()> {
    let Generate { output: secret, owner } = generate;
    // Not root.json beside root.pem: that is the name of a root.
    let public = secret.with_extension("pub.json");
    let key = KeyPair::generate(&SystemRandom::new())?;
    let shown = match owner {
        Some(owner) => {
            key.public().owned_by(owner).map_err(|problem| Usage(problem.to_string()))?
        }
        None => key.public(),
    };
    let ((folder, secret_name), (_, public_name)) = (split(secret)?, split(&public)?);
    let files = NewFiles::reserve(
        folder,
        &[(secret_name.clone(), Readers::Owner), (public_name.clone(), Readers::All)],
    )?;
    files.fill(&secret_name, key.to_pem().as_bytes())?;
    files.fill(&public_name, &serde_json::to_vec_pretty(&shown)?)?;
    files.keep();

    let text = format!(
        "{}: key {shown}\nGive {} to whoever drafts the root; {} stays here.",
        secret.display(),
        public.display(),
        secret.display()
    );
    let json = json!({ "key": key.id(), "owner": owner, "secret_file": secret,
        "public_file": public, "public": shown });
    output.print(text, &json)
}
