//! The administrator: whoever has the token of the data folder.

use crate::access::secret::{random_hex, same};
use crate::error::Error;
use crate::store::DataFolder;
use lineside_bundle::Digest;
use std::fmt;

/// The administrator's user name where a protocol wants one; the token is the password.
pub(crate) const ADMINISTRATOR: &str = "admin";
/// The file with the token.
pub(crate) const TOKEN_FILE: &str = "admin.token";

/// Knows the administrator's token.
#[derive(Clone)]
pub(crate) struct Administrator {
    token: String,
    cookie_name: String,
    cookie: String,
}

impl Administrator {
    /// Reads the token, and makes one at the first start.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Conflict`] if somebody made the token too short to be safe.
    pub fn open(folder: &DataFolder) -> Result<Administrator, Error> {
        let text = folder.secret(TOKEN_FILE, || Ok(format!("{}\n", random_hex()?)))?;
        let token = text.trim().to_owned();
        if token.len() < 32 {
            return Err(Error::Conflict(format!(
                "the token in {} has fewer than 32 characters: delete the file, and a new one is made",
                folder.join(TOKEN_FILE).display()
            )));
        }
        // The browser keeps this instead of the token, and a new token makes it worthless.
        let derive = |what: &str| Digest::of(format!("lineside {what}\n{token}").as_bytes()).hex();
        let cookie = derive("page");
        // Browsers tell hosts apart and not ports: servers of one machine need names of their own.
        let cookie_name = format!("lineside-{}", &derive("cookie name")[..16]);
        Ok(Administrator { token, cookie_name, cookie })
    }

    /// Whether this is the administrator's token.
    pub fn is_token(&self, text: &str) -> bool {
        same(&self.token, text.trim())
    }

    /// What a browser shows after it showed the token once.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Name of what a browser shows, of people who have logged in as well.
    pub fn cookie_name(&self) -> &str {
        &self.cookie_name
    }

    /// Whether a browser has shown the token before.
    pub fn is_cookie(&self, value: &str) -> bool {
        same(&self.cookie, value)
    }
}

impl fmt::Debug for Administrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Administrator(hidden)")
    }
}
