//! Who devices are: the tokens that they join with, how each stands, and the certificates that they are sent.
//! Decisions are those of `lineside_identity::step`; here they are kept, in one transaction each.

mod authority;
mod copies;
mod devices;
mod kept;
mod listed;
mod people;
mod settings;
mod tls;
mod tokens;

pub(crate) use authority::{ServerCertificate, open as open_authority};
pub(crate) use devices::{Identities, Issuing, Reached};
pub(crate) use kept::{Known, forget, held_of, key_of, word};
pub(crate) use listed::Entry;
pub(crate) use people::Judgement;
pub(crate) use settings::{TlsConfig, TlsFile, checked};
pub(crate) use tls::Tls;
pub(crate) use tokens::{NewToken, TokenKept, TokenMade};
