//! The table `[download]`: where releases are fetched from, how fast and how much.

use super::{Wrong, within, wrong};
use crate::fleet::device::Password;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use ureq::http::Uri;

/// How releases are fetched. By default from the fleet server, as fast as they come.
#[derive(Debug, Clone, Default)]
pub struct DownloadConfig {
    /// Bytes a second that all slots together fetch at most.
    pub bytes_per_second_max: Option<u64>,
    /// Bytes that they fetch at most in 24 hours of running time.
    pub budget_bytes: Option<u64>,
    /// What they are fetched from in place of the fleet server.
    pub registry: Option<RegistryConfig>,
}

/// A registry, or what stands in front of one.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Its URL, without a slash at the end.
    pub url: String,
    /// What it is shown.
    pub credentials: Option<Credentials>,
    /// The certificates that its own must be signed by.
    pub ca: Option<PathBuf>,
}

/// What a registry is shown.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A user's name and password.
    User(String, Password),
    /// A token.
    Token(Password),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DownloadFile {
    kib_per_second_max: Option<u64>,
    metered: bool,
    budget_mib: Option<u64>,
    registry: Option<String>,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    ca: Option<PathBuf>,
}

impl DownloadFile {
    /// Checks what was written; paths are relative to `folder`.
    pub(super) fn check(self, folder: &Path) -> Result<DownloadConfig, Wrong> {
        let field = |key: &str| format!("download.{key}");
        let most = self.kib_per_second_max;
        let most =
            most.map(|most| within(field("kib_per_second_max"), most, 1..=1 << 30)).transpose()?;
        let budget = match (self.metered, self.budget_mib) {
            (true, Some(mib)) => Some(within(field("budget_mib"), mib, 1..=1 << 30)? << 20),
            (true, None) => {
                let problem = "is missing: a metered link has a budget";
                return wrong(field("budget_mib"), problem);
            }
            (false, Some(_)) => {
                return wrong(field("budget_mib"), "needs `metered = true` beside it");
            }
            (false, None) => None,
        };
        let credentials = match (self.user, self.password, self.token) {
            (Some(user), Some(password), None) => {
                Some(Credentials::User(user, Password::of(password)))
            }
            (None, None, Some(token)) => Some(Credentials::Token(Password::of(token))),
            (None, None, None) => None,
            _ => return wrong(field("user"), "write user and password, or token, or none of them"),
        };
        let registry = match self.registry {
            Some(url) => Some(registry(&url, credentials, self.ca.map(|ca| folder.join(ca)))?),
            None if credentials.is_some() || self.ca.is_some() => {
                let problem = "is missing: user, password, token and ca are for it alone";
                return wrong(field("registry"), problem);
            }
            None => None,
        };
        let bytes_per_second_max = most.map(|kib| kib << 10);
        Ok(DownloadConfig { bytes_per_second_max, budget_bytes: budget, registry })
    }
}

fn registry(
    url: &str,
    credentials: Option<Credentials>,
    ca: Option<PathBuf>,
) -> Result<RegistryConfig, Wrong> {
    let field = "download.registry";
    let parsed: Option<Uri> = url.parse().ok();
    let parsed = parsed.filter(|url| url.host().is_some() && url.query().is_none());
    let host = parsed.as_ref().and_then(Uri::host).unwrap_or_default();
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match (parsed.as_ref().and_then(Uri::scheme_str), &ca) {
        (Some("https"), Some(_)) => {}
        (Some("https"), None) => {
            let problem =
                "is missing: the file with the certificates that the registry's is signed by";
            return wrong("download.ca", problem);
        }
        (Some("http"), Some(_)) => return wrong("download.ca", "is for https alone"),
        (Some("http"), None) if credentials.is_some() && !is_here => {
            return wrong(field, "a password or token would be read on its way: use https");
        }
        (Some("http"), None) => {}
        _ => return wrong(field, "write https://HOST, or http://HOST, with a port if it has one"),
    }
    Ok(RegistryConfig { url: url.trim_end_matches('/').to_owned(), credentials, ca })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_releases_come_from_and_how_much_is_said_without_contradictions() {
        let read = |lines: &str| -> Result<DownloadConfig, Wrong> {
            toml::from_str::<DownloadFile>(lines).unwrap().check(Path::new("/etc/lineside"))
        };
        let nothing = read("").unwrap();
        assert!(nothing.bytes_per_second_max.is_none() && nothing.budget_bytes.is_none());
        assert!(nothing.registry.is_none());
        let all = read(
            "kib_per_second_max = 2\nmetered = true\nbudget_mib = 3\nca = 'ca.pem'\n\
             registry = 'https://cdn.mill:5000/'\nuser = 'u'\npassword = 'p'",
        )
        .unwrap();
        assert_eq!((all.bytes_per_second_max, all.budget_bytes), (Some(2048), Some(3 << 20)));
        let registry = all.registry.unwrap();
        assert_eq!(registry.url, "https://cdn.mill:5000");
        assert_eq!(registry.ca.as_deref(), Some(Path::new("/etc/lineside/ca.pem")));
        assert!(!format!("{registry:?}").contains("\"p\""), "{registry:?}");
        assert!(read("registry = 'http://127.0.0.1:5000'\ntoken = 't'").is_ok());
        assert!(read("registry = 'http://cdn.mill'").is_ok());
        for (lines, field) in [
            ("metered = true", "budget_mib"),
            ("budget_mib = 3", "budget_mib"),
            ("metered = true\nbudget_mib = 0", "budget_mib"),
            ("kib_per_second_max = 0", "kib_per_second_max"),
            ("token = 't'", "registry"),
            ("ca = 'ca.pem'", "registry"),
            ("registry = 'https://cdn.mill'", "ca"),
            ("registry = 'http://cdn.mill'\nca = 'ca.pem'", "ca"),
            ("registry = 'http://cdn.mill'\ntoken = 't'", "registry"),
            ("registry = 'http://127.0.0.1.mill'\ntoken = 't'", "registry"),
            ("registry = 'cdn.mill'", "registry"),
            ("registry = 'ftp://cdn.mill'", "registry"),
            ("registry = 'http://cdn.mill/?x'", "registry"),
            ("registry = 'http://127.0.0.1'\nuser = 'u'", "user"),
            ("registry = 'http://127.0.0.1'\npassword = 'p'\ntoken = 't'", "user"),
        ] {
            let wrong = read(lines).err().unwrap_or_else(|| panic!("{lines}"));
            assert_eq!(wrong.field, format!("download.{field}"), "{lines}");
        }
    }
}
