"""Every known attack on a repository by name, and how each of its states has to end."""

import random
from datetime import timedelta

from repository import NOW, TOP, Repository, iso

ACCEPT, REFUSE = "accept", "refuse"


class Scene:
    """A repository, and the states of it that a device meets."""

    def __init__(self, name):
        self.name = name
        self.repo = Repository(random.Random(name))
        self.repo.publish()
        self.root = self.repo.files["1.root.json"]
        self.states, self.must, self.paths = [], [], ["a"]
        self.reference_errs = ""

    def meets(self, how, now=NOW):
        """The device meets what is served now, and has to end like this."""
        self.states.append((dict(self.repo.files), now))
        self.must.append(how)

    def publish(self, raised=TOP[1:], spoil=None):
        self.repo.raise_versions(raised)
        self.repo.publish(spoil)


SCENES = []


def scene(tell):
    """Makes a function that tells a scene one of them, named after it."""
    SCENES.append(tell)
    return tell


def signed_by(role, signers):
    """Has these sign a role in place of its own."""
    return lambda repo: lambda step, what: (
        repo.sign(role, signers=signers(repo)) if step == "sign" and what[0] == role else None
    )


@scene
def rightful_changes_are_followed(scene):
    scene.meets(ACCEPT)
    for raised in (["timestamp"], ["snapshot", "timestamp"], TOP[1:], TOP):
        scene.publish(raised)
        scene.meets(ACCEPT)


@scene
def arbitrary_install_by_a_stranger(scene):
    scene.meets(ACCEPT)
    scene.publish(spoil=signed_by("targets", lambda repo: [repo.signer(), repo.signer()])(scene.repo))
    scene.meets(REFUSE)


@scene
def arbitrary_install_by_one_hand_of_two(scene):
    scene.publish(spoil=signed_by("targets", lambda repo: repo.signers["targets"][:1])(scene.repo))
    scene.meets(REFUSE)


@scene
def arbitrary_install_by_the_online_keys(scene):
    online = signed_by("targets", lambda repo: repo.signers["snapshot"] + repo.signers["timestamp"])
    scene.publish(spoil=online(scene.repo))
    scene.meets(REFUSE)


@scene
def rollback_of_the_timestamp(scene):
    old = scene.repo.files["timestamp.json"]
    scene.publish()
    scene.meets(ACCEPT)
    scene.repo.files["timestamp.json"] = old
    scene.meets(REFUSE)


@scene
def rollback_of_the_snapshot_by_the_timestamp_key(scene):
    scene.publish()
    scene.meets(ACCEPT)
    scene.repo.signed["snapshot"]["version"] = 1
    scene.publish(["timestamp"])
    scene.meets(REFUSE)


@scene
def rollback_of_targets_by_the_online_keys(scene):
    scene.publish()
    scene.meets(ACCEPT)
    scene.repo.signed["targets"]["version"] = 1
    scene.publish(["snapshot", "timestamp"])
    scene.meets(REFUSE)


@scene
def rollback_of_targets_behind_a_withheld_snapshot(scene):
    scene.publish()
    scene.meets(ACCEPT)
    scene.repo.signed["targets"]["version"] = 1
    scene.publish(["snapshot", "timestamp"])
    withheld = scene.repo.files.pop("3.snapshot.json")
    scene.meets(REFUSE)
    scene.repo.files["3.snapshot.json"] = withheld
    scene.meets(REFUSE)


@scene
def rollback_behind_an_expired_timestamp(scene):
    old = dict(scene.repo.files)
    scene.repo.signed["timestamp"]["expires"] = iso(NOW + timedelta(hours=1))
    scene.publish()
    scene.meets(ACCEPT)
    scene.repo.files = old
    scene.meets(REFUSE, NOW + timedelta(days=1))


@scene
def the_snapshot_list_shrinks(scene):
    scene.repo.delegate("targets", "d1")
    scene.publish()
    scene.meets(ACCEPT)
    del scene.repo.signed["d1"], scene.repo.signed["snapshot"]["meta"]["d1.json"]
    scene.publish()
    scene.meets(REFUSE)


def freeze(role):
    def tell(scene):
        scene.repo.signed[role]["expires"] = iso(NOW + timedelta(hours=1))
        if role == "root":
            scene.repo.signed[role]["version"] += 1
        scene.publish()
        scene.meets(ACCEPT)
        scene.meets(ACCEPT, NOW + timedelta(minutes=59, seconds=59))
        scene.meets(REFUSE, NOW + timedelta(hours=1))
        scene.meets(REFUSE, NOW + timedelta(days=1))

    tell.__name__ = f"freeze_at_an_old_{role}"
    return tell


for frozen in TOP:
    scene(freeze(frozen))


@scene
def mix_and_match_of_targets(scene):
    old = scene.repo.files["1.targets.json"]
    scene.publish()
    scene.repo.files["2.targets.json"] = old
    scene.meets(REFUSE)


@scene
def mix_and_match_of_snapshots(scene):
    old = scene.repo.files["1.snapshot.json"]
    scene.publish()
    scene.repo.files["2.snapshot.json"] = old
    scene.meets(REFUSE)


@scene
def mix_and_match_of_two_lists_of_one_version(scene):
    twin = scene.repo.files["1.targets.json"]
    scene.repo.signed["targets"]["targets"].pop("a")
    scene.repo.raise_versions(["snapshot", "timestamp"])
    scene.repo.publish()
    scene.repo.files["1.targets.json"] = twin
    scene.meets(REFUSE)


def root_signed_by(who, must):
    def tell(scene):
        repo = scene.repo
        old, new = repo.signers["root"], [repo.signer(), repo.signer()]
        repo.signed["root"]["roles"]["root"]["keyids"] = [key.public_key.keyid for key in new]
        for key in new:
            repo.signed["root"]["keys"][key.public_key.keyid] = key.public_key.to_dict()
        repo.signers["root"] = new
        hands = {"the_old_keys": old, "the_new_keys": new, "both": old[:2] + new, "one_of_each": [old[0], new[0]]}
        scene.publish(TOP, signed_by("root", lambda _: hands[who])(repo))
        scene.meets(must)

    tell.__name__ = f"a_new_root_signed_by_{who}"
    return tell


for hands, end in [("the_old_keys", REFUSE), ("the_new_keys", REFUSE), ("one_of_each", REFUSE), ("both", ACCEPT)]:
    scene(root_signed_by(hands, end))


@scene
def a_root_skips_a_version(scene):
    scene.repo.signed["root"]["version"] = 3
    scene.repo.publish()
    scene.repo.files["2.root.json"] = scene.repo.files.pop("3.root.json")
    scene.meets(REFUSE)


@scene
def a_root_that_repeats_its_version(scene):
    scene.repo.files["2.root.json"] = scene.repo.files["1.root.json"]
    scene.meets(REFUSE)


@scene
def stolen_keys_are_revoked(scene):
    repo = scene.repo
    stolen = repo.signers["targets"]
    scene.meets(ACCEPT)
    new = [repo.signer(), repo.signer()]
    repo.signed["root"]["roles"]["targets"]["keyids"] = [key.public_key.keyid for key in new]
    for key in new:
        repo.signed["root"]["keys"][key.public_key.keyid] = key.public_key.to_dict()
    scene.publish(TOP)
    scene.meets(REFUSE)
    repo.signers["targets"] = new
    scene.publish()
    scene.meets(ACCEPT)
    scene.publish(spoil=signed_by("targets", lambda _: stolen)(repo))
    scene.meets(REFUSE)


def fast_forward(role):
    def tell(scene):
        repo = scene.repo
        scene.meets(ACCEPT)
        right = {name: repo.signed[name]["version"] for name in TOP}
        repo.signed[role]["version"] = 2**31
        scene.publish([below for below in ("snapshot", "timestamp") if below != role])
        scene.meets(ACCEPT)
        for name in TOP[1:]:
            repo.signed[name]["version"] = right[name] + 2
        repo.publish()
        scene.meets(REFUSE)
        for online in ("timestamp", "snapshot"):
            repo.signers[online] = [repo.signer()]
            key = repo.signers[online][0].public_key
            repo.signed["root"]["keys"][key.keyid] = key.to_dict()
            repo.signed["root"]["roles"][online]["keyids"] = [key.keyid]
        scene.publish(["root"])
        scene.meets(ACCEPT)

    tell.__name__ = f"fast_forward_of_the_{role}_and_recovery"
    return tell


for forwarded in ("timestamp", "snapshot", "targets"):
    scene(fast_forward(forwarded))


def endless(name, limit):
    def tell(scene):
        scene.repo.files[name] = scene.repo.files.get(name, b"").ljust(limit + 1)
        scene.meets(REFUSE)

    tell.__name__ = f"endless_data_for_{name}"
    return tell


for document, limit in [
    ("2.root.json", 512_000),
    ("timestamp.json", 16_384),
    ("1.snapshot.json", 2_000_000),
    ("1.targets.json", 5_000_000),
]:
    scene(endless(document, limit))


@scene
def a_mirror_without_anything(scene):
    scene.repo.files.clear()
    scene.meets(REFUSE)


@scene
def one_signature_twice(scene):
    def spoil(step, what):
        return [what[1][0], what[1][0]] if step == "sign" and what[0] == "targets" else None

    scene.publish(spoil=spoil)
    scene.meets(REFUSE)


@scene
def one_key_id_twice_in_a_role(scene):
    repo = scene.repo
    role = repo.signed["root"]["roles"]["targets"]
    role["keyids"] = [role["keyids"][0]] * 2
    repo.signers["targets"] = repo.signers["targets"][:1] * 2
    scene.publish(TOP)
    scene.meets(REFUSE)


@scene
def one_key_under_two_ids(scene):
    repo = scene.repo
    key = repo.signers["targets"][0].public_key
    repo.signed["root"]["keys"]["twin"] = key.to_dict()
    repo.signed["root"]["roles"]["targets"]["keyids"] = [key.keyid, "twin"]

    def spoil(step, what):
        if step == "sign" and what[0] == "targets":
            one = what[1][0]
            return [one, {**one, "keyid": "twin"}]
        return None

    scene.publish(TOP, spoil)
    scene.meets(REFUSE)
    scene.reference_errs = "python-tuf counts ids of keys, not keys"


@scene
def a_delegated_role_signs_within_its_paths(scene):
    scene.repo.delegate("targets", "vendor/acme", paths=["vendor/acme/*"])
    files = scene.repo.signed["vendor/acme"]["targets"]
    for path in ["turbine/2", "vendor/acme/valve", "vendor/acme/deep/valve"]:
        files[path] = dict(files["d"])
    scene.publish()
    scene.paths = ["turbine/2", "vendor/acme/valve", "vendor/acme/deep/valve", "d"]
    scene.meets(ACCEPT)


@scene
def a_delegated_role_signed_by_a_stranger(scene):
    scene.repo.delegate("targets", "d1")
    scene.paths = ["d"]
    scene.publish(spoil=signed_by("d1", lambda repo: [repo.signer()])(scene.repo))
    scene.meets(REFUSE)


@scene
def the_first_that_may_is_believed_and_a_terminating_one_ends_the_search(scene):
    repo = scene.repo
    repo.delegate("targets", "d1", paths=["of/*"], terminating=True)
    repo.delegate("targets", "d2")
    repo.delegate("d1", "d3")
    repo.signed["d3"]["targets"]["of/d2"] = dict(repo.signed["d3"]["targets"]["d"])
    scene.publish()
    scene.paths = ["of/d1", "of/d2", "of/d3", "of/nobody", "d"]
    scene.meets(ACCEPT)


@scene
def roles_that_delegate_to_one_another(scene):
    scene.repo.delegate("targets", "d1")
    scene.repo.delegate("d1", "d2")
    scene.repo.delegate("d2", "d1")
    scene.publish()
    scene.paths = ["of/d2", "of/nobody"]
    scene.meets(ACCEPT)


@scene
def an_unlisted_role_is_not_passed_over(scene):
    repo = scene.repo
    repo.delegate("targets", "d1")
    repo.delegate("targets", "d2")

    def spoil(step, what):
        if step == "say" and what == "snapshot":
            del repo.signed["snapshot"]["meta"]["d1.json"]

    scene.publish(spoil=spoil)
    scene.paths = ["d"]
    scene.meets(REFUSE)


@scene
def a_role_reached_through_one_who_did_not_authorise_its_keys(scene):
    repo = scene.repo
    repo.delegate("targets", "d1", paths=["of/d1", "d1/*"])
    repo.delegate("targets", "d2", paths=["d2/*"])
    repo.delegate("d1", "shared", paths=["d1/*"])
    right = repo.signers["shared"]
    repo.signers["shared"] = [repo.signer()]
    repo.delegate("d2", "shared", paths=["d2/*"])
    repo.signers["shared"] = right
    for path in ["d1/file", "d2/file"]:
        repo.signed["shared"]["targets"][path] = dict(repo.signed["shared"]["targets"]["d"])
    scene.publish()
    scene.paths = ["d1/file", "d2/file"]
    scene.meets(REFUSE)
    scene.reference_errs = "python-tuf does not verify a role again for another one that delegates to it"


def all_of_them():
    """Each scene as told."""
    for tell in SCENES:
        told = Scene(tell.__name__)
        tell(told)
        yield told
