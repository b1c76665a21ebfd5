//! Passwords of people: kept as Argon2id makes of them, with the parameters that OWASP recommends (19 MiB, two
//! passes).

use crate::access::secret::random;
use crate::error::Error;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use std::sync::LazyLock;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Shortest and longest password, in characters.
const CHARS_MIN: usize = 12;
const CHARS_MAX: usize = 256;
/// Passwords that are looked at at once: each takes 19 MiB and a processor.
const AT_ONCE: usize = 2;
/// Bytes of salt.
const SALT: usize = 16;

static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);
/// Of nobody's password: so that it takes as long to say no to a name that nobody has.
static NOBODYS: LazyLock<String> = LazyLock::new(|| hashed("", &[7; SALT]).unwrap_or_default());

/// Refuses a password that is none, with what one has.
///
/// # Errors
/// [`Error::Malformed`].
pub(crate) fn check(name: &str, password: &str) -> Result<(), Error> {
    let chars = password.chars().count();
    if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
        return Err(Error::Malformed(format!(
            "a password has {CHARS_MIN} to {CHARS_MAX} characters, this has {chars}"
        )));
    }
    if password.to_lowercase().contains(&name.to_lowercase()) {
        return Err(Error::Malformed("a password does not contain the name".into()));
    }
    Ok(())
}

/// What is kept of a password.
///
/// # Errors
/// [`Error::File`] if the system gives no random bytes.
pub(crate) async fn hash(password: &str) -> Result<String, Error> {
    let (password, salt) = (password.to_owned(), random::<SALT>()?);
    let room = ROOM.acquire().await;
    let made = spawn_blocking(move || hashed(&password, &salt)).await;
    drop(room);
    made.ok().flatten().ok_or_else(|| Error::Conflict("the password cannot be kept".into()))
}

/// Whether this is the password of which `kept` is kept; never where nothing is.
pub(crate) async fn is_right(password: &str, kept: Option<&str>) -> bool {
    let (password, kept) = (password.to_owned(), kept.map(str::to_owned));
    let room = ROOM.acquire().await;
    let right = spawn_blocking(move || {
        let is = |kept: &str| Argon2::default().verify_password(password.as_bytes(), kept).is_ok();
        match &kept {
            Some(kept) => is(kept),
            None => {
                is(&NOBODYS);
                false
            }
        }
    });
    let right = right.await.unwrap_or(false);
    drop(room);
    right
}

fn hashed(password: &str, salt: &[u8]) -> Option<String> {
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), salt).ok()?;
    Some(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_kept_so_that_it_can_be_checked_and_not_read() {
        let kept = hash("correct horse battery").await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(is_right("correct horse battery", Some(&kept)).await);
        assert!(!is_right("correct horse batterz", Some(&kept)).await);
        assert!(!is_right("", Some("nonsense")).await);
        assert!(!is_right("", None).await, "nobody has no password, the empty one neither");
        assert_ne!(hash("correct horse battery").await.unwrap(), kept, "each has its salt");
    }

    #[test]
    fn a_password_is_long_and_not_the_name() {
        assert!(check("anna", "eleven char").is_err());
        assert!(check("anna", "twelve chars").is_ok());
        assert!(check("anna", "Anna-2026-2026").is_err());
        assert!(check("anna", &"x".repeat(257)).is_err());
    }
}
