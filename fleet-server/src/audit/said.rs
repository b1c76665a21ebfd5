//! Changes in the words of the log.

use crate::audit::By;
use lineside_audit::{Action, Change, Code, Hash, Name, Small, Subject, Value};
use lineside_wire::name::{DeviceId, SlotName};

/// That somebody has done something to something; what more there is to say is added by `with`.
pub(crate) fn did(by: &By, action: Action, kind: &'static str, id: &str) -> Change {
    let kind: Result<Code, _> = kind.parse();
    let kind = kind.expect("kinds of subjects are codes");
    // Nothing that can be changed has no name at all.
    let id = Name::lossy(id).unwrap_or_else(|| Name::lossy("-").expect("a hyphen is a name"));
    Change {
        who: by.who(),
        action: action.into(),
        subject: Subject { kind, id },
        old: None,
        new: None,
        why: None,
        request: None,
        signed: None,
        because: Vec::new(),
    }
}

/// The same, of a slot and the release that it had and has since, as in `turbine/2`.
pub(crate) fn of_slot(
    by: &By,
    action: Action,
    (device, slot): (&DeviceId, &SlotName),
    old: Option<&str>,
    new: Option<&str>,
) -> Change {
    let release = |path: &str| text(&release_name(path));
    Change {
        old: old.and_then(release),
        new: new.and_then(release),
        ..did(by, action, "slot", &format!("{device}/{slot}"))
    }
}

/// A release as the log names it, `turbine@2`, of its path `turbine/2`.
pub(crate) fn release_name(path: &str) -> String {
    path.replacen('/', "@", 1)
}

/// A value that stands in the entry; none where there is nothing to say.
pub(crate) fn text(text: &str) -> Option<Value> {
    Small::lossy(text).map(Value::Text)
}

/// SHA-256 of bytes that are kept elsewhere.
pub(crate) fn digest(bytes: &[u8]) -> Hash {
    Hash(lineside_bundle::Digest::of(bytes).bytes())
}
