//! Where the server is and by what token one is let in: from the command line, the server's data
//! folder or the environment, in this order.

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use std::env;
use std::fmt;
use std::fs::{File, TryLockError};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};

/// Where a server listens that nobody told otherwise.
const DEFAULT: &str = "http://127.0.0.1:8080";
/// Where a server keeps its data unless told otherwise.
const DATA: &str = "lineside-data";
/// Largest file that is read for a token or for addresses, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 16;

/// Which server, and who asks.
#[derive(Args)]
pub struct Connection {
    /// Where the server is [default: LINESIDE_SERVER, or http://127.0.0.1:8080].
    #[arg(long, global = true, help_heading = "The server", value_name = "URL")]
    server: Option<String>,
    /// The server's data folder, where it is on this machine: has its address and the token
    /// [default: lineside-data in this folder, if a server ran there].
    #[arg(long, global = true, help_heading = "The server", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The file with the administrator's token, or with the one of a vendor or a site [default:
    /// LINESIDE_TOKEN].
    #[arg(long, global = true, help_heading = "The server", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The file authority.pem of the server's data folder, by which a server at https:// is known [default:
    /// LINESIDE_AUTHORITY, or the one in --data].
    #[arg(long, global = true, help_heading = "The server", value_name = "FILE")]
    authority: Option<PathBuf>,
}

/// The token by which one is let in, and where it came from. Never printed.
pub struct Token {
    pub text: String,
    pub origin: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(hidden, from {})", self.origin)
    }
}

/// What a server writes into its data folder about itself, and locks while that is true.
#[derive(Deserialize)]
struct Endpoints {
    http: String,
    mqtt: String,
}

/// What the environment may say.
#[derive(Default)]
pub struct Environment {
    pub server: Option<String>,
    pub token: Option<String>,
    pub authority: Option<String>,
}

impl Environment {
    pub fn read() -> Environment {
        let set = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
        Environment {
            server: set("LINESIDE_SERVER"),
            token: set("LINESIDE_TOKEN"),
            authority: set("LINESIDE_AUTHORITY"),
        }
    }
}

impl Connection {
    /// Takes the data folder that a server makes unless told otherwise, where nothing else says
    /// which server is meant.
    pub fn or_beside(mut self, folder: &Path, environment: &Environment) -> Connection {
        let beside = folder.join(DATA);
        // A token is for some server, and not for whichever has its folder here.
        let told = self.data.is_some()
            || self.server.is_some()
            || environment.server.is_some()
            || environment.token.is_some();
        if !told && self.token_file.is_none() && beside.join("endpoints.json").is_file() {
            self.data = Some(beside);
        }
        self
    }

    /// The server's base URL, without a slash at the end.
    ///
    /// # Errors
    /// One that a token must not be sent to.
    pub fn address(&self, environment: &Environment) -> anyhow::Result<String> {
        let written = match (&self.server, &self.data, &environment.server) {
            (Some(server), _, _) => server.clone(),
            (None, Some(data), _) => endpoints(data)?.http,
            (None, None, Some(server)) => server.clone(),
            (None, None, None) => DEFAULT.to_owned(),
        };
        checked(&written)
    }

    /// The certificate by which a server is known that is reached by TLS; none where that is not.
    ///
    /// # Errors
    /// A server at https:// without the file, or the file is none.
    pub fn authority(
        &self,
        environment: &Environment,
    ) -> anyhow::Result<Vec<Certificate<'static>>> {
        let address = self.address(environment)?;
        if !address.starts_with("https://") {
            return Ok(Vec::new());
        }
        let told = self.authority.clone();
        let told = told.or_else(|| environment.authority.as_ref().map(PathBuf::from));
        let told = told.or_else(|| self.data.as_ref().map(|data| data.join("authority.pem")));
        let Some(path) = told else {
            bail!(
                "by what is {address} to be known? Give --authority FILE, the file authority.pem of its data folder"
            );
        };
        let certificates: Result<Vec<Certificate>, _> = parse_pem(read(&path)?.as_bytes())
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
            .collect();
        let certificates =
            certificates.with_context(|| format!("{} cannot be used", path.display()))?;
        if certificates.is_empty() {
            bail!("{} has no certificate in it", path.display());
        }
        Ok(certificates)
    }

    /// Host and port of the broker, if the server's data folder is at hand.
    ///
    /// # Errors
    /// A folder without the file, or with another one.
    pub fn broker(&self) -> anyhow::Result<Option<String>> {
        self.data.as_deref().map(|data| Ok(endpoints(data)?.mqtt)).transpose()
    }

    /// The token.
    ///
    /// # Errors
    /// There is none, or its file cannot be read.
    pub fn token(&self, environment: &Environment) -> anyhow::Result<Token> {
        let in_data = self.data.as_ref().map(|data| data.join("admin.token"));
        if let Some(path) = self.token_file.as_ref().or(in_data.as_ref()) {
            let origin = path.display().to_string();
            let text =
                read(path).context("this file should have the token by which one is let in")?;
            let text = text.trim().to_owned();
            check_token(&text, &origin)?;
            return Ok(Token { text, origin });
        }
        let Some(text) = &environment.token else {
            bail!(
                "who asks? Give --data DIR (the server's data folder), \
                 --token-file FILE (its admin.token, or what `lineside login` wrote), or set LINESIDE_TOKEN"
            );
        };
        let token = Token { text: text.trim().to_owned(), origin: "LINESIDE_TOKEN".into() };
        check_token(&token.text, &token.origin)?;
        Ok(token)
    }
}

fn check_token(text: &str, origin: &str) -> anyhow::Result<()> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{origin} has no token in it: one word of printable characters is needed");
    }
    Ok(())
}

fn endpoints(data: &Path) -> anyhow::Result<Endpoints> {
    let path = data.join("endpoints.json");
    let folder = data.display();
    let text = read(&path).with_context(|| {
        format!("has a server run with --data {folder}? It writes this file when it is ready")
    })?;
    // Whoever listens there now that the server is gone shall not be sent its token.
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
        Ok(()) => bail!(
            "no server is running with --data {folder}; \
             start it with `lineside-server run --data {folder}`"
        ),
    }
    serde_json::from_str(&text).with_context(|| format!("{} cannot be used", path.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
    if size > FILE_BYTES_MAX {
        bail!("{name} has {size} bytes, at most {FILE_BYTES_MAX} are read");
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))
}

/// Refuses addresses that a token would travel to in the open.
fn checked(written: &str) -> anyhow::Result<String> {
    let with_scheme =
        if written.contains("://") { written.to_owned() } else { format!("http://{written}") };
    let uri: Uri = with_scheme
        .parse()
        .with_context(|| format!("{written:?} is no address of a server; write {DEFAULT}"))?;
    let Some(host) = uri.host() else {
        bail!("{written:?} names no host; write {DEFAULT}");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match uri.scheme_str() {
        Some("http") if is_loopback => Ok(with_scheme.trim_end_matches('/').to_owned()),
        Some("http") => bail!(
            "the token would cross the network in the open on the way to {written}; \
             write https:// where it has TLS, or forward a port of this machine, as in: \
             ssh -L 8080:127.0.0.1:8080 {host}"
        ),
        Some("https") => Ok(with_scheme.trim_end_matches('/').to_owned()),
        _ => bail!("{written:?} is no address of a server; write {DEFAULT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ran_in_this_folder_is_meant_unless_something_else_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let beside = folder.path().join(DATA);
        let nothing = Environment::default();
        let found = |given: Connection, environment: &Environment| {
            given.or_beside(folder.path(), environment).data
        };
        assert_eq!(found(connection(None, None), &nothing), None);
        std::fs::create_dir(&beside).unwrap();
        std::fs::write(beside.join("endpoints.json"), b"{}").unwrap();
        assert_eq!(found(connection(None, None), &nothing), Some(beside));
        assert_eq!(found(connection(Some("localhost"), None), &nothing), None);
        let elsewhere = Path::new("elsewhere");
        assert_eq!(found(connection(None, Some(elsewhere)), &nothing), Some(elsewhere.into()));
        let said = Environment { server: Some("localhost".into()), ..Environment::default() };
        assert_eq!(found(connection(None, None), &said), None);
        // Nor is a token that is for another server quietly left aside.
        let said = Environment { token: Some("word".into()), ..Environment::default() };
        assert_eq!(found(connection(None, None), &said), None);
    }

    fn connection(server: Option<&str>, data: Option<&Path>) -> Connection {
        Connection {
            server: server.map(str::to_owned),
            data: data.map(Path::to_owned),
            token_file: None,
            authority: None,
        }
    }

    fn environment() -> Environment {
        Environment {
            server: Some("localhost:2".into()),
            token: Some("from-environment\n".into()),
            authority: None,
        }
    }

    #[test]
    fn what_is_written_out_wins_over_the_folder_and_the_folder_over_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let data = Some(folder.path());
        let endpoints = r#"{ "http": "http://127.0.0.1:3", "mqtt": "127.0.0.1:4" }"#;
        let path = folder.path().join("endpoints.json");
        std::fs::write(&path, endpoints).unwrap();
        let server = File::open(&path).unwrap();
        server.lock().unwrap();
        std::fs::write(folder.path().join("admin.token"), "from-folder\n").unwrap();
        for (server, data, environment, address, token) in [
            (Some("http://[::1]:1/"), data, environment(), "http://[::1]:1", "from-folder"),
            (None, data, environment(), "http://127.0.0.1:3", "from-folder"),
            (None, None, environment(), "http://localhost:2", "from-environment"),
        ] {
            let connection = connection(server, data);
            assert_eq!(connection.address(&environment).unwrap(), address);
            assert_eq!(connection.token(&environment).unwrap().text, token);
        }
        assert_eq!(connection(None, data).broker().unwrap().unwrap(), "127.0.0.1:4");
        drop(server);
        let gone = connection(None, data).address(&environment()).unwrap_err().to_string();
        assert!(gone.contains("no server is running") && gone.contains("--data"), "{gone}");
        let nobody = connection(None, None);
        assert_eq!(nobody.address(&Environment::default()).unwrap(), DEFAULT);
        let error = nobody.token(&Environment::default()).unwrap_err().to_string();
        assert!(error.contains("--data DIR") && error.contains("LINESIDE_TOKEN"), "{error}");
    }

    #[test]
    fn a_token_is_sent_to_nobody_in_the_open_and_printed_nowhere() {
        for (address, words) in [
            ("http://192.0.2.1:8080", "in the open"),
            ("http://example.com", "ssh -L"),
            ("ftp://127.0.0.1", "is no address of a server"),
            ("http://", "is no address of a server"),
        ] {
            let error = format!("{:#}", checked(address).unwrap_err());
            assert!(error.contains(words), "{address}: {error}");
        }
        let token = connection(None, None).token(&environment()).unwrap();
        assert!(!format!("{token:?}").contains("from-environment"));
    }

    #[test]
    fn a_folder_without_a_server_and_a_file_without_a_token_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connection(None, Some(folder.path()));
        let error = format!("{:#}", connection.address(&Environment::default()).unwrap_err());
        assert!(error.contains("has a server run with --data"), "{error}");
        std::fs::write(folder.path().join("admin.token"), " \n").unwrap();
        let error = format!("{:#}", connection.token(&Environment::default()).unwrap_err());
        assert!(error.contains("has no token in it"), "{error}");
    }
}
