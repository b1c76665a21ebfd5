//! Devices that join and renew: what is decided is kept, with the token that was spent for it, in one
//! transaction, and only then are they told.

use crate::access::ADMINISTRATOR;
use crate::audit::By;
use crate::error::Error;
use crate::identity::kept::{changed, find, keep, owner};
use crate::identity::listed::is_listed;
use crate::identity::tokens::{place_of, said_of, spend};
use crate::quiet::Quiet;
use crate::registry::Registry;
use crate::store::{Store, Writing};
use crate::strangers::Strangers;
use lineside_identity::{
    Answer, Ask, Authority, AuthorityError, CertificateRequest, Claim, Effect, Event,
    HardwareSerial, Identity, JoinRequest, JoinToken, Lifetime, Listed, Peer, Refusal, Seen,
    Standing, Way, admit, step,
};
use lineside_wire::name::DeviceId;
use ring::rand::SystemRandom;
use sea_orm::ConnectionTrait;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use time::{Duration, OffsetDateTime};

/// The devices' identities.
#[derive(Clone)]
pub(crate) struct Identities {
    pub(super) store: Arc<Store>,
    /// By what certificates are made. None where there is no TLS: nobody joins.
    issuing: Option<Arc<Issuing>>,
    asking: Arc<Strangers>,
    quiet: Arc<Quiet>,
}

/// By what certificates of devices are made.
pub(crate) struct Issuing {
    pub authority: Arc<Authority>,
    /// How long one lasts.
    pub lifetime: Lifetime,
    /// How long after its end it may still be renewed.
    pub grace: Duration,
    /// Where devices reach the server.
    pub reached: Reached,
}

/// Where others than this machine reach the server: by the first of its names.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    /// Base URL of pages and HTTP interface.
    pub https: String,
    /// Host and port of the broker.
    pub mqtts: String,
}

/// Who asks, and for what.
struct Asked {
    request: CertificateRequest,
    claim: Claim,
    what: Wish,
}

enum Wish {
    Join(Option<JoinToken>),
    Renew(Way),
}

/// An identity before and after something has happened.
struct Decided {
    before: Identity,
    after: Identity,
    serial: Option<HardwareSerial>,
    effects: Vec<Effect>,
}

impl Identities {
    /// The identities in `store`.
    pub fn new(store: Arc<Store>, issuing: Option<Arc<Issuing>>) -> Identities {
        Identities { store, issuing, asking: Arc::default(), quiet: Arc::default() }
    }

    /// By what certificates are made.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is no TLS, with what to do.
    pub fn issuing(&self) -> Result<&Issuing, Error> {
        self.issuing.as_deref().ok_or_else(|| {
            let problem = "this server has no TLS, and devices join over TLS alone: set it up below [tls] in \
                           its settings, as docs/server.toml has it";
            Error::Conflict(problem.into())
        })
    }

    /// How long after its end a certificate may still be renewed.
    pub(super) fn grace(&self) -> Duration {
        self.issuing.as_ref().map_or(Duration::ZERO, |issuing| issuing.grace)
    }

    /// What becomes of somebody who wants to join, or asks what became of that.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Conflict`] if there is no TLS or no room.
    pub async fn join(&self, asked: &JoinRequest, now: OffsetDateTime) -> Result<Answer, Error> {
        let token = match asked.token.as_deref().map(str::parse::<JoinToken>).transpose() {
            Ok(token) => token,
            Err(error) => return Ok(Answer::Refused { reason: error.to_string() }),
        };
        let serial = asked.serial.clone();
        self.answer(read(&asked.request, serial, Wish::Join(token))?, now).await
    }

    /// What becomes of a device that wants another certificate, by its request alone or on a connection on
    /// which it has shown the one that it has.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Conflict`] if there is no TLS.
    pub async fn renew(
        &self,
        request: &str,
        peer: Option<&Peer>,
        now: OffsetDateTime,
    ) -> Result<Answer, Error> {
        let mut asked = read(request, None, Wish::Renew(Way::Request))?;
        if let Some(peer) = peer
            && *peer.device() == asked.claim.device
            && peer.key() == asked.claim.key
            && self.admits(peer, now).await?.is_ok()
        {
            asked.what = Wish::Renew(Way::Session);
        }
        self.answer(asked, now).await
    }

    /// Refuses who asks too often from one address, before anything is read of it.
    ///
    /// # Errors
    /// [`Error::TooOften`].
    pub fn hear(&self, address: IpAddr) -> Result<(), Error> {
        match self.asking.allows_address(address, Instant::now()) {
            true => Ok(()),
            false => Err(too_often()),
        }
    }

    async fn answer(&self, asked: Asked, now: OffsetDateTime) -> Result<Answer, Error> {
        let issuing = self.issuing()?;
        if !self.asking.allows_key(asked.claim.key, Instant::now()) {
            return Err(too_often());
        }
        // Most change nothing: a device that waits asks every minute, and strangers as often as they like.
        // None of them keeps from writing who has something to write.
        let decided = self.decide(self.store.read(), &asked, now).await?;
        if decided.before == decided.after
            && let Some(answer) = Answer::of(&decided.effects, now)
        {
            self.say(&asked.claim, &decided.effects);
            return Ok(answer);
        }
        let writing = self.store.write().await?;
        // Somebody else may have come first, with the same token or under the same name.
        let decided = self.decide(&writing.transaction, &asked, now).await?;
        let answer = carry_out(&writing, issuing, &asked, &decided, now).await?;
        writing.commit().await?;
        self.say(&asked.claim, &decided.effects);
        Ok(answer)
    }

    /// What is to be done about somebody who asks. Writes nothing.
    async fn decide(
        &self,
        on: &impl ConnectionTrait,
        asked: &Asked,
        now: OffsetDateTime,
    ) -> Result<Decided, Error> {
        let claim = &asked.claim;
        let known = find(on, &claim.device).await?;
        let (before, serial) =
            known.map(|known| (known.identity, known.serial)).unwrap_or_default();
        let event = match &asked.what {
            Wish::Renew(way) => Event::Renews(claim.key, *way),
            Wish::Join(token) => {
                let token = match token {
                    Some(token) => Some(said_of(on, token, claim, now).await?),
                    None => None,
                };
                // Who has no good token hears nothing of other devices.
                let is_good = token.as_ref().is_some_and(Result::is_ok);
                let elsewhere = is_good
                    && owner(on, claim.key).await?.is_some_and(|of| of != claim.device.as_str());
                let listed = if is_good { is_listed(on, claim).await? } else { Listed::No };
                Event::Joins(Ask { claim: claim.clone(), token, listed, elsewhere })
            }
        };
        let (after, effects) = step(before.clone(), event, now, self.grace());
        let is_spent = effects.iter().any(|effect| matches!(effect, Effect::Spend(_)));
        let serial = if is_spent { claim.serial.clone() } else { serial };
        Ok(Decided { before, after, serial, effects })
    }

    /// Says in the log what people have to look at, once a minute for each device.
    fn say(&self, claim: &Claim, effects: &[Effect]) {
        let refused = effects.iter().find_map(|effect| match effect {
            Effect::Refuse(refusal) => Some(refusal),
            _ => None,
        });
        if !effects.contains(&Effect::Tell) {
            return;
        }
        let device = &claim.device;
        if let Some(more) = self.quiet.may_say(device.as_str(), Instant::now()) {
            match refused {
                Some(refusal) => tracing::warn!(
                    "{device}: somebody else wants to join under its name, by key {}: {refusal}{more}",
                    claim.key
                ),
                None => tracing::warn!(
                    "{device} waits to be accepted, by key {}: compare it with what the device shows{more}",
                    claim.key
                ),
            }
        }
    }

    /// Whether who has shown a certificate is one of the fleet now; that it has come is kept.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn admits(
        &self,
        peer: &Peer,
        now: OffsetDateTime,
    ) -> Result<Result<(), Refusal>, Error> {
        let known = find(self.store.read(), peer.device()).await?;
        let identity = known.map(|known| known.identity).unwrap_or_default();
        let admitted = admit(&identity, peer, now);
        let is_news = matches!(
            &identity.standing,
            Standing::Accepted { held: Some(held), .. }
                if held.serial == *peer.serial() && held.seen == Seen::No
        );
        if admitted.is_ok() && is_news {
            self.happens(peer.device(), Event::Connected(peer.serial().clone()), now).await?;
        }
        Ok(admitted)
    }

    /// Takes an identity further by what is no request of anybody's.
    async fn happens(
        &self,
        device: &DeviceId,
        event: Event,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let Some(known) = find(&writing.transaction, device).await? else { return Ok(()) };
        let (after, _) = step(known.identity.clone(), event, now, self.grace());
        if after == known.identity {
            return Ok(());
        }
        let at = OffsetDateTime::from_unix_timestamp_nanos(
            i128::from(known.changed_unix_ms) * 1_000_000,
        );
        // It is no change of how it stands.
        keep(&writing.transaction, device, &after, known.serial.as_ref(), at.unwrap_or(now))
            .await?;
        writing.changes_without_entry("a device has shown the certificate that it was sent");
        writing.commit().await
    }
}

/// Writes what was decided, and gives what is to be said of it once that is on disk.
async fn carry_out(
    writing: &Writing<'_>,
    issuing: &Issuing,
    asked: &Asked,
    decided: &Decided,
    now: OffsetDateTime,
) -> Result<Answer, Error> {
    let (on, device) = (&writing.transaction, &asked.claim.device);
    let mut after = decided.after.clone();
    let mut answer = Answer::of(&decided.effects, now);
    for effect in &decided.effects {
        match effect {
            Effect::Spend(record) => spend(on, record).await?,
            Effect::Issue => {
                let issued = issuing
                    .authority
                    .issue(&asked.request, issuing.lifetime, now, &SystemRandom::new())
                    .map_err(not_issued)?;
                let event = Event::Issued(issued.serial, issued.validity);
                after = step(after, event, now, issuing.grace).0;
                answer = Some(Answer::Issued {
                    certificates: issued.pem,
                    renew_at: issued.validity.renew_at().unix_timestamp(),
                    now: now.unix_timestamp(),
                });
            }
            // They are said, below and in the log.
            Effect::Wait | Effect::TooEarly(_) | Effect::Refuse(_) | Effect::Tell => {}
            // Nobody who asks has connections ended by that.
            Effect::Disconnect => {}
        }
    }
    let by = By::Device(device.clone());
    if after != decided.before {
        keep(on, device, &after, decided.serial.as_ref(), now).await?;
        writing.record(changed(&by, device, &decided.before, &after));
    }
    if let Standing::Accepted { key, .. } = after.standing {
        let place = place_of(on, device, key).await?;
        Registry::ensure(&by, writing, device, place, now).await?;
    }
    Ok(answer.expect("a decision on who asks says something or makes a certificate"))
}

fn read(request: &str, serial: Option<HardwareSerial>, what: Wish) -> Result<Asked, Error> {
    let request =
        CertificateRequest::parse(request).map_err(|error| Error::Malformed(error.to_string()))?;
    let device = name(request.device().as_str())?;
    let claim = Claim { device, key: request.key().fingerprint(), serial };
    Ok(Asked { request, claim, what })
}

/// The name of a device, as people write it.
pub(super) fn name(text: &str) -> Result<DeviceId, Error> {
    let device: DeviceId =
        text.parse().map_err(|error| Error::Malformed(format!("device: {error}")))?;
    if device.as_str() == ADMINISTRATOR {
        return Err(Error::Malformed(format!("{ADMINISTRATOR} is the administrator's name")));
    }
    Ok(device)
}

fn too_often() -> Error {
    Error::TooOften("it is asked for too often: ask again in a minute".into())
}

fn not_issued(error: AuthorityError) -> Error {
    Error::Conflict(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Entry, Judgement, NewToken, TokenMade};
    use crate::registry::NewDevice;
    use lineside_identity::{DeviceKey, RenewRequest, Roots, TokenRefusal, read_chain};
    use std::collections::BTreeMap;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-27 12:00:00 UTC);

    struct House {
        identities: Identities,
        registry: Registry,
        authority: Arc<Authority>,
        _folder: tempfile::TempDir,
    }

    async fn house() -> House {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::store::testing::store(folder.path()).await);
        let authority = Authority::make("Plant 4", &[], NOW, &SystemRandom::new()).unwrap();
        let authority = Arc::new(authority);
        let issuing = Issuing {
            authority: authority.clone(),
            lifetime: Lifetime::of_days(9).unwrap(),
            grace: Duration::days(180),
            reached: Reached { https: "https://a:1".into(), mqtts: "a:2".into() },
        };
        let registry = Registry::new(store.clone());
        let identities = Identities::new(store, Some(Arc::new(issuing)));
        House { identities, registry, authority, _folder: folder }
    }

    fn key() -> DeviceKey {
        DeviceKey::generate(&SystemRandom::new()).unwrap()
    }

    fn request(device: &str, key: &DeviceKey) -> String {
        CertificateRequest::sign(&device.parse().unwrap(), key, &SystemRandom::new()).unwrap()
    }

    impl House {
        async fn token(&self) -> String {
            self.identities
                .make_token(&By::ADMINISTRATOR, &NewToken::default(), NOW)
                .await
                .unwrap()
                .token
        }

        async fn join(&self, device: &str, key: &DeviceKey, token: Option<&str>) -> Answer {
            let token = token.map(str::to_owned);
            let asked = JoinRequest { token, request: request(device, key), serial: None };
            self.identities.join(&asked, NOW).await.unwrap()
        }

        async fn renew(
            &self,
            (device, key): (&str, &DeviceKey),
            peer: Option<&Peer>,
            now: OffsetDateTime,
        ) -> Answer {
            let RenewRequest { request } = RenewRequest { request: request(device, key) };
            self.identities.renew(&request, peer, now).await.unwrap()
        }

        async fn judge(
            &self,
            device: &str,
            judgement: Judgement,
            key: &DeviceKey,
        ) -> Result<bool, Error> {
            let (device, seen) = (device.parse().unwrap(), key.fingerprint().to_string());
            self.identities.judge(&By::ADMINISTRATOR, &device, judgement, &seen, NOW).await
        }

        async fn standing(&self, device: &str) -> Standing {
            self.identities.get(device).await.unwrap().identity.standing
        }

        /// Who shows what was issued.
        fn peer(&self, answer: &Answer, now: OffsetDateTime) -> Peer {
            let Answer::Issued { certificates, .. } = answer else { panic!("{answer:?}") };
            let chain = read_chain(certificates).unwrap();
            let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
            Roots::of_fleet(self.authority.pem()).unwrap().verify(&chain, now).unwrap()
        }
    }

    fn refused(refusal: Refusal) -> Answer {
        Answer::Refused { reason: refusal.to_string() }
    }

    const WAIT: Answer = Answer::Wait { after: 60 };

    #[tokio::test]
    async fn two_who_come_with_one_token_at_once_are_one_device() {
        let house = house().await;
        for round in 0..8 {
            let token = house.token().await;
            let names = [format!("line-{round}-a"), format!("line-{round}-b")];
            let keys = [key(), key()];
            let (one, other) = tokio::join!(
                house.join(&names[0], &keys[0], Some(&token)),
                house.join(&names[1], &keys[1], Some(&token)),
            );
            let spent = refused(Refusal::Token(TokenRefusal::Spent));
            assert!(
                [(&one, &other), (&other, &one)].contains(&(&WAIT, &spent)),
                "{one:?} {other:?}"
            );
        }
        assert_eq!(house.identities.after("", 99).await.unwrap().len(), 8);
    }

    #[tokio::test]
    async fn a_device_waits_for_a_person_and_is_revoked_by_one() {
        let house = house().await;
        let (token, mine, theirs) = (house.token().await, key(), key());
        assert_eq!(house.join("line-3", &mine, None).await, refused(Refusal::NoToken));
        assert_eq!(house.join("line-3", &mine, Some(&token)).await, WAIT);
        assert_eq!(house.join("line-3", &mine, None).await, WAIT);
        // It is none of the fleet yet.
        assert_eq!(house.registry.count().await.unwrap(), 0);

        let changed = house.judge("line-3", Judgement::Accept, &theirs).await;
        assert!(matches!(changed, Err(Error::Conflict(_))), "{changed:?}");
        assert!(!house.judge("line-3", Judgement::Accept, &mine).await.unwrap());
        assert_eq!(house.registry.get("line-3").await.unwrap().id.as_str(), "line-3");
        assert_eq!(house.registry.knows("line-3", "").await.unwrap(), None);

        // The answer may be lost, until it has shown what it was sent.
        house.join("line-3", &mine, None).await;
        let issued = house.join("line-3", &mine, Some(&token)).await;
        let peer = house.peer(&issued, NOW);
        assert_eq!((peer.device().as_str(), peer.key()), ("line-3", mine.fingerprint()));
        assert_eq!(house.identities.admits(&peer, NOW).await.unwrap(), Ok(()));
        assert_eq!(house.join("line-3", &mine, None).await, refused(Refusal::Joined));

        // A fresh one is renewed on a connection that shows it no sooner than it must be.
        let early = house.renew(("line-3", &mine), Some(&peer), NOW).await;
        assert!(matches!(early, Answer::TooEarly { .. }), "{early:?}");
        assert_eq!(
            house.renew(("line-3", &theirs), Some(&peer), NOW).await,
            refused(Refusal::Unknown)
        );
        let due = NOW + Duration::days(7);
        let issued = house.renew(("line-3", &mine), Some(&peer), due).await;
        let renewed = house.peer(&issued, due);
        assert!(house.identities.admits(&renewed, due).await.unwrap().is_ok());
        // It was switched off for months.
        let late = NOW + Duration::days(100);
        assert_eq!(house.identities.admits(&renewed, late).await.unwrap(), Err(Refusal::Lapsed));
        let issued = house.renew(("line-3", &mine), None, late).await;
        let last = house.peer(&issued, late);

        let another = house.token().await;
        assert_eq!(house.join("line-3", &theirs, Some(&another)).await, refused(Refusal::OtherKey));
        assert_eq!(
            house.join("line-4", &mine, Some(&another)).await,
            refused(Refusal::KeyElsewhere)
        );
        assert!(house.judge("line-3", Judgement::Revoke, &mine).await.unwrap());
        assert!(house.judge("line-3", Judgement::Revoke, &mine).await.unwrap());
        assert_eq!(house.standing("line-3").await, Standing::Revoked);
        assert_eq!(house.identities.admits(&last, late).await.unwrap(), Err(Refusal::Revoked));
        assert_eq!(house.renew(("line-3", &mine), None, late).await, refused(Refusal::Revoked));
        // Nor under another name.
        assert_eq!(
            house.join("line-4", &mine, Some(&another)).await,
            refused(Refusal::KeyElsewhere)
        );
        assert_eq!(house.join("line-3", &theirs, Some(&another)).await, WAIT);

        // Who is removed is forgotten, with his keys.
        house.registry.remove(&By::ADMINISTRATOR, &"line-3".parse().unwrap()).await.unwrap();
        assert!(matches!(house.identities.get("line-3").await, Err(Error::Missing(_))));
        let another = house.token().await;
        assert_eq!(house.join("line-4", &mine, Some(&another)).await, WAIT);
        house.registry.remove(&By::ADMINISTRATOR, &"line-4".parse().unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn who_is_listed_need_not_wait_and_who_was_here_before_keeps_what_it_told() {
        let house = house().await;
        let (mine, theirs) = (key(), key());
        let entry = |device: &str, key: Option<&DeviceKey>| Entry {
            device: device.into(),
            key: key.map(|key| key.fingerprint().to_string()),
            serial: None,
        };
        house
            .identities
            .list(&By::ADMINISTRATOR, vec![entry("line-3", Some(&mine)), entry("line-4", None)])
            .await
            .unwrap();
        let site = "hall".to_owned();
        let new = NewDevice { name: "line-4".into(), site, labels: BTreeMap::new() };
        let password = house.registry.add(&By::ADMINISTRATOR, new, NOW).await.unwrap().password;
        let token = house.token().await;
        // Another key than the one that is listed waits, and keeps the name from nobody for ever.
        assert_eq!(house.join("line-3", &theirs, Some(&token)).await, WAIT);
        house.judge("line-3", Judgement::Decline, &theirs).await.unwrap();
        assert_eq!(house.join("line-3", &theirs, None).await, refused(Refusal::Declined));
        let token = house.token().await;
        let issued = house.join("line-4", &mine, Some(&token)).await;
        house.peer(&issued, NOW);
        let known = house.registry.get("line-4").await.unwrap();
        assert_eq!(known.row.site, "hall");
        assert!(house.registry.knows("line-4", &password).await.unwrap().is_some());
        house.judge("line-4", Judgement::Revoke, &mine).await.unwrap();
        assert!(house.registry.knows("line-4", &password).await.unwrap().is_none());
        assert!(house.registry.knows("line-4", "").await.unwrap().is_none());

        house.identities.list(&By::ADMINISTRATOR, vec![]).await.unwrap();
        assert_eq!(house.identities.listed().await.unwrap(), []);
        for odd in [
            vec![entry("line-3", None), entry("line-3", None)],
            vec![entry("admin", None)],
            vec![Entry { key: Some("x".into()), ..entry("line-3", None) }],
            vec![Entry { serial: Some("a b".into()), ..entry("line-3", None) }],
        ] {
            let listed = house.identities.list(&By::ADMINISTRATOR, odd).await;
            assert!(matches!(listed, Err(Error::Malformed(_))), "{listed:?}");
        }
    }

    #[tokio::test]
    async fn a_token_is_for_whom_it_was_made_and_can_be_taken_back() {
        let house = house().await;
        let make =
            async |new: NewToken| house.identities.make_token(&By::ADMINISTRATOR, &new, NOW).await;
        let new = NewToken {
            device: Some("line-3".into()),
            serial: Some("A-1".into()),
            hours: Some(1),
            ..NewToken::default()
        };
        let TokenMade { token, hash, expires_unix_ms, .. } = make(new).await.unwrap();
        assert_eq!(expires_unix_ms, (NOW.unix_timestamp() + 3_600) * 1_000);
        let mine = key();
        let other = refused(Refusal::Token(TokenRefusal::OtherDevice));
        assert_eq!(house.join("line-4", &mine, Some(&token)).await, other);
        let other = refused(Refusal::Token(TokenRefusal::OtherSerial));
        assert_eq!(house.join("line-3", &mine, Some(&token)).await, other);
        let kept = house.identities.tokens_after("", 9).await.unwrap();
        assert_eq!((kept.len(), kept[0].spent_by.as_deref()), (1, None));
        let asked = JoinRequest {
            token: Some(token.clone()),
            request: request("line-3", &mine),
            serial: Some("A-1".parse().unwrap()),
        };
        let late = NOW + Duration::hours(1);
        let answer = house.identities.join(&asked, late).await.unwrap();
        assert_eq!(answer, refused(Refusal::Token(TokenRefusal::Expired(late))));
        assert_eq!(house.identities.join(&asked, NOW).await.unwrap(), WAIT);
        let kept = house.identities.tokens_after("", 9).await.unwrap();
        assert_eq!(kept[0].spent_by.as_deref(), Some("line-3"));
        assert_eq!(house.identities.get("line-3").await.unwrap().serial, asked.serial);

        house.identities.take_token_back(&By::ADMINISTRATOR, &hash).await.unwrap();
        assert!(matches!(
            house.identities.take_token_back(&By::ADMINISTRATOR, &hash).await,
            Err(Error::Missing(_))
        ));
        let unknown = refused(Refusal::Token(TokenRefusal::Unknown));
        assert_eq!(house.join("line-5", &key(), Some(&token)).await, unknown);
        let misspelt = house.join("line-5", &mine, Some("lsjoin_x")).await;
        assert!(matches!(misspelt, Answer::Refused { .. }), "{misspelt:?}");
        for odd in [
            NewToken { hours: Some(0), ..NewToken::default() },
            NewToken { hours: Some(721), ..NewToken::default() },
            NewToken { device: Some("admin".into()), ..NewToken::default() },
        ] {
            assert!(matches!(make(odd).await, Err(Error::Malformed(_))));
        }
    }

    #[tokio::test]
    async fn who_asks_by_one_key_again_and_again_is_told_to_wait() {
        let (house, mine) = (house().await, key());
        let asked = JoinRequest { token: None, request: request("line-3", &mine), serial: None };
        let mut answers = Vec::new();
        for _ in 0..99 {
            answers.push(house.identities.join(&asked, NOW).await);
        }
        assert!(answers[0].is_ok());
        assert!(matches!(answers.last(), Some(Err(Error::TooOften(_)))));
    }
}
