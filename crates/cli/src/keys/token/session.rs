//! A module, a token in it, and what is asked of a token.

use super::super::pin::{PinFrom, Tries};
use super::super::signer::TokenKey;
use super::curve;
use anyhow::{Context, anyhow, bail};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use lineside_trust::{KeyKind, PublicKey};
use ring::digest::{SHA256, digest};
use std::path::{Path, PathBuf};

/// What is done with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A key is looked for, and signs.
    Read,
    /// A key is made.
    Write,
}

/// A vendor's library, loaded and started; it is stopped when this is dropped.
pub struct Module {
    path: PathBuf,
    context: Pkcs11,
}

/// A token that has taken its PIN. Whoever has one holds its module as well.
pub struct Token<'a> {
    module: &'a Module,
    slot: Slot,
    session: Session,
    label: String,
    serial: String,
}

/// A key that was in a token already.
pub struct Found {
    pub id: String,
    pub label: String,
    pub public: PublicKey,
}

impl Module {
    /// Loads the library at `path` and starts it.
    ///
    /// # Errors
    /// It is none, or not for this machine.
    pub fn load(path: &Path) -> anyhow::Result<Module> {
        let name = path.display();
        let context = Pkcs11::new(path)
            .map_err(|error| match error {
                Error::LibraryLoading(cause) => anyhow::Error::new(cause),
                other => other.into(),
            })
            .with_context(|| {
                format!("{name} cannot be loaded: is it the PKCS#11 module of the token's vendor?")
            })?;
        context
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .with_context(|| format!("the PKCS#11 module {name} does not start"))?;
        Ok(Module { path: path.to_owned(), context })
    }

    /// Opens the token of this label with its PIN, which is tried once.
    ///
    /// # Errors
    /// No such token, more than one, or it does not take the PIN.
    pub fn open(
        &self,
        label: &str,
        serial: Option<&str>,
        access: Access,
        pin: &PinFrom,
        json: bool,
    ) -> anyhow::Result<Token<'_>> {
        let (slot, info) = self.find(label, serial)?;
        let session = match access {
            Access::Read => self.context.open_ro_session(slot),
            Access::Write => self.context.open_rw_session(slot),
        };
        let session = session.with_context(|| format!("token {label:?} cannot be opened"))?;
        let (label, serial) = (info.label().to_owned(), info.serial_number().to_owned());
        let token = Token { module: self, slot, session, label, serial };
        token.log_in(&info, pin, json)?;
        Ok(token)
    }

    fn find(&self, label: &str, serial: Option<&str>) -> anyhow::Result<(Slot, TokenInfo)> {
        let asked = || format!("the PKCS#11 module {} does not list tokens", self.path.display());
        let mut tokens = Vec::new();
        for slot in self.context.get_slots_with_token().with_context(asked)? {
            // One that is pulled out while the others are listed is not there.
            if let Ok(info) = self.context.get_token_info(slot)
                && info.token_initialized()
            {
                tokens.push((slot, info));
            }
        }
        let names: Vec<(&str, &str)> =
            tokens.iter().map(|(_, info)| (info.label(), info.serial_number())).collect();
        let place = choose(&names, label, serial).map_err(|problem| anyhow!(problem))?;
        Ok(tokens.swap_remove(place))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Nothing depends on it: the process ends soon.
        let _ = self.context.clone().finalize();
    }
}

/// Which of `tokens`, each with label and serial number, is meant.
fn choose(tokens: &[(&str, &str)], label: &str, serial: Option<&str>) -> Result<usize, String> {
    let is_meant = |(its_label, its_serial): &(&str, &str)| {
        *its_label == label && serial.is_none_or(|serial| *its_serial == serial)
    };
    let meant: Vec<usize> = (0..tokens.len()).filter(|at| is_meant(&tokens[*at])).collect();
    let list = |places: &[usize]| {
        let names =
            places.iter().map(|at| format!("{:?} with serial {}", tokens[*at].0, tokens[*at].1));
        names.collect::<Vec<_>>().join(", ")
    };
    match (meant.as_slice(), tokens) {
        ([only], _) => Ok(*only),
        ([], []) => Err(format!("token {label:?} is not there, and no other: is it plugged in?")),
        ([], _) => {
            let serial = serial.map(|serial| format!(" with serial {serial}")).unwrap_or_default();
            let all: Vec<usize> = (0..tokens.len()).collect();
            Err(format!("token {label:?}{serial} is not there; there is {}", list(&all)))
        }
        (several, _) => Err(format!(
            "{} tokens are called {label:?}: {}; say which with --serial",
            several.len(),
            list(several)
        )),
    }
}

impl Token<'_> {
    /// Its label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its serial number.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The kind of key that is best made here.
    pub fn best_kind(&self) -> KeyKind {
        let makes = MechanismType::ECC_EDWARDS_KEY_PAIR_GEN;
        match self.module.context.get_mechanism_info(self.slot, makes) {
            Ok(_) => KeyKind::Ed25519,
            Err(_) => KeyKind::P256,
        }
    }

    fn name(&self) -> String {
        format!("token {:?} (serial {})", self.label, self.serial)
    }

    fn log_in(&self, info: &TokenInfo, pin: &PinFrom, json: bool) -> anyhow::Result<()> {
        let name = self.name();
        if !info.login_required() {
            return Ok(());
        }
        if !info.user_pin_initialized() {
            bail!("{name} has no user PIN yet: set it up with its vendor's tool");
        }
        let tries = Tries { locked: info.user_pin_locked(), last: info.user_pin_final_try() };
        let pin = match info.protected_authentication_path() && !pin.is_file() {
            // The reader has keys of its own, and asks by itself.
            true => None,
            false => Some(pin.get(&name, tries, json)?),
        };
        match self.session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(problem, _)) => Err(self.refused(problem)),
            Err(error) => Err(error).with_context(|| format!("cannot log in to {name}")),
        }
    }

    fn refused(&self, problem: RvError) -> anyhow::Error {
        let name = self.name();
        match problem {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => anyhow!(
                "{name} does not take this PIN; it was tried once, and after a few wrong ones a \
                 token locks itself"
            ),
            RvError::PinLocked => anyhow!(
                "{name} is locked after too many wrong PINs: only who set it up can unlock it"
            ),
            RvError::PinExpired => {
                anyhow!("the PIN of {name} has expired: set a new one with its vendor's tool")
            }
            other => anyhow!("cannot log in to {name}: {other}"),
        }
    }

    /// Makes a key that never leaves the token.
    ///
    /// # Errors
    /// There is one of that label, or the token does not make such.
    pub fn make(&self, kind: KeyKind, label: &str, id: &[u8]) -> anyhow::Result<PublicKey> {
        let name = self.name();
        let is_taken = |class| -> anyhow::Result<bool> {
            let called = [Attribute::Class(class), Attribute::Label(label.into())];
            Ok(!self.session.find_objects(&called)?.is_empty())
        };
        if is_taken(ObjectClass::PRIVATE_KEY)? || is_taken(ObjectClass::PUBLIC_KEY)? {
            bail!(
                "{name} has a key {label:?} already: take it with --adopt {label:?}, or call the new \
                 one otherwise with --label"
            );
        }
        let mechanism = match kind {
            KeyKind::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
            KeyKind::P256 => Mechanism::EccKeyPairGen,
        };
        let secret = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Label(label.into()),
            Attribute::Id(id.into()),
        ];
        let mut made = Err(anyhow!("it knows no such curve"));
        for curve in curve::parameters(kind) {
            let public = [
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::Verify(true),
                Attribute::EcParams(curve.to_vec()),
                Attribute::Label(label.into()),
                Attribute::Id(id.into()),
            ];
            made = self.session.generate_key_pair(&mechanism, &public, &secret).map_err(Into::into);
            if made.is_ok() {
                break;
            }
        }
        let (public, _) = made.with_context(|| format!("{name} does not make {kind}"))?;
        self.public(public, label)
    }

    /// The key of this label, or of this id in hex digits.
    ///
    /// # Errors
    /// No such key, more than one, or one that cannot sign documents.
    pub fn find(&self, wanted: &str) -> anyhow::Result<Found> {
        let name = self.name();
        let mut keys = self.keys(Attribute::Label(wanted.into()))?;
        if let Some(id) = curve::unhex(wanted).filter(|_| keys.is_empty()) {
            keys = self.keys(Attribute::Id(id))?;
        }
        let [(id, secret)] = keys.as_slice() else {
            let mut ids: Vec<String> = keys.iter().map(|(id, _)| curve::hex(id)).collect();
            ids.sort();
            match ids.as_slice() {
                [] => bail!("{name} has no key {wanted:?} that signs"),
                _ => bail!(
                    "{name} has {} keys {wanted:?}: name the one that is meant by its id, of {}",
                    ids.len(),
                    ids.join(", ")
                ),
            }
        };
        let always = self.session.get_attributes(*secret, &[AttributeType::AlwaysAuthenticate])?;
        if always.contains(&Attribute::AlwaysAuthenticate(true)) {
            bail!(
                "key {wanted:?} of {name} wants its PIN for each signature, which this version of \
                 lineside does not give"
            );
        }
        let public = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.clone())];
        let public = self.session.find_objects(&public)?;
        let public = public.first().with_context(|| {
            format!("{name} shows no public part of key {wanted:?}: put it there with its tool")
        })?;
        let label = match self.session.get_attributes(*secret, &[AttributeType::Label])?.pop() {
            Some(Attribute::Label(label)) => String::from_utf8_lossy(&label).into_owned(),
            _ => wanted.to_owned(),
        };
        Ok(Found { id: curve::hex(id), public: self.public(*public, wanted)?, label })
    }

    /// The secret keys with this attribute, with their ids.
    fn keys(&self, attribute: Attribute) -> anyhow::Result<Vec<(Vec<u8>, ObjectHandle)>> {
        let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), attribute];
        let mut keys = Vec::new();
        for key in self.session.find_objects(&wanted)? {
            match self.session.get_attributes(key, &[AttributeType::Id])?.pop() {
                Some(Attribute::Id(id)) => keys.push((id, key)),
                _ => bail!("a key of {} has no CKA_ID, by which it could be found", self.name()),
            }
        }
        Ok(keys)
    }

    fn public(&self, key: ObjectHandle, label: &str) -> anyhow::Result<PublicKey> {
        let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
        let (mut curve, mut point) = (Vec::new(), Vec::new());
        // A key that is of no curve has neither, and some tokens call that an error.
        for attribute in self.session.get_attributes(key, &wanted).unwrap_or_default() {
            match attribute {
                Attribute::EcParams(parameters) => curve = parameters,
                Attribute::EcPoint(bytes) => point = bytes,
                _ => {}
            }
        }
        curve::public_key(&curve, &point).with_context(|| {
            format!(
                "key {label:?} of {} is neither {} nor {}, which devices verify",
                self.name(),
                KeyKind::Ed25519,
                KeyKind::P256
            )
        })
    }

    /// The signature of `bytes` by a key of this token, as documents have it. It fits.
    ///
    /// # Errors
    /// The key is not there any longer, or the token does not sign.
    pub fn sign(&self, key: &TokenKey, bytes: &[u8]) -> anyhow::Result<String> {
        let (name, label) = (self.name(), &key.label);
        let id = curve::unhex(&key.id).context("the id of a key in a token is hex digits")?;
        let secret = match self.keys(Attribute::Id(id))?.as_slice() {
            [(_, secret)] => *secret,
            [] => bail!("{name} has no key {label:?} (id {}) any longer", key.id),
            _ => bail!("{name} has more than one key of id {}", key.id),
        };
        let signed = match key.public.kind() {
            Some(KeyKind::Ed25519) => {
                let parameters = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                self.session.sign(&Mechanism::Eddsa(parameters), secret, bytes)
            }
            // Many tokens leave the hashing to whoever asks.
            Some(KeyKind::P256) => {
                self.session.sign(&Mechanism::Ecdsa, secret, digest(&SHA256, bytes).as_ref())
            }
            None => bail!("key {} is of a kind that no token signs with here", key.public),
        };
        let signed = signed.with_context(|| format!("key {label:?} of {name} does not sign"))?;
        let signature = key.public.signature(&signed);
        signature.filter(|signature| key.public.verifies(bytes, signature)).with_context(|| {
            format!("what {name} signs with key {label:?} is not of key {}", key.public)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    const TOKENS: [(&str, &str); 3] = [("safe", "17"), ("desk", "18"), ("safe", "19")];

    #[test]
    fn a_token_is_the_one_that_was_meant_or_none() {
        assert_eq!(choose(&TOKENS, "desk", None), Ok(1));
        assert_eq!(choose(&TOKENS, "safe", Some("19")), Ok(2));
        let several = choose(&TOKENS, "safe", None).unwrap_err();
        assert_eq!(
            several,
            "2 tokens are called \"safe\": \"safe\" with serial 17, \"safe\" with serial 19; say \
             which with --serial"
        );
        let other = choose(&TOKENS, "desk", Some("17")).unwrap_err();
        assert!(
            other.starts_with("token \"desk\" with serial 17 is not there; there is"),
            "{other}"
        );
        let none = choose(&[], "desk", None).unwrap_err();
        assert!(none.contains("is it plugged in?"), "{none}");
    }
}
