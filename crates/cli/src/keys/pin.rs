//! The PIN of a token: typed, or from a file. Never from the command line, which others can see.

use super::folder::refuse_others;
use crate::output::Usage;
use anyhow::{Context, bail};
use clap::Args;
use cryptoki::types::AuthPin;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

/// Longest PIN with its end of line that is read from a file, in bytes.
const PIN_BYTES_MAX: u64 = 1 << 10;

#[derive(Args)]
pub struct PinFrom {
    /// Read a token's PIN from this file, of which the first line counts, or from an open descriptor:
    /// /dev/fd/3 [default: it is asked for].
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

/// What a token says of its PIN.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tries {
    pub locked: bool,
    /// The next wrong one locks it.
    pub last: bool,
}

impl PinFrom {
    /// Whether it comes from a file, where nobody sees what a token says before it is tried.
    pub fn is_file(&self) -> bool {
        self.pin_file.is_some()
    }

    /// The PIN of the token called `token`.
    ///
    /// # Errors
    /// It cannot be had, or is better not tried.
    pub fn get(&self, token: &str, tries: Tries, json: bool) -> anyhow::Result<AuthPin> {
        if tries.locked {
            bail!("{token} is locked after too many wrong PINs: only who set it up can unlock it");
        }
        let pin = match &self.pin_file {
            Some(_) if tries.last => bail!(
                "the next wrong PIN locks {token} for good: the one in --pin-file is not tried; \
                 leave it out and type the PIN"
            ),
            Some(path) => first_line(path)?,
            None => ask(token, tries, json)?,
        };
        if pin.is_empty() {
            bail!("an empty PIN is not tried with {token}");
        }
        Ok(AuthPin::new(pin.into()))
    }
}

fn first_line(path: &PathBuf) -> anyhow::Result<String> {
    let cannot = || format!("cannot read the PIN from {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    // A descriptor is whoever's it is that gave it to us.
    if file.metadata().with_context(cannot)?.is_file() && !path.starts_with("/dev") {
        refuse_others(path)?;
    }
    let mut text = String::new();
    file.take(PIN_BYTES_MAX).read_to_string(&mut text).with_context(cannot)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn ask(token: &str, tries: Tries, json: bool) -> anyhow::Result<String> {
    if json || !std::io::stdin().is_terminal() {
        let problem =
            format!("nobody can be asked here for the PIN of {token}: say --pin-file FILE");
        return Err(Usage(problem).into());
    }
    let warning = if tries.last { " (the next wrong one locks it for good)" } else { "" };
    let question = format!("PIN of {token}{warning}: ");
    rpassword::prompt_password(question).context("cannot ask for a PIN")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn said(text: &str, mode: u32, tries: Tries) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let pin = PinFrom { pin_file: Some(path) }.get("token safe", tries, true);
        pin.map_or_else(|error| format!("{error:#}"), |_| "had".into())
    }

    #[test]
    fn a_pin_is_the_first_line_of_a_file_that_nobody_else_reads() {
        assert_eq!(said("1234\nfor the safe\n", 0o600, Tries::default()), "had");
        let open = said("1234\n", 0o644, Tries::default());
        assert!(open.contains("may be read by others"), "{open}");
        let empty = said("\n1234", 0o600, Tries::default());
        assert!(empty.contains("an empty PIN is not tried"), "{empty}");
    }

    #[test]
    fn what_may_lock_a_token_is_not_tried_without_a_person() {
        let last = said("1234", 0o600, Tries { last: true, locked: false });
        assert!(last.contains("the one in --pin-file is not tried"), "{last}");
        let locked = said("1234", 0o600, Tries { last: false, locked: true });
        assert!(locked.contains("token safe is locked"), "{locked}");
        let asked = PinFrom { pin_file: None }.get("token safe", Tries::default(), true);
        assert!(asked.is_err_and(|error| error.is::<Usage>()));
    }
}
