//! What may happen to a device's identity: each event in each standing, and whatever comes in any order.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_identity::{
    Ask, Authority, BARRED_MAX, CertificateRequest, Claim, DeviceKey, Effect, Event, Fingerprint,
    Held, Identity, JoinToken, Lifetime, Listed, Peer, Redeemed, Refusal, Roots, Seen, Serial,
    Standing, TokenRecord, TokenRefusal, Validity, Verdict, Way, admit, redeem, step,
};
use proptest::prelude::*;
use ring::rand::SystemRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = time::macros::datetime!(2026-11-27 12:00:00 UTC);
const GRACE: Duration = Duration::days(180);

/// Keys by letter, each with the certificate of `line-3` that was made for it at `NOW`.
static KEYS: LazyLock<Vec<Peer>> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let authority = Authority::make("Plant 4", &[], NOW, &random).unwrap();
    let roots = Roots::of_fleet(authority.pem()).unwrap();
    let peer = |_| {
        let key = DeviceKey::generate(&random).unwrap();
        let request = CertificateRequest::sign(&"line-3".parse().unwrap(), &key, &random).unwrap();
        let request = CertificateRequest::parse(&request).unwrap();
        let issued =
            authority.issue(&request, Lifetime::of_days(9).unwrap(), NOW, &random).unwrap();
        let (_, der) = pem_rfc7468::decode_vec(issued.pem.as_bytes()).unwrap();
        roots.verify(&[&der], NOW).unwrap()
    };
    (0..BARRED_MAX + 3).map(peer).collect()
});

fn key(letter: usize) -> Fingerprint {
    KEYS[letter].key()
}

fn held(seen: Seen) -> Option<Held> {
    Some(Held { serial: KEYS[0].serial().clone(), validity: KEYS[0].validity(), seen })
}

fn record() -> TokenRecord {
    let token = JoinToken::draw(&SystemRandom::new()).unwrap();
    TokenRecord { hash: token.hash(), expires: NOW, device: None, serial: None, spent: None }
}

fn asks(letter: usize, token: Option<Result<Redeemed, TokenRefusal>>, listed: Listed) -> Event {
    let claim = Claim { device: "line-3".parse().unwrap(), key: key(letter), serial: None };
    Event::Joins(Ask { claim, token, listed, elsewhere: false })
}

fn standings() -> Vec<(&'static str, Standing)> {
    use Standing::*;
    let key = key(0);
    vec![
        ("unknown", Unknown),
        ("pending", Pending { key, lapsed: None }),
        ("pending, lapsed", Pending { key, lapsed: held(Seen::Yes) }),
        ("accepted", Accepted { key, held: None }),
        ("accepted, sent", Accepted { key, held: held(Seen::No) }),
        ("accepted, shown", Accepted { key, held: held(Seen::Yes) }),
        ("declined", Declined { key }),
        ("revoked", Revoked),
        ("quarantined", Quarantined { key, held: held(Seen::Yes) }),
    ]
}

fn name_of(standing: &Standing) -> &'static str {
    match standings().iter().find(|(_, known)| known == standing) {
        Some((name, _)) => name,
        None => match standing {
            Standing::Pending { .. } => "pending, another",
            _ => "accepted, another",
        },
    }
}

fn short(effect: &Effect) -> String {
    match effect {
        Effect::Issue => "issue".into(),
        Effect::Wait => "wait".into(),
        Effect::TooEarly(_) => "too early".into(),
        Effect::Refuse(Refusal::Token(_)) => "no: Token".into(),
        Effect::Refuse(refusal) => format!("no: {refusal:?}"),
        Effect::Spend(_) => "spend".into(),
        Effect::Disconnect => "disconnect".into(),
        Effect::Tell => "tell".into(),
    }
}

/// What each standing of key A becomes.
fn table(event: &Event, after: Duration) -> String {
    let mut text = String::new();
    for (name, standing) in standings() {
        let mut before = Identity { standing, ..Identity::default() };
        if before.standing == Standing::Revoked {
            before.barred.insert(key(0));
        }
        let (next, effects) = step(before.clone(), event.clone(), NOW + after, GRACE);
        let effects: Vec<String> = effects.iter().map(short).collect();
        let to = if next == before { "stays" } else { name_of(&next.standing) };
        text += &format!("{name:16} {to:18} {}\n", effects.join(", "));
    }
    text
}

#[track_caller]
fn check(event: &Event, after: Duration, expected: &str) {
    let trimmed = |text: &str| -> Vec<String> {
        text.trim().lines().map(|line| line.trim().to_owned()).collect()
    };
    let found = table(event, after);
    assert_eq!(trimmed(&found), trimmed(expected), "{event:?}\n{found}");
}

#[test]
fn a_device_joins_with_a_good_token_and_waits() {
    check(
        &asks(0, Some(Ok(Redeemed::Now(record()))), Listed::No),
        Duration::ZERO,
        "
        unknown          pending            spend, wait, tell
        pending          stays              wait
        pending, lapsed  stays              wait
        accepted         stays              issue
        accepted, sent   stays              issue
        accepted, shown  stays              no: Joined
        declined         stays              no: Declined
        revoked          stays              no: Revoked
        quarantined      stays              no: Quarantined
    ",
    );
}

#[test]
fn a_device_that_is_listed_does_not_wait() {
    check(
        &asks(0, Some(Ok(Redeemed::Now(record()))), Listed::Yes),
        Duration::ZERO,
        "
        unknown          accepted           spend, issue
        pending          stays              wait
        pending, lapsed  stays              wait
        accepted         stays              issue
        accepted, sent   stays              issue
        accepted, shown  stays              no: Joined
        declined         stays              no: Declined
        revoked          stays              no: Revoked
        quarantined      stays              no: Quarantined
    ",
    );
}

#[test]
fn who_has_joined_asks_again_with_the_same_token_or_none() {
    for token in [Some(Ok(Redeemed::Before)), None, Some(Err(TokenRefusal::Expired(NOW)))] {
        let unknown = match &token {
            Some(Ok(_)) => "no: Removed",
            Some(Err(_)) => "no: Token",
            None => "no: NoToken",
        };
        check(
            &asks(0, token, Listed::Yes),
            Duration::ZERO,
            &format!(
                "
            unknown          stays              {unknown}
            pending          stays              wait
            pending, lapsed  stays              wait
            accepted         stays              issue
            accepted, sent   stays              issue
            accepted, shown  stays              no: Joined
            declined         stays              no: Declined
            revoked          stays              no: Revoked
            quarantined      stays              no: Quarantined
        "
            ),
        );
    }
}

#[test]
fn another_key_never_takes_a_name_without_a_person() {
    for listed in [Listed::No, Listed::Yes] {
        let unknown = match listed {
            Listed::No => "pending, another   spend, wait, tell",
            Listed::Yes => "accepted, another  spend, issue",
        };
        check(
            &asks(1, Some(Ok(Redeemed::Now(record()))), listed),
            Duration::ZERO,
            &format!(
                "
            unknown          {unknown}
            pending          stays              no: OtherKey, tell
            pending, lapsed  stays              no: OtherKey, tell
            accepted         stays              no: OtherKey, tell
            accepted, sent   stays              no: OtherKey, tell
            accepted, shown  stays              no: OtherKey, tell
            declined         pending, another   spend, wait, tell
            revoked          pending, another   spend, wait, tell
            quarantined      stays              no: OtherKey, tell
        "
            ),
        );
    }
    let refused = |said: &str| -> String {
        standings()
            .iter()
            .map(|(name, _)| format!("{name:16} stays              no: {said}\n"))
            .collect()
    };
    for token in [TokenRefusal::Spent, TokenRefusal::OtherSerial, TokenRefusal::Unknown] {
        check(&asks(1, Some(Err(token)), Listed::Yes), Duration::ZERO, &refused("Token"));
    }
    check(&asks(1, None, Listed::Yes), Duration::ZERO, &refused("NoToken"));
    let Event::Joins(ask) = asks(1, Some(Ok(Redeemed::Now(record()))), Listed::Yes) else {
        panic!()
    };
    let copied = Event::Joins(Ask { elsewhere: true, ..ask });
    check(&copied, Duration::ZERO, &refused("KeyElsewhere"));
}

#[test]
fn a_certificate_is_renewed_when_two_thirds_of_it_are_over_and_for_a_while_after_its_end() {
    let rest = "
        declined         stays              no: Declined
        revoked          stays              no: Revoked
        quarantined      stays              no: Quarantined
    ";
    for day in [0, 5] {
        check(
            &Event::Renews(key(0), Way::Session),
            Duration::days(day),
            &format!(
                "
            unknown          stays              no: Unknown
            pending          stays              wait
            pending, lapsed  accepted, shown    issue
            accepted         stays              issue
            accepted, sent   stays              issue
            accepted, shown  stays              too early{rest}"
            ),
        );
    }
    // Before it begins, because the server's clock was set back since, it is of no use.
    for day in [-2, 6, 9, 10, 189] {
        check(
            &Event::Renews(key(0), Way::Session),
            Duration::days(day),
            &format!(
                "
            unknown          stays              no: Unknown
            pending          stays              wait
            pending, lapsed  accepted, shown    issue
            accepted         stays              issue
            accepted, sent   stays              issue
            accepted, shown  stays              issue{rest}"
            ),
        );
    }
    for day in [190, 9_999] {
        check(
            &Event::Renews(key(0), Way::Session),
            Duration::days(day),
            &format!(
                "
            unknown          stays              no: Unknown
            pending          stays              wait
            pending, lapsed  stays              wait
            accepted         stays              issue
            accepted, sent   pending, another   wait, tell
            accepted, shown  pending, lapsed    wait, tell{rest}"
            ),
        );
    }
    check(
        &Event::Renews(key(1), Way::Request),
        Duration::days(7),
        "
        unknown          stays              no: Unknown
        pending          stays              no: Unknown
        pending, lapsed  stays              no: Unknown
        accepted         stays              no: Unknown
        accepted, sent   stays              no: Unknown
        accepted, shown  stays              no: Unknown
        declined         stays              no: Unknown
        revoked          stays              no: Unknown
        quarantined      stays              no: Unknown
    ",
    );
}

#[test]
fn who_has_lost_a_certificate_is_given_another_by_its_key() {
    for day in [0, 5, 9, 189] {
        let by_request = table(&Event::Renews(key(0), Way::Request), Duration::days(day));
        let by_session = table(&Event::Renews(key(0), Way::Session), Duration::days(9));
        assert_eq!(by_request, by_session, "day {day}");
    }
    let over = Duration::days(190);
    let [one, other] =
        [Way::Request, Way::Session].map(|way| table(&Event::Renews(key(0), way), over));
    assert_eq!(one, other);
}

#[test]
fn a_person_accepts_the_key_that_was_shown_and_no_other() {
    check(
        &Event::Judged(Verdict::Accepts(key(0))),
        Duration::ZERO,
        "
        unknown          stays              no: Changed
        pending          accepted
        pending, lapsed  accepted
        accepted         stays              no: Changed
        accepted, sent   stays              no: Changed
        accepted, shown  stays              no: Changed
        declined         accepted
        revoked          stays              no: Changed
        quarantined      stays              no: Changed
    ",
    );
    check(
        &Event::Judged(Verdict::Declines(key(0))),
        Duration::ZERO,
        "
        unknown          stays              no: Changed
        pending          declined
        pending, lapsed  declined
        accepted         stays              no: Changed
        accepted, sent   stays              no: Changed
        accepted, shown  stays              no: Changed
        declined         stays              no: Changed
        revoked          stays              no: Changed
        quarantined      stays              no: Changed
    ",
    );
    let changed: String = standings()
        .iter()
        .map(|(name, _)| format!("{name:16} stays              no: Changed\n"))
        .collect();
    for verdict in [Verdict::Accepts(key(1)), Verdict::Declines(key(1))] {
        check(&Event::Judged(verdict), Duration::ZERO, &changed);
    }
}

#[test]
fn what_is_revoked_or_copied_is_disconnected() {
    check(
        &Event::Judged(Verdict::Revokes),
        Duration::ZERO,
        "
        unknown          stays              no: Changed
        pending          revoked            disconnect
        pending, lapsed  revoked            disconnect
        accepted         revoked            disconnect
        accepted, sent   revoked            disconnect
        accepted, shown  revoked            disconnect
        declined         revoked            disconnect
        revoked          stays              disconnect
        quarantined      revoked            disconnect
    ",
    );
    check(
        &Event::Judged(Verdict::Copied),
        Duration::ZERO,
        "
        unknown          stays
        pending          stays
        pending, lapsed  stays
        accepted         accepted, another  disconnect, tell
        accepted, sent   accepted, another  disconnect, tell
        accepted, shown  quarantined        disconnect, tell
        declined         stays
        revoked          stays
        quarantined      stays              disconnect
    ",
    );
    check(
        &Event::Judged(Verdict::Resets),
        Duration::ZERO,
        "
        unknown          stays              no: Changed
        pending          stays              no: Changed
        pending, lapsed  stays              no: Changed
        accepted         stays              no: Changed
        accepted, sent   stays              no: Changed
        accepted, shown  stays              no: Changed
        declined         stays              no: Changed
        revoked          stays              no: Changed
        quarantined      accepted, shown
    ",
    );
}

#[test]
fn what_was_sent_counts_once_it_is_shown() {
    let Some(Held { serial, validity, .. }) = held(Seen::No) else { panic!() };
    check(
        &Event::Issued(serial.clone(), validity),
        Duration::ZERO,
        "
        unknown          stays
        pending          stays
        pending, lapsed  stays
        accepted         accepted, sent
        accepted, sent   stays
        accepted, shown  accepted, sent
        declined         stays
        revoked          stays
        quarantined      stays
    ",
    );
    check(
        &Event::Connected(serial),
        Duration::ZERO,
        "
        unknown          stays
        pending          stays
        pending, lapsed  stays
        accepted         stays
        accepted, sent   accepted, shown
        accepted, shown  stays
        declined         stays
        revoked          stays
        quarantined      stays
    ",
    );
    let all: String = standings().iter().map(|(name, _)| format!("{name:16} stays\n")).collect();
    check(&Event::Connected(KEYS[1].serial().clone()), Duration::ZERO, &all);
}

#[test]
fn only_who_is_accepted_connects_and_only_in_time() {
    let admitted = |standing: &Standing, letter: usize, day: i64| {
        let identity = Identity { standing: standing.clone(), ..Identity::default() };
        admit(&identity, &KEYS[letter], NOW + Duration::days(day))
    };
    for (name, standing) in standings() {
        let right = admitted(&standing, 0, 1);
        assert_eq!(right.is_ok(), name.starts_with("accepted"), "{name}: {right:?}");
        assert!(admitted(&standing, 1, 1).is_err(), "{name}");
        assert!(
            admitted(&standing, 0, 10).is_err() && admitted(&standing, 0, -1).is_err(),
            "{name}"
        );
        let barred = Identity { standing, barred: BTreeSet::from([key(0)]) };
        assert_eq!(admit(&barred, &KEYS[0], NOW), Err(Refusal::Revoked), "{name}");
    }
}

#[test]
fn an_identity_is_kept_and_read_back() {
    for (name, standing) in standings() {
        let whole = Identity { standing, barred: BTreeSet::from([key(1)]) };
        let kept = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&kept).unwrap(), whole, "{name}");
    }
    assert!(serde_json::from_str::<Identity>(r#"{"standing":"trusted","barred":[]}"#).is_err());
}

#[test]
fn a_name_whose_keys_are_revoked_over_and_over_comes_to_an_end() {
    let mut identity = Identity::default();
    for letter in 0..BARRED_MAX {
        for event in [
            asks(letter, Some(Ok(Redeemed::Now(record()))), Listed::No),
            Event::Judged(Verdict::Accepts(key(letter))),
            Event::Judged(Verdict::Revokes),
        ] {
            identity = step(identity, event, NOW, GRACE).0;
        }
    }
    assert_eq!(identity.barred.len(), BARRED_MAX);
    let next = asks(BARRED_MAX, Some(Ok(Redeemed::Now(record()))), Listed::Yes);
    let (after, effects) = step(identity.clone(), next, NOW, GRACE);
    assert_eq!((after, effects), (identity, vec![Effect::Refuse(Refusal::Barred), Effect::Tell]));
}

/// Three machines, tokens, a person and a clock that jumps, in any order.
#[derive(Debug, Clone)]
enum Move {
    Joins { letter: usize, token: usize, listed: bool },
    Renews(usize, Way),
    Shows(usize),
    Person(usize, usize),
    Copied,
    Clock(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0_usize..3, 0_usize..5, any::<bool>())
            .prop_map(|(letter, token, listed)| Move::Joins { letter, token, listed }),
        3 => (0_usize..3, any::<bool>()).prop_map(|(letter, shown)| {
            Move::Renews(letter, if shown { Way::Session } else { Way::Request })
        }),
        3 => (0_usize..3).prop_map(Move::Shows),
        4 => (0_usize..4, 0_usize..3).prop_map(|(what, letter)| Move::Person(what, letter)),
        1 => Just(Move::Copied),
        1 => (-20_i64..400).prop_map(Move::Clock),
    ];
    proptest::collection::vec(one, 1..60)
}

proptest! {
    #[test]
    fn in_no_order_does_anybody_come_in_who_must_not(moves in moves()) {
        let tokens: Vec<JoinToken> =
            (0..4).map(|_| JoinToken::draw(&SystemRandom::new()).unwrap()).collect();
        let expires = NOW + Duration::days(30);
        let mut kept: BTreeMap<usize, TokenRecord> = (0..4)
            .map(|at| (at, TokenRecord { hash: tokens[at].hash(), expires, ..record() }))
            .collect();
        let mut now = NOW;
        let mut identity = Identity::default();
        // Facts beside the machine: who was let come in, by whom, and who was thrown out.
        let (mut let_in, mut revoked) = (BTreeSet::new(), BTreeSet::new());
        let mut joined_with: BTreeMap<usize, Fingerprint> = BTreeMap::new();
        let mut is_copied = false;
        for next in moves {
            let asking = match next {
                Move::Joins { letter, .. } | Move::Renews(letter, _) => Some(letter),
                _ => None,
            };
            let event = match next {
                Move::Joins { letter, token, listed } => {
                    let claim = Claim { device: "line-3".parse().unwrap(), key: key(letter), serial: None };
                    let token = tokens.get(token).map(|text| {
                        redeem(kept.get(&token), text, &claim, now)
                    });
                    let listed = if listed { Listed::Yes } else { Listed::No };
                    Event::Joins(Ask { claim, token, listed, elsewhere: false })
                }
                Move::Renews(letter, way) => Event::Renews(key(letter), way),
                Move::Shows(letter) => Event::Connected(KEYS[letter].serial().clone()),
                Move::Person(0, letter) => Event::Judged(Verdict::Accepts(key(letter))),
                Move::Person(1, letter) => Event::Judged(Verdict::Declines(key(letter))),
                Move::Person(2, _) => Event::Judged(Verdict::Revokes),
                Move::Person(..) => Event::Judged(Verdict::Resets),
                Move::Copied => Event::Judged(Verdict::Copied),
                Move::Clock(days) => {
                    now = NOW + Duration::days(days);
                    continue;
                }
            };
            let before = identity.clone();
            let effects;
            (identity, effects) = step(identity, event.clone(), now, GRACE);
            let accepted = |identity: &Identity| match identity.standing {
                Standing::Accepted { key, .. } => Some(key),
                _ => None,
            };
            // Who is accepted was accepted by a person who saw this key, or was listed and new.
            if let (None, Some(now_in)) = (accepted(&before), accepted(&identity)) {
                let by_person = matches!(event, Event::Judged(Verdict::Accepts(seen)) if seen == now_in);
                let by_list = before == Identity::default()
                    && matches!(&event, Event::Joins(ask) if ask.listed == Listed::Yes && ask.claim.key == now_in);
                let again = let_in.contains(&now_in)
                    && (event == Event::Judged(Verdict::Resets) || matches!(event, Event::Renews(by, _) if by == now_in));
                prop_assert!(by_person || by_list || again, "{event:?} let {now_in} in");
                let_in.insert(now_in);
            }
            if let (Some(was), Some(is)) = (accepted(&before), accepted(&identity)) {
                prop_assert_eq!(was, is, "a key was replaced by {:?}", event);
            }
            if event == Event::Judged(Verdict::Revokes)
                && let Standing::Pending { key, .. } | Standing::Accepted { key, .. }
                | Standing::Declined { key } | Standing::Quarantined { key, .. } = before.standing
            {
                revoked.insert(key);
                prop_assert!(effects.contains(&Effect::Disconnect));
            }
            is_copied = match (&event, &identity.standing) {
                (Event::Judged(Verdict::Copied), Standing::Quarantined { .. }) => true,
                (Event::Judged(Verdict::Resets | Verdict::Revokes), _) => false,
                _ => is_copied,
            };
            prop_assert_eq!(is_copied, matches!(identity.standing, Standing::Quarantined { .. }));
            for effect in &effects {
                match effect {
                    Effect::Issue => {
                        let letter = asking.unwrap();
                        prop_assert_eq!(accepted(&identity), Some(key(letter)));
                        prop_assert!(!revoked.contains(&key(letter)), "a revoked key has a certificate");
                        prop_assert!(!is_copied);
                    }
                    Effect::Spend(spent) => {
                        let (at, old) = kept.iter().find(|(_, old)| old.hash == spent.hash).unwrap();
                        prop_assert!(old.spent.is_none() && now < old.expires);
                        let at = *at;
                        prop_assert!(joined_with.insert(at, key(asking.unwrap())).is_none());
                        kept.insert(at, spent.clone());
                    }
                    Effect::Wait | Effect::TooEarly(_) | Effect::Refuse(_) | Effect::Disconnect
                    | Effect::Tell => {}
                }
            }
            if effects.contains(&Effect::Issue) {
                let letter = asking.unwrap();
                let validity = Validity::new(now, now + Duration::days(9)).unwrap();
                let serial: Serial = KEYS[letter].serial().clone();
                identity = step(identity, Event::Issued(serial, validity), now, GRACE).0;
            }
            prop_assert!(identity.barred.is_superset(&revoked));
            for (letter, peer) in KEYS.iter().take(3).enumerate() {
                let is_in = admit(&identity, peer, now).is_ok();
                prop_assert!(!is_in || let_in.contains(&key(letter)));
                prop_assert!(!is_in || !revoked.contains(&key(letter)), "a revoked key is let in");
                prop_assert!(!is_in || (!is_copied && peer.validity().holds(now)));
            }
        }
    }
}
