//! What the driver of updates tells the slots of a device, and what it does not.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{PATIENCE, Vendor, echo, in_days};
use lineside_agent::fleet;
use lineside_agent::store::Store;
use lineside_agent::update::acceptance::Acceptance;
use lineside_agent::update::blobs::Blobs;
use lineside_agent::update::driver::{InstallError, Parts, Updates};
use lineside_agent::update::journal::Journal;
use lineside_agent::update::slot::Order;
use lineside_bundle::parcel::Papers;
use lineside_bundle::{BuiltBundle, Digest};
use lineside_rules::{ShadowLimits, Verdict};
use lineside_trust::{
    AssignmentSpec, Delegation, KeyPair, ReleasesDraft, Root, RootSpec, TargetsSpec,
    sign_assignment, sign_root, sign_targets, verify_releases,
};
use lineside_update::{Event, SlotState, Tally, Target, step};
use lineside_wire::name::SlotName;
use lineside_wire::v1::Documents;
use ring::rand::SystemRandom;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

/// A device with the driver of its updates, and slots that only listen.
struct House {
    device: kit::Device,
    store: Store,
    journal: Journal,
    blobs: Blobs,
    updates: Updates,
    told: BTreeMap<SlotName, mpsc::Receiver<Order>>,
    refused: UnboundedReceiver<String>,
}

impl House {
    fn new(vendor: &Vendor, slots: &[&str]) -> House {
        let device = kit::Device::new(vendor, 0);
        let store = Store::open(&device.folder.path().join("state")).unwrap();
        House::start(device, store, slots)
    }

    /// The same device after its driver has been started once more.
    fn restarted(self) -> House {
        let House { device, store, told, .. } = self;
        House::start(device, store, &told.keys().map(SlotName::as_str).collect::<Vec<_>>())
    }

    fn start(device: kit::Device, store: Store, slots: &[&str]) -> House {
        let identity = fleet::Device::read(&device.folder.path().join("device")).unwrap();
        let state = device.folder.path().join("state");
        let journal = Journal::open(store.database()).unwrap();
        let blobs = Blobs::open(&state).unwrap();
        let (mut ways, mut told) = (BTreeMap::new(), BTreeMap::new());
        for slot in slots {
            let (way, targets) = mpsc::channel(16);
            ways.insert(slot.parse().unwrap(), way);
            told.insert(slot.parse().unwrap(), targets);
        }
        let (say, refused) = mpsc::unbounded_channel();
        let updates = Updates::start(Parts {
            acceptance: Acceptance::restore(&identity, journal.clone()).unwrap(),
            journal: journal.clone(),
            blobs: blobs.clone(),
            slots: ways,
            refused: Box::new(move |reason| say.send(reason.to_owned()).unwrap()),
        });
        House { device, store, journal, blobs, updates, told, refused }
    }

    async fn order(&mut self, slot: &str) -> Order {
        let orders = self.told.get_mut(&slot.parse::<SlotName>().unwrap()).unwrap();
        timeout(PATIENCE, orders.recv()).await.unwrap().unwrap()
    }

    /// The next release that a slot is told to hold, or to leave.
    async fn told(&mut self, slot: &str) -> String {
        loop {
            match self.order(slot).await {
                Order::Assigned(assigned) => return assigned.target.release.to_string(),
                Order::Withdrawn(withdrawn) => {
                    return format!("not {}: {}", withdrawn.release, withdrawn.reason);
                }
                Order::Disowned(_) => {}
            }
        }
    }

    /// For which releases nobody vouches, as a slot is told next, before it is told anything else.
    async fn disowned(&mut self, slot: &str) -> Vec<(Digest, String)> {
        match self.order(slot).await {
            Order::Disowned(releases) => releases.into_iter().collect(),
            other => panic!("{other:?}"),
        }
    }

    /// With which version a person has said of what a slot is told to hold next that it be tried again.
    async fn again(&mut self, slot: &str) -> u64 {
        loop {
            match self.order(slot).await {
                Order::Assigned(assigned) => return assigned.again,
                Order::Disowned(_) => {}
                Order::Withdrawn(withdrawn) => panic!("{withdrawn:?}"),
            }
        }
    }

    /// Whether no slot is told to hold or to leave anything.
    fn is_silent(&mut self) -> bool {
        let told = self.told.values_mut();
        let mut orders = told.flat_map(|told| iter::from_fn(|| told.try_recv().ok()));
        orders.all(|order| matches!(order, Order::Disowned(_)))
    }

    /// Has a slot hold what comes of these events.
    fn holds(&self, slot: &str, events: impl IntoIterator<Item = Event>) {
        let state = events
            .into_iter()
            .fold(SlotState::default(), |state, event| step(state, event, Duration::ZERO).0);
        self.journal.write_slot(&slot.parse().unwrap(), &state).unwrap();
    }

    async fn refused(&mut self) -> String {
        timeout(PATIENCE, self.refused.recv()).await.unwrap().unwrap()
    }

    fn blobs_on_disk(&self) -> usize {
        fs::read_dir(self.blobs.folder()).unwrap().count()
    }
}

/// Three releases; whoever has had the third may go no lower.
fn bundles() -> [BuiltBundle; 3] {
    ["1", "2", "3"].map(|version| echo(version, ""))
}

fn papers(
    vendor: &Vendor,
    bundles: &[BuiltBundle; 3],
    version: u64,
    slots: &[(&str, &BuiltBundle)],
) -> Papers {
    let mut draft = ReleasesDraft::after(None);
    for (bundle, floor) in bundles.iter().zip([None, None, Some(3)]) {
        draft.add(bundle.release_id(), floor).unwrap();
    }
    let slots = slots.iter().map(|(slot, bundle)| (slot.parse().unwrap(), bundle.release_id()));
    let spec = AssignmentSpec {
        device: "line-3".parse().unwrap(),
        version,
        expires: in_days(30),
        slots: slots.collect(),
        approved: BTreeSet::new(),
        again: BTreeMap::new(),
    };
    let list = draft.sign(in_days(200), &[&vendor.releaser]);
    Papers {
        metadata: vendor.metadata(&list, &[]),
        assignment: sign_assignment(&spec, &vendor.director),
        ..Papers::default()
    }
}

/// What happens in a slot until `bundle` is on trial there.
fn tried(bundle: &BuiltBundle) -> Vec<Event> {
    let release = bundle.release_id().digest;
    let target = Target { release: bundle.release_id(), number: 1, floor: 0 };
    let (limits, shadow) = (Box::default(), Box::default());
    let (policy, took) = (ShadowLimits::default(), String::new());
    vec![
        Event::Assigned { target, floor: 0 },
        Event::Downloaded { release, how: String::new() },
        Event::Staged { release, limits, shadow, policy, took },
        Event::Consented { release },
        Event::Placed { release },
    ]
}

/// The same until it is committed.
fn committed(bundle: &BuiltBundle) -> Vec<Event> {
    let release = bundle.release_id().digest;
    let passed = Event::Observed { release, seen: Tally::default(), verdict: Verdict::Passed };
    tried(bundle).into_iter().chain([passed]).collect()
}

/// A list of releases with these on it, which comes after `before` lists with others.
fn list(vendor: &Vendor, before: u32, bundles: &[&BuiltBundle]) -> Vec<u8> {
    let root = Root::pin(&vendor.root).unwrap();
    let sign = |draft: ReleasesDraft| draft.sign(in_days(200), &[&vendor.releaser]);
    let mut draft = ReleasesDraft::after(None);
    for _ in 0..before {
        let list = sign(draft);
        let list = verify_releases(&root, &list, None, OffsetDateTime::now_utc()).unwrap();
        draft = ReleasesDraft::after(Some(&list));
    }
    for bundle in bundles {
        draft.add(bundle.release_id(), None).unwrap();
    }
    sign(draft)
}

/// A device with two slots: one that has had two releases, and one in which the first one stands in.
fn house_with_history(vendor: &Vendor, first: &BuiltBundle, second: &BuiltBundle) -> House {
    let house = House::new(vendor, &["a", "b"]);
    house.holds("a", [committed(first), committed(second)].concat());
    let assigned = committed(second).swap_remove(0);
    house.holds("b", tried(first).into_iter().chain([assigned]));
    house
}

fn documents(papers: Papers) -> Documents {
    let Papers { metadata, assignment, files, .. } = papers;
    Documents { metadata, assignment, files }
}

#[tokio::test]
async fn a_person_approves_what_he_has_looked_at_and_nothing_that_has_come_since() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = House::new(&vendor, &["a"]);
    for (version, bundle) in [(1, first), (2, second)] {
        assert!(house.updates.deliver(documents(papers(
            &vendor,
            &bundles,
            version,
            &[("a", bundle)]
        ))));
        assert_eq!(house.told("a").await, bundle.release_id().to_string());
    }
    let slot: SlotName = "a".parse().unwrap();
    let [first, second] = [first, second].map(|bundle| bundle.release_id().digest);
    let error = house.updates.approve(slot.clone(), first).await.unwrap_err().to_string();
    assert!(error.contains("echo v2 is assigned to slot a by now"), "{error}");
    // Who has gone before it was his turn has approved nothing.
    tokio::select! {
        biased;
        answer = house.updates.approve(slot.clone(), second) => panic!("{answer:?}"),
        () = std::future::ready(()) => {}
    }
    house.updates.approve(slot.clone(), first).await.unwrap_err();
    assert!(house.is_silent());
    assert_eq!(house.updates.approve(slot, second).await.unwrap(), "echo v2");
    assert!(matches!(house.order("a").await, Order::Assigned(assigned) if assigned.approved));
}

#[tokio::test]
async fn a_slot_is_told_what_changes_for_it_and_a_refusal_is_said_once() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = House::new(&vendor, &["a", "b"]);
    let both = papers(&vendor, &bundles, 1, &[("a", first), ("b", first)]);
    assert!(house.updates.deliver(documents(both)));
    assert_eq!(house.told("a").await, "echo v1");
    assert_eq!(house.told("b").await, "echo v1");
    let forged = documents(papers(&Vendor::new(), &bundles, 2, &[("a", second)]));
    assert!(house.updates.deliver(forged.clone()));
    let reason = house.refused().await;
    assert!(reason.contains("not signed by enough of its keys"), "{reason}");
    assert_eq!(house.updates.trouble(), Some(reason));
    assert!(house.updates.deliver(forged));
    let next = papers(&vendor, &bundles, 2, &[("a", second), ("b", first)]);
    assert!(house.updates.deliver(documents(next)));
    assert_eq!(house.told("a").await, "echo v2");
    assert_eq!(house.updates.trouble(), None);
    assert_eq!(house.told("b").await, "echo v1", "a newer assignment names it again");
    assert!(house.is_silent(), "once for each");
    assert!(house.refused.try_recv().is_err(), "it was no news");
    drop(house.store);
}

#[tokio::test]
async fn a_slot_hears_at_once_that_it_is_to_leave_what_it_was_to_hold() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = House::new(&vendor, &["a", "b"]);
    let both = papers(&vendor, &bundles, 1, &[("a", first), ("b", second)]);
    assert!(house.updates.deliver(documents(both.clone())));
    assert_eq!(
        (house.told("a").await, house.told("b").await),
        ("echo v1".into(), "echo v2".into())
    );
    let one = papers(&vendor, &bundles, 2, &[("b", second)]);
    assert!(house.updates.deliver(documents(one)));
    assert_eq!(house.told("a").await, "not echo v1: nothing is assigned to the slot any more");
    assert_eq!(house.told("b").await, "echo v2", "a newer assignment names it again");
    // The second is taken off the list; whoever has the server goes on assigning it.
    let root = Root::pin(&vendor.root).unwrap();
    let others = |after: Option<&_>, version: &str| {
        let mut draft = ReleasesDraft::after(after);
        draft.add(echo(version, "").release_id(), None).unwrap();
        draft.sign(in_days(200), &[&vendor.releaser])
    };
    let list = others(None, "8");
    let list = verify_releases(&root, &list, None, OffsetDateTime::now_utc()).unwrap();
    let list = others(Some(&list), "9");
    let kept = papers(&vendor, &bundles, 3, &[("b", second)]);
    let kept = Papers { metadata: vendor.metadata(&list, &[]), ..kept };
    assert!(house.updates.deliver(documents(kept.clone())));
    let left = "not echo v2: no list of releases that is trusted names it any more";
    assert_eq!(house.told("b").await, left);
    assert!(house.refused().await.contains("echo/2"));
    // Said once, and once more by an agent that starts over.
    assert!(house.updates.deliver(documents(kept)));
    let both = papers(&vendor, &bundles, 4, &[("a", first)]);
    assert!(house.updates.deliver(documents(both)));
    house.refused().await;
    assert!(house.is_silent(), "nothing has changed");
}

#[tokio::test]
async fn a_slot_hears_which_of_the_releases_that_it_holds_the_list_names_no_longer_and_again() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = house_with_history(&vendor, first, second);
    let both = [("a", second), ("b", second)];
    let why = "no list of releases that is trusted names it any more".to_owned();
    let withdrawn = vec![(first.release_id().digest, why)];
    let mut version = 0;
    let mut hear = |list: Vec<u8>| {
        version += 1;
        let papers = papers(&vendor, &bundles, version, &both);
        documents(Papers { metadata: vendor.metadata(&list, &[]), ..papers })
    };
    for (before, named, disowned) in [
        (0, vec![first, second], vec![]),
        (1, vec![second], withdrawn.clone()),
        (2, vec![second], withdrawn.clone()),
        (3, vec![second, first], vec![]),
        (4, vec![second], withdrawn.clone()),
    ] {
        assert!(house.updates.deliver(hear(list(&vendor, before, &named))));
        for slot in ["a", "b"] {
            assert_eq!(house.told(slot).await, "echo v2");
            assert_eq!(house.disowned(slot).await, disowned, "{slot}, list {}", before + 1);
        }
    }
    // The slot is told so once more whenever the agent starts: the power may go before it has heard.
    let mut house = house.restarted();
    for slot in ["a", "b"] {
        assert_eq!(house.told(slot).await, "echo v2");
        assert_eq!(house.disowned(slot).await, withdrawn, "{slot}");
    }
    // Who unassigns them disowns nothing.
    let list = list(&vendor, 5, &[first, second]);
    let papers = papers(&vendor, &bundles, 9, &[]);
    let papers = Papers { metadata: vendor.metadata(&list, &[]), ..papers };
    assert!(house.updates.deliver(documents(papers)));
    for slot in ["a", "b"] {
        assert_eq!(house.told(slot).await, "not echo v2: nothing is assigned to the slot any more");
        assert_eq!(house.disowned(slot).await, []);
    }
}

#[tokio::test]
async fn whoever_approves_a_release_vouches_for_none() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = house_with_history(&vendor, first, second);
    let papers = papers(&vendor, &bundles, 1, &[("a", second)]);
    let metadata = vendor.metadata(&list(&vendor, 0, &[second]), &[]);
    assert!(house.updates.deliver(documents(Papers { metadata, ..papers })));
    assert_eq!(house.told("a").await, "echo v2");
    let disowned = house.disowned("a").await;
    assert_eq!(disowned.len(), 1);
    // What it is to hold is told to it again, for vouched for; so is the rest.
    let release = second.release_id().digest;
    house.updates.approve("a".parse().unwrap(), release).await.unwrap();
    assert!(matches!(house.order("a").await, Order::Assigned(assigned) if assigned.approved));
    assert_eq!(house.disowned("a").await, disowned);
}

#[tokio::test]
async fn what_a_person_wants_tried_again_is_told_with_its_number_after_a_start_too() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = House::new(&vendor, &["a", "b"]);
    let both = |version, again: &[(&str, u64)]| {
        let slots = [("a", first), ("b", second)]
            .map(|(slot, it)| (slot.parse().unwrap(), it.release_id()));
        let spec = AssignmentSpec {
            device: "line-3".parse().unwrap(),
            version,
            expires: in_days(30),
            slots: slots.into(),
            approved: BTreeSet::new(),
            again: again.iter().map(|(slot, wish)| (slot.parse().unwrap(), *wish)).collect(),
        };
        let assignment = sign_assignment(&spec, &vendor.director);
        documents(Papers { assignment, ..papers(&vendor, &bundles, version, &[]) })
    };
    for (version, again, of_a) in [(4, &[][..], 0), (5, &[("a", 77)], 77), (6, &[("a", 77)], 77)] {
        assert!(house.updates.deliver(both(version, again)));
        for (slot, wish) in [("a", of_a), ("b", 0)] {
            assert_eq!(house.again(slot).await, wish, "{slot}, assignment {version}");
        }
    }
    let mut house = house.restarted();
    assert_eq!((house.again("a").await, house.again("b").await), (77, 0));
    assert!(house.updates.deliver(both(7, &[("b", 7)])));
    assert_eq!((house.again("a").await, house.again("b").await), (0, 7));
}

#[tokio::test]
async fn what_a_person_wants_tried_again_is_told_as_he_said_it_whatever_a_new_director_counts_from()
{
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, ..] = &bundles;
    let mut house = House::new(&vendor, &["a"]);
    let slot: SlotName = "a".parse().unwrap();
    let says = |version, again: Option<u64>, director: &KeyPair| {
        let spec = AssignmentSpec {
            device: "line-3".parse().unwrap(),
            version,
            expires: in_days(30),
            slots: BTreeMap::from([(slot.clone(), first.release_id())]),
            approved: BTreeSet::new(),
            again: again.map(|wish| (slot.clone(), wish)).into_iter().collect(),
        };
        let assignment = sign_assignment(&spec, director);
        documents(Papers { assignment, ..papers(&vendor, &bundles, version, &[]) })
    };
    for version in [1, 2] {
        let again = (version == 2).then_some(70);
        assert!(house.updates.deliver(says(version, again, &vendor.director)));
        assert_eq!(house.again("a").await, again.unwrap_or(0));
    }
    // A new server in the place of a lost one counts from the beginning; another director of the same one
    // goes on, and repeats what was said.
    let key = || KeyPair::generate(&SystemRandom::new()).unwrap();
    let directors = [key(), key()];
    let root = |version, director: &KeyPair| {
        let spec = RootSpec {
            version,
            expires: in_days(300),
            root: (vec![vendor.person.public()], 1),
            releases: (vec![vendor.releaser.public()], 1),
            online: vendor.online.public(),
            director: director.public(),
        };
        (format!("{version}.root.json"), sign_root(&spec, &[&vendor.person]))
    };
    let roots = [root(2, &directors[0]), root(3, &directors[1])];
    // What is heard first of him may be above the numbers of the one before as well as at or below them.
    for (version, root, wish) in [(3, 0, 71), (4, 0, 71), (3, 1, 71), (5, 1, 72)] {
        let mut documents = says(version, Some(wish), &directors[root]);
        documents.metadata.push(roots[root].clone());
        assert!(house.updates.deliver(documents));
        assert_eq!(house.again("a").await, wish, "director {root}, assignment {version}");
    }
    let mut house = house.restarted();
    assert_eq!(house.again("a").await, 72);
}

#[tokio::test]
async fn an_approval_ends_where_a_person_wants_the_release_tried_again() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, ..] = &bundles;
    let mut house = House::new(&vendor, &["a"]);
    let slot: SlotName = "a".parse().unwrap();
    let says = |version, approved: bool, again: Option<u64>| {
        let spec = AssignmentSpec {
            device: "line-3".parse().unwrap(),
            version,
            expires: in_days(30),
            slots: BTreeMap::from([(slot.clone(), first.release_id())]),
            approved: approved.then(|| slot.clone()).into_iter().collect(),
            again: again.map(|wish| (slot.clone(), wish)).into_iter().collect(),
        };
        let assignment = sign_assignment(&spec, &vendor.director);
        documents(Papers { assignment, ..papers(&vendor, &bundles, version, &[]) })
    };
    let mut version = 0;
    for (approved, again, is_approved) in [
        (true, None, true),
        // What was approved once stays so, also where it is only repeated that it be tried again.
        (false, None, true),
        (false, Some(3), false),
        (true, Some(3), true),
        (false, Some(3), true),
        (true, Some(6), true),
        (false, Some(7), false),
    ] {
        version += 1;
        assert!(house.updates.deliver(says(version, approved, again)));
        loop {
            match house.order("a").await {
                Order::Assigned(assigned) => {
                    assert_eq!(assigned.approved, is_approved, "assignment {version}");
                    break;
                }
                Order::Disowned(_) => {}
                Order::Withdrawn(withdrawn) => panic!("{withdrawn:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_new_root_disowns_what_the_keys_have_signed_that_it_names_no_longer() {
    let bundles = bundles();
    let [first, second, _] = &bundles;
    let unlisted = "no list of releases that is trusted names it any more";
    let undirected = "the director who assigned it is trusted no longer";
    for (replaces_releaser, of_a, of_b) in
        [(true, Some(unlisted), unlisted), (false, None, undirected)]
    {
        let vendor = Vendor::new();
        let mut house = house_with_history(&vendor, first, second);
        let papers = papers(&vendor, &bundles, 1, &[("a", second), ("b", second)]);
        assert!(house.updates.deliver(documents(papers.clone())));
        for slot in ["a", "b"] {
            assert_eq!(house.told(slot).await, "echo v2");
            assert_eq!(house.disowned(slot).await, []);
        }
        let stranger = Vendor::new();
        let (releaser, director) = match replaces_releaser {
            true => (&stranger.releaser, &vendor.director),
            false => (&vendor.releaser, &stranger.director),
        };
        let spec = RootSpec {
            version: 2,
            expires: in_days(300),
            root: (vec![vendor.person.public()], 1),
            releases: (vec![releaser.public()], 1),
            online: vendor.online.public(),
            director: director.public(),
        };
        let root = sign_root(&spec, &[&vendor.person]);
        let mut documents = documents(papers);
        documents.metadata.push(("2.root.json".into(), root));
        assert!(house.updates.deliver(documents));
        house.refused().await;
        let left = if replaces_releaser { unlisted } else { undirected };
        let releases = [first, second].map(|bundle| bundle.release_id().digest);
        let told = |why: &str| {
            let mut told = releases.map(|release| (release, why.to_owned()));
            told.sort();
            told.to_vec()
        };
        let (of_a, of_b) = (of_a.map_or(vec![], told), told(of_b));
        for start in 0..2 {
            for (slot, disowned) in [("a", &of_a), ("b", &of_b)] {
                assert_eq!(house.told(slot).await, format!("not echo v2: {left}"), "{start}");
                assert_eq!(&house.disowned(slot).await, disowned, "{slot} {start}");
            }
            house = house.restarted();
        }
    }
}

#[tokio::test]
async fn a_list_that_is_announced_and_withheld_vouches_for_nothing() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = house_with_history(&vendor, first, second);
    let why = "no list of releases that is trusted names it any more".to_owned();
    let withdrawn = vec![(first.release_id().digest, why)];
    let both = [("a", second), ("b", second)];
    for (before, named, disowned) in
        [(0, vec![first, second], vec![]), (1, vec![second], withdrawn.clone())]
    {
        let papers = papers(&vendor, &bundles, u64::from(before) + 1, &both);
        let list = list(&vendor, before, &named);
        let papers = Papers { metadata: vendor.metadata(&list, &[]), ..papers };
        assert!(house.updates.deliver(documents(papers)));
        for slot in ["a", "b"] {
            assert_eq!(house.told(slot).await, "echo v2");
            assert_eq!(house.disowned(slot).await, disowned, "{slot}, list {}", before + 1);
        }
    }
    // Whoever has the server announces a list and holds it back: the one before goes on to count.
    let next = list(&vendor, 2, &[first, second]);
    let papers = papers(&vendor, &bundles, 3, &both);
    let mut metadata = vendor.metadata(&next, &[]);
    metadata.retain(|(name, _)| !name.ends_with("targets.json"));
    assert!(house.updates.deliver(documents(Papers { metadata, ..papers })));
    house.refused().await;
    for start in 0..2 {
        for slot in ["a", "b"] {
            if start > 0 {
                assert_eq!(house.told(slot).await, "echo v2");
            }
            assert_eq!(house.disowned(slot).await, withdrawn, "{slot}, start {start}");
        }
        house = house.restarted();
    }
}

#[tokio::test]
async fn an_older_list_under_a_new_online_key_vouches_for_nothing_and_takes_nothing_back() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = house_with_history(&vendor, first, second);
    let why = "no list of releases that is trusted names it any more".to_owned();
    let withdrawn = vec![(first.release_id().digest, why.clone())];
    let assigned = papers(&vendor, &bundles, 1, &[("a", second)]);
    let metadata = vendor.metadata(&list(&vendor, 1, &[second]), &[]);
    assert!(house.updates.deliver(documents(Papers { metadata, ..assigned.clone() })));
    assert_eq!(house.told("a").await, "echo v2");
    assert_eq!(house.disowned("a").await, withdrawn);
    let releases = withdrawn.iter().cloned().collect();
    house.holds(
        "a",
        [committed(first), committed(second), vec![Event::Disowned { releases }]].concat(),
    );
    // A newer list is taken although the rest of its delivery is refused: it counts as well.
    let forged = sign_assignment(
        &AssignmentSpec {
            device: "line-3".parse().unwrap(),
            version: 2,
            expires: in_days(30),
            slots: BTreeMap::new(),
            approved: BTreeSet::new(),
            again: BTreeMap::new(),
        },
        &vendor.online,
    );
    let metadata = vendor.metadata(&list(&vendor, 2, &[second]), &[]);
    let refused = Papers { metadata, assignment: forged, ..Papers::default() };
    assert!(house.updates.deliver(documents(refused)));
    house.refused().await;
    assert_eq!(house.disowned("a").await, withdrawn);
    // Who holds the new online key begins anew with the snapshot, and serves a list of before.
    let online = KeyPair::generate(&SystemRandom::new()).unwrap();
    let spec = RootSpec {
        version: 2,
        expires: in_days(300),
        root: (vec![vendor.person.public()], 1),
        releases: (vec![vendor.releaser.public()], 1),
        online: online.public(),
        director: vendor.director.public(),
    };
    let root = sign_root(&spec, &[&vendor.person]);
    let stolen = Vendor { online, ..vendor };
    for (before, named) in [(0, first), (1, second)] {
        let metadata = stolen.metadata(&list(&stolen, before, &[named]), &[]);
        let mut documents = documents(Papers { metadata, ..assigned.clone() });
        documents.metadata.push(("2.root.json".into(), root.clone()));
        assert!(house.updates.deliver(documents));
        let reason = house.refused().await;
        assert!(reason.contains("older than version 3"), "{reason}");
        assert_eq!(house.disowned("a").await, withdrawn, "list {}", before + 1);
    }
    let mut house = house.restarted();
    assert_eq!(house.told("a").await, "echo v2");
    assert_eq!(house.disowned("a").await, withdrawn);
}

#[tokio::test]
async fn what_a_vendors_keys_have_signed_is_vouched_for_until_they_are_replaced() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = house_with_history(&vendor, first, second);
    let key = || KeyPair::generate(&SystemRandom::new()).unwrap();
    let (old, new) = (key(), key());
    let root = Root::pin(&vendor.root).unwrap();
    let delegates = |keys: &[&KeyPair], before: Option<&[u8]>| {
        let now = OffsetDateTime::now_utc();
        let before = before.map(|list| verify_releases(&root, list, None, now).unwrap());
        let mut draft = ReleasesDraft::after(before.as_ref());
        draft.delegate(&[Delegation {
            name: "acme".into(),
            keys: keys.iter().map(|key| key.public()).collect(),
            threshold: 1,
            paths: vec!["echo/*".into()],
            terminating: true,
        }]);
        draft.sign(in_days(200), &[&vendor.releaser])
    };
    let mut own = ReleasesDraft::after(None);
    for bundle in [first, second] {
        own.add(bundle.release_id(), None).unwrap();
    }
    let own = own.sign(in_days(100), &[&old]);
    let both = [("a", second), ("b", second)];
    let list = delegates(&[&old], None);
    let papers_1 = papers(&vendor, &bundles, 1, &both);
    let metadata = vendor.metadata(&list, &[("acme", &own)]);
    assert!(house.updates.deliver(documents(Papers { metadata, ..papers_1 })));
    for slot in ["a", "b"] {
        assert_eq!(house.told(slot).await, "echo v2");
        assert_eq!(house.disowned(slot).await, []);
    }
    // His key was stolen: the list names another, and he has not signed anew. What was signed with the
    // old one is no way back any more, nor is it on its way.
    let list = delegates(&[&new], Some(&list));
    let papers_2 = papers(&vendor, &bundles, 2, &both);
    let metadata = vendor.metadata(&list, &[("acme", &own)]);
    assert!(house.updates.deliver(documents(Papers { metadata, ..papers_2 })));
    house.refused().await;
    let why = "no list of releases that is trusted names it any more";
    for (slot, releases) in [("a", [first, second]), ("b", [first, second])] {
        assert_eq!(house.told(slot).await, format!("not echo v2: {why}"));
        let told: BTreeSet<Digest> =
            house.disowned(slot).await.into_iter().map(|(release, _)| release).collect();
        assert_eq!(told, releases.map(|bundle| bundle.release_id().digest).into(), "{slot}");
    }
}

/// A list of releases, after `before` if there is one, that delegates all of echo to these, in this order.
fn delegating(vendor: &Vendor, before: Option<&[u8]>, roles: &[(&str, &KeyPair, bool)]) -> Vec<u8> {
    let root = Root::pin(&vendor.root).unwrap();
    let now = OffsetDateTime::now_utc();
    let before = before.map(|list| verify_releases(&root, list, None, now).unwrap());
    let mut draft = ReleasesDraft::after(before.as_ref());
    let roles = roles.iter().map(|(name, key, terminating)| Delegation {
        name: (*name).into(),
        keys: vec![key.public()],
        threshold: 1,
        paths: vec!["echo/*".into()],
        terminating: *terminating,
    });
    draft.delegate(&roles.collect::<Vec<_>>());
    draft.sign(in_days(200), &[&vendor.releaser])
}

/// What somebody has signed to whom it is delegated.
fn own_list(key: &KeyPair, bundles: &[&BuiltBundle]) -> Vec<u8> {
    let mut own = ReleasesDraft::after(None);
    for bundle in bundles {
        own.add(bundle.release_id(), None).unwrap();
    }
    own.sign(in_days(100), &[key])
}

#[tokio::test]
async fn who_never_signed_a_list_that_came_here_vouches_for_nothing() {
    let bundles = bundles();
    let [first, second, _] = &bundles;
    let key = || KeyPair::generate(&SystemRandom::new()).unwrap();
    let (old, new, other) = (key(), key(), key());
    let why = "no list of releases that is trusted names it any more";
    type Roles<'a> = Vec<(&'a str, &'a KeyPair, bool)>;
    let before: Roles = vec![("acme", &old, false), ("team", &other, true)];
    let after: [Roles; 2] = [
        // The first one's key was stolen, and nobody has ever had to ask the second.
        vec![("acme", &new, false), ("team", &other, true)],
        // Somebody else is to release the bundle, whose list is held back or not there yet.
        vec![("bolt", &new, true)],
    ];
    for roles in after {
        let vendor = Vendor::new();
        let mut house = house_with_history(&vendor, first, second);
        let list = delegating(&vendor, None, &before);
        let acme = own_list(&old, &[first, second]);
        let both = [("a", second), ("b", second)];
        let metadata = vendor.metadata(&list, &[("acme", &acme), ("team", &own_list(&other, &[]))]);
        let assigned = papers(&vendor, &bundles, 1, &both);
        assert!(house.updates.deliver(documents(Papers { metadata, ..assigned })));
        for slot in ["a", "b"] {
            assert_eq!(house.told(slot).await, "echo v2");
            assert_eq!(house.disowned(slot).await, []);
        }
        let list = delegating(&vendor, Some(&list), &roles);
        let lists = [("acme", &acme), ("team", &own_list(&other, &[])), ("bolt", &acme)];
        let lists: Vec<(&str, &[u8])> =
            lists.into_iter().map(|(name, list)| (name, list.as_slice())).collect();
        let mut metadata = vendor.metadata(&list, &lists);
        metadata.retain(|(name, _)| !name.ends_with("team.json") && !name.ends_with("bolt.json"));
        let assigned = papers(&vendor, &bundles, 2, &both);
        assert!(house.updates.deliver(documents(Papers { metadata, ..assigned })));
        house.refused().await;
        for slot in ["a", "b"] {
            assert_eq!(house.told(slot).await, format!("not echo v2: {why}"));
            let told = house.disowned(slot).await.into_iter().map(|(release, _)| release);
            let releases = [first, second].map(|bundle| bundle.release_id().digest);
            assert_eq!(told.collect::<BTreeSet<_>>(), releases.into(), "{slot}");
        }
    }
}

#[tokio::test]
async fn what_a_vendor_takes_back_that_is_not_assigned_any_more_is_no_way_back() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let [first, second, _] = &bundles;
    let mut house = house_with_history(&vendor, first, second);
    let key = KeyPair::generate(&SystemRandom::new()).unwrap();
    let mut list = ReleasesDraft::after(None);
    list.add(second.release_id(), None).unwrap();
    list.delegate(&[Delegation {
        name: "acme".into(),
        keys: vec![key.public()],
        threshold: 1,
        paths: vec!["echo/1".into()],
        terminating: true,
    }]);
    let list = list.sign(in_days(200), &[&vendor.releaser]);
    let (expires, files) = (in_days(100), BTreeMap::new());
    let none = TargetsSpec { version: 2, expires, files, delegations: Vec::new() };
    let own = [own_list(&key, &[first]), sign_targets(&none, &[&key])];
    let why = "no list of releases that is trusted names it any more".to_owned();
    let withdrawn = vec![(first.release_id().digest, why)];
    for (version, own, disowned) in [(1, &own[0], vec![]), (2, &own[1], withdrawn.clone())] {
        let metadata = vendor.metadata(&list, &[("acme", own)]);
        let assigned = papers(&vendor, &bundles, version, &[("a", second)]);
        assert!(house.updates.deliver(documents(Papers { metadata, ..assigned })));
        assert_eq!(house.told("a").await, "echo v2");
        assert_eq!(house.disowned("a").await, disowned, "list {version}");
    }
    // Where the next one is held back, nothing is vouched for by that, and nothing else is refused.
    let next = TargetsSpec { version: 3, ..none };
    let mut metadata = vendor.metadata(&list, &[("acme", &sign_targets(&next, &[&key]))]);
    metadata.retain(|(name, _)| !name.ends_with("acme.json"));
    let assigned = papers(&vendor, &bundles, 3, &[("a", second)]);
    assert!(house.updates.deliver(documents(Papers { metadata, ..assigned })));
    assert_eq!(house.told("a").await, "echo v2");
    assert_eq!(house.disowned("a").await, withdrawn);
}

#[tokio::test]
async fn of_two_who_may_sign_a_release_the_first_who_names_one_vouches_for_it() {
    let bundles = bundles();
    let [first, second, _] = &bundles;
    let other = &echo("1", "[limits]\nframe_ms = 60000\n");
    let key = || KeyPair::generate(&SystemRandom::new()).unwrap();
    let why = "no list of releases that is trusted names it any more".to_owned();
    let withdrawn = vec![(first.release_id().digest, why)];
    for (of_acme, ends_there, of_beta, disowned) in [
        (vec![], false, vec![first, second], &vec![]),
        (vec![], false, vec![second], &withdrawn),
        (vec![other], false, vec![first, second], &withdrawn),
        (vec![first], false, vec![other, second], &vec![]),
        // Nobody asks the second for what the first alone may sign.
        (vec![first, second], true, vec![], &vec![]),
        (vec![second], true, vec![first], &withdrawn),
    ] {
        let vendor = Vendor::new();
        let mut house = house_with_history(&vendor, first, second);
        let (of, to) = (key(), key());
        let list = delegating(&vendor, None, &[("acme", &of, ends_there), ("beta", &to, true)]);
        let (acme, beta) = (own_list(&of, &of_acme), own_list(&to, &of_beta));
        let metadata = vendor.metadata(&list, &[("acme", &acme), ("beta", &beta)]);
        let papers = papers(&vendor, &bundles, 1, &[("a", second)]);
        assert!(house.updates.deliver(documents(Papers { metadata, ..papers })));
        assert_eq!(house.told("a").await, "echo v2");
        assert_eq!(&house.disowned("a").await, disowned);
    }
}

#[tokio::test]
async fn a_file_that_breaks_off_leaves_nothing_behind() {
    let (vendor, bundles) = (Vendor::new(), bundles());
    let house = House::new(&vendor, &["a", "b"]);
    let papers = papers(&vendor, &bundles, 1, &[("a", &bundles[0]), ("b", &bundles[1])]);
    let path = house.device.parcel(&papers, &bundles);
    let whole = fs::read(&path).unwrap();
    // Cut within the last blob that is wanted.
    let config = bundles[..2]
        .iter()
        .flat_map(|bundle| bundle.blobs.values())
        .filter_map(|blob| whole.windows(blob.len()).position(|bytes| bytes == blob));
    let last = config.max().unwrap();
    fs::write(&path, &whole[..last + 10]).unwrap();
    let error = house.updates.install(path.clone()).await.unwrap_err();
    assert!(matches!(error, InstallError::Parcel(_)), "{error}");
    assert_eq!(house.blobs_on_disk(), 0);
    assert_eq!(house.journal.accepted().unwrap().targets.len(), 0);
    fs::write(&path, &whole).unwrap();
    let installed = house.updates.install(path).await.unwrap();
    assert_eq!(installed.slots.len(), 2);
    assert!(installed.incomplete.is_empty() && installed.unusable.is_empty(), "{installed:?}");
    assert_eq!(house.blobs_on_disk(), 4);
}

#[tokio::test]
async fn a_bundle_that_is_whole_and_no_bundle_is_not_said_to_be_missing() {
    let vendor = Vendor::new();
    let mut bundles = bundles();
    // Somebody has signed something else.
    let broken = &mut bundles[1];
    broken.oci_manifest = b"{}".to_vec();
    let house = House::new(&vendor, &["a", "b"]);
    let papers = papers(&vendor, &bundles, 1, &[("a", &bundles[0]), ("b", &bundles[1])]);
    // The file has the first one's manifest only.
    let mut first = bundles[0].clone();
    first.blobs.clear();
    let path = house.device.parcel(&papers, &[first, bundles[1].clone()]);
    let installed = house.updates.install(path).await.unwrap();
    assert_eq!(installed.incomplete, ["echo v1"]);
    let reason = &installed.unusable["echo v2"];
    assert!(reason.contains("the OCI manifest cannot be read"), "{reason}");
}

#[tokio::test]
async fn only_a_regular_file_is_read() {
    let vendor = Vendor::new();
    let house = House::new(&vendor, &["a"]);
    let pipe = house.device.folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for path in [pipe, house.device.folder.path().to_owned(), "/dev/zero".into()] {
        let installed = timeout(PATIENCE, house.updates.install(path.clone())).await;
        let error = format!("{:#}", anyhow::Error::from(installed.unwrap().unwrap_err()));
        assert_eq!(error, format!("cannot read {}: it is no regular file", path.display()));
    }
}

#[tokio::test]
async fn where_updates_are_off_whoever_brings_one_hears_why_and_the_slots_go_on() {
    let (way, told) = mpsc::channel(1);
    let slots = BTreeMap::from([("a".parse().unwrap(), way)]);
    let updates = Updates::off("root.json is gone", slots);
    assert_eq!(updates.trouble().unwrap(), "updates are off: root.json is gone");
    let error = updates.install("parcel.tar".into()).await.unwrap_err();
    assert_eq!(error.to_string(), "updates are off: root.json is gone");
    drop(updates);
    tokio::task::yield_now().await;
    assert!(!told.is_closed());
}
