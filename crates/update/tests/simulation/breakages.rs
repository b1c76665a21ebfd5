//! Tables that are broken on purpose. A promise that none of them can break says nothing.

use crate::device::Step;
use crate::promises::Promise;
use lineside_bundle::Digest;
use lineside_rules::{ShadowLimits, Verdict};
use lineside_update::{Effect, Event, Phase, SlotState, step};
use serde_json::{Value, json};
use std::time::Duration;

/// A broken table, and the promise that it breaks.
pub const BREAKAGES: [(&str, Promise, Step); 31] = [
    ("a start forgets the active release", Promise::OldOrNew, forgets_what_it_had),
    ("checks are not replayed", Promise::OldOrNew, skips_checks),
    ("a candidate is committed at once", Promise::BadGoesBack, commits_at_once),
    ("what was rolled back keeps the route", Promise::BadGoesBack, leaves_the_route),
    ("a given-up release is forgotten", Promise::Bounded, forgets_what_was_given_up),
    ("starts are not counted", Promise::Bounded, does_not_count_starts),
    ("wrong answers are taken for a small device", Promise::Bounded, blames_the_device),
    ("a stuck update blocks the next", Promise::Next, finishes_first),
    ("floors fall at a start", Promise::Floors, lowers_floors),
    ("time ends a download", Promise::DownloadGoesOn, forgets_downloads),
    ("nothing stands in", Promise::GoesOnAnswering, lets_nothing_stand_in),
    ("a change is not reported", Promise::Told, keeps_quiet),
    ("a site's no is taken for a yes", Promise::Consent, takes_no_for_yes),
    ("a site is asked once", Promise::Consent, asks_once),
    ("every approval is for everything", Promise::Approval, approves_everything),
    ("who goes back is asked", Promise::WayBack, forgets_what_has_proven_itself),
    ("a trial goes on that nobody vouches for", Promise::Vouched, finishes_trials),
    ("nothing is compared", Promise::Compared, compares_nothing),
    ("a site's new wish for a comparison is not heard", Promise::Compared, stays_with_its_policy),
    ("a site's new wish to be asked is not heard", Promise::Approval, stays_with_its_policy),
    ("what is compared waits for what cannot run", Promise::GoesOnAnswering, waits_for_rot),
    ("a standstill is held against a release", Promise::Fair, counts_every_second),
    ("a shadow is not ended", Promise::Beside, ends_no_shadow),
    ("nothing is tried again", Promise::Rest, tries_once),
    ("nothing is reconsidered", Promise::Rest, reconsiders_nothing),
    ("what rots waits for what never comes", Promise::GoesOnAnswering, mends_last),
    ("what is repeated is taken for said again", Promise::Bounded, hears_again_each_time),
    ("nobody hears that it shall be tried again", Promise::Next, hears_nothing_again),
    ("the way back is not looked at", Promise::GoesOnAnswering, goes_back_unseen),
    ("nothing answers meanwhile", Promise::GoesOnAnswering, lets_nothing_answer_meanwhile),
    ("a slot goes back to what nobody vouches for", Promise::Vouched, goes_back_to_anything),
];

type Stepped = (SlotState, Vec<Effect>);

/// Changes a state behind the table's back.
fn edited(state: &SlotState, edit: impl FnOnce(&mut Value)) -> SlotState {
    let mut value = serde_json::to_value(state).unwrap();
    edit(&mut value);
    serde_json::from_value(value).unwrap()
}

fn forgets_what_it_had(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let slot = match event {
        Event::Booted => edited(&slot, |state| state["active"] = Value::Null),
        _ => slot,
    };
    step(slot, event, ran)
}

fn staged(release: Digest) -> Event {
    let (limits, shadow) = (Box::new(crate::device::trial_limits()), Box::default());
    Event::Staged { release, limits, shadow, policy: ShadowLimits::default(), took: String::new() }
}

fn skips_checks(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let downloaded = match &event {
        Event::Downloaded { release, .. } => Some(*release),
        _ => None,
    };
    let (slot, effects) = step(slot, event, ran);
    match downloaded {
        Some(release) => step(slot, staged(release), Duration::ZERO),
        None => (slot, effects),
    }
}

fn commits_at_once(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let event = match event {
        Event::Observed { release, seen, .. } => {
            Event::Observed { release, seen, verdict: Verdict::Passed }
        }
        other => other,
    };
    step(slot, event, ran)
}

fn leaves_the_route(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let on_trial = matches!(slot.phase(), Phase::Trial(_));
    let (slot, mut effects) = step(slot, event, ran);
    if on_trial && !matches!(slot.phase(), Phase::Trial(_)) {
        effects.retain(|effect| !matches!(effect, Effect::Run(_) | Effect::Vacate { .. }));
    }
    (slot, effects)
}

fn forgets_what_was_given_up(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let slot = match event {
        Event::Assigned { .. } => edited(&slot, |state| state["blocked"] = json!({})),
        _ => slot,
    };
    step(slot, event, ran)
}

fn does_not_count_starts(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    // As if somebody had asked for every start.
    let slot = match event {
        Event::Booted => step(slot, Event::Stopped, Duration::ZERO).0,
        _ => slot,
    };
    step(slot, event, ran)
}

fn lowers_floors(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let slot = match event {
        Event::Booted => edited(&slot, |state| state["floors"] = json!({})),
        _ => slot,
    };
    step(slot, event, ran)
}

fn forgets_downloads(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let ticked = event == Event::Ticked;
    let (slot, effects) = step(slot, event, ran);
    match slot.phase() {
        Phase::Downloading { .. } if ticked => {
            // Not without a word, so that it is this promise that finds it out.
            let target = slot.candidate().cloned().unwrap();
            let refused = Event::Refused { release: target.digest, reason: "impatience".into() };
            step(slot, refused, Duration::ZERO)
        }
        _ => (slot, effects),
    }
}

fn lets_nothing_stand_in(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let (slot, mut effects) = step(slot, event, ran);
    if slot.stand_in().is_none() {
        return (slot, effects);
    }
    for effect in &mut effects {
        if matches!(effect, Effect::Run(_)) {
            *effect = Effect::Vacate { reason: "the trial was ended".into() };
        }
    }
    (edited(&slot, |state| state["stand_in"] = Value::Null), effects)
}

fn keeps_quiet(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let reports = serde_json::to_value(&slot).unwrap()["reports"].clone();
    let committing = matches!(event, Event::Observed { verdict: Verdict::Passed, .. });
    let (slot, effects) = step(slot, event, ran);
    match committing {
        true => (edited(&slot, |state| state["reports"] = reports), effects),
        false => (slot, effects),
    }
}

fn takes_no_for_yes(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let event = match event {
        Event::Withheld { release, .. } => Event::Consented { release },
        other => other,
    };
    step(slot, event, ran)
}

fn asks_once(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let (slot, effects) = step(slot, event, ran);
    match slot.about_to_take_route() {
        Some(_) => {
            let now = edited(&slot, |state| state["phase"]["trial"]["waited"] = Value::Null);
            (now, effects)
        }
        None => (slot, effects),
    }
}

fn approves_everything(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let (slot, effects) = step(slot, event, ran);
    match slot.candidate().map(|candidate| candidate.digest) {
        Some(release) if slot.waits_for_approval() => {
            let (slot, more) = step(slot, Event::Approved { release }, Duration::ZERO);
            (slot, [effects, more].concat())
        }
        _ => (slot, effects),
    }
}

fn forgets_what_has_proven_itself(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let slot = match event {
        Event::Staged { .. } => edited(&slot, |state| state["proven"] = json!([])),
        _ => slot,
    };
    step(slot, event, ran)
}

fn finishes_trials(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    match (slot.phase(), &event) {
        (Phase::Trial(_), Event::Withdrawn { .. }) => (slot, vec![]),
        _ => step(slot, event, ran),
    }
}

fn compares_nothing(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let event = match event {
        Event::Shadowed { release, seen, .. } => {
            Event::Shadowed { release, seen, verdict: Verdict::Passed }
        }
        other => other,
    };
    step(slot, event, ran)
}

fn ends_no_shadow(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let (slot, mut effects) = step(slot, event, ran);
    effects.retain(|effect| *effect != Effect::EndShadow);
    (slot, effects)
}

fn tries_once(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    match event {
        Event::DownloadFailed { .. } => (slot, vec![]),
        other => step(slot, other, ran),
    }
}

fn blames_the_device(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let (slot, effects) = step(slot, event.clone(), ran);
    let Event::Refused { release, .. } = event else { return (slot, effects) };
    let blamed = edited(&slot, |state| {
        if let Some(blocked) = state["blocked"].get_mut(release.to_string()) {
            blocked["facts"] = json!(Digest::of(b"some device"));
        }
    });
    (blamed, effects)
}

fn finishes_first(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    match (slot.phase(), &event) {
        (Phase::Downloading { .. }, Event::Assigned { .. }) => (slot, vec![]),
        _ => step(slot, event, ran),
    }
}

fn reconsiders_nothing(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    match event {
        Event::Reconsidered { .. } => (slot, vec![]),
        other => step(slot, other, ran),
    }
}

fn counts_every_second(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let (slot, effects) = step(slot, event, ran);
    let trial = match slot.phase() {
        Phase::Trial(trial) => trial.before.ran.saturating_add(ran),
        _ => return (slot, effects),
    };
    let counted = json!({ "secs": trial.as_secs(), "nanos": 0 });
    (edited(&slot, |state| state["phase"]["trial"]["before"]["ran"] = counted), effects)
}

fn stays_with_its_policy(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    match event {
        Event::Policy { .. } => (slot, vec![]),
        other => step(slot, other, ran),
    }
}

fn waits_for_rot(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let before = serde_json::to_value(&slot).unwrap()["phase"].clone();
    let compared = matches!(slot.phase(), Phase::Shadow(_));
    let rotten = matches!(event, Event::Damaged { .. });
    let (slot, effects) = step(slot, event, ran);
    match slot.phase() {
        Phase::Held(_) if compared && rotten => {
            (edited(&slot, |state| state["phase"] = before), effects)
        }
        _ => (slot, effects),
    }
}

fn mends_last(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let damaged = matches!(event, Event::Damaged { .. });
    let (slot, mut effects) = step(slot, event, ran);
    if damaged && slot.mending().is_some() {
        effects.retain(|effect| !matches!(effect, Effect::Download { .. }));
        return (edited(&slot, |state| state["failing"]["mending"] = json!(false)), effects);
    }
    (slot, effects)
}

fn goes_back_unseen(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let (slot, mut effects) = step(slot, event, ran);
    let looked_at = effects.iter().find_map(|effect| match effect {
        Effect::Verify(held) => Some(held.release.digest),
        _ => None,
    });
    let Some(release) = looked_at else { return (slot, effects) };
    effects.retain(|effect| !matches!(effect, Effect::Verify(_)));
    let (slot, more) = step(slot, Event::Whole { release }, Duration::ZERO);
    (slot, [effects, more].concat())
}

fn lets_nothing_answer_meanwhile(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let (slot, mut effects) = step(slot, event, ran);
    effects.retain(|effect| !matches!(effect, Effect::RunMeanwhile(_)));
    (slot, effects)
}

fn goes_back_to_anything(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let previous = slot.previous().map(|held| held.release.digest);
    let (slot, effects) = step(slot, event, ran);
    let forgets = |state: &mut Value| {
        if let (Some(previous), Some(disowned)) = (previous, state["disowned"].as_object_mut()) {
            disowned.remove(&previous.to_string());
        }
    };
    (edited(&slot, forgets), effects)
}

fn hears_again_each_time(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    let slot = match event {
        Event::TryAgain { .. } => edited(&slot, |state| state["blocked"] = json!({})),
        _ => slot,
    };
    step(slot, event, ran)
}

fn hears_nothing_again(slot: SlotState, event: Event, ran: Duration) -> Stepped {
    match event {
        Event::TryAgain { .. } => (slot, vec![]),
        other => step(slot, other, ran),
    }
}
