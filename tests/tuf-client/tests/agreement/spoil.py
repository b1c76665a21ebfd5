"""Ways of spoiling a repository. Each takes a repository and random numbers, and says which it was."""

import json
from datetime import timedelta

from repository import NOW, TOP, iso

ODD = [0, -1, 1, 2, 3, 1.5, "", "1", None, True, False, [], {}, "x", ["x"], {"x": 1}, 2**31, 2**53, 2**63,
       2**64, "2030-01-01T00:00:00Z", "2026-11-24T12:00:00Z", "sha256", "*", "../x"]


def places(value, path=()):
    """Every place in a JSON value, from the outside in."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for at in range(len(value)):
            yield from places(value[at], (*path, at))


def change_one_place(value, rng):
    """Changes one place of a document; says how."""
    path = rng.choice([path for path in places(value) if path])
    holder = value
    for part in path[:-1]:
        holder = holder[part]
    last, how = path[-1], rng.randrange(6)
    if how == 0:
        del holder[last]
    elif how == 1:
        holder[last] = rng.choice(ODD)
    elif how == 2 and isinstance(holder, list):
        holder.append(holder[last])
    elif how == 3 and isinstance(holder, dict):
        holder[rng.choice(["x-unknown", "version", "_type", "keys", "paths"])] = rng.choice(ODD)
    elif how == 4 and isinstance(holder[last], int):
        holder[last] += rng.choice([-2, -1, 1, 2])
    elif how == 5 and isinstance(holder[last], str):
        holder[last] = rng.choice([holder[last].upper(), holder[last] + " ", holder[last][:-1]])
    else:
        holder[last] = rng.choice(ODD)
    return "/".join(str(part) for part in path)


def some_role(repo, rng):
    """A role whose next document will be looked at."""
    role = rng.choice(list(repo.signed))
    if role == "root":
        repo.signed["root"]["version"] += 1
    return role


def say(repo, rng):
    """A document says something odd, rightly signed and listed."""
    role = some_role(repo, rng)
    said = []

    def spoil(step, who):
        if step == "say" and who == role:
            said.append(change_one_place(repo.signed[role], rng))

    repo.publish(spoil)
    return f"say {role} {said}"


def versions(repo, rng):
    """Versions go up and down."""
    for role in repo.signed:
        if rng.random() < 0.4:
            repo.signed[role]["version"] = max(1, repo.signed[role]["version"] + rng.choice([-2, -1, 0, 1, 3]))
    repo.publish()
    return "versions"


def expiry(repo, rng):
    """Documents expire now, a second before or after."""
    role = some_role(repo, rng)
    repo.signed[role]["expires"] = iso(NOW + timedelta(seconds=rng.choice([-86400, -1, 0, 1, 3600])))
    repo.publish()
    return f"expiry {role}"


def signatures(repo, rng):
    """Signatures are missing, doubled, foreign, damaged, or the old ones."""
    role, how = some_role(repo, rng), rng.randrange(10)

    def spoil(step, what):
        if step != "sign" or what[0] != role:
            return None
        signed = what[1]
        one = rng.randrange(len(signed))
        if how == 0:
            del signed[one]
        elif how == 1:
            signed.append(dict(signed[one]))
        elif how == 2:
            signed[one]["sig"] = signed[one]["sig"][:-2] + "00"
        elif how == 3:
            signed[one]["sig"] = rng.choice(["", "zz", "0", signed[one]["sig"].upper()])
        elif how == 4:
            signed[one]["keyid"] = signed[-1 - one]["keyid"]
        elif how == 5:
            signed.extend(repo.sign(role, signers=[repo.signer()]))
        elif how == 6:
            signed[:] = repo.sign(role, signers=repo.signers[rng.choice(list(repo.signers))])
        elif how == 7:
            signed[:] = repo.sign(role, signed={**repo.signed[role], "version": 99})
        elif how == 8:
            signed.clear()
        else:
            signed[one]["x-unknown"] = 1
        return signed

    repo.publish(spoil)
    return f"signatures {role} {how}"


def listing(repo, rng):
    """What a document is listed as is not what it is."""
    above = rng.choice(["snapshot", "timestamp"])
    said = []

    def spoil(step, who):
        if step == "say" and who == above:
            meta = repo.signed[above]["meta"]
            name = rng.choice(list(meta))
            how = rng.randrange(9)
            said.append((name, how))
            entry = meta[name]
            if how == 0:
                del meta[name]
            elif how == 1:
                entry["version"] += rng.choice([-1, 1])
            elif how == 2:
                entry["length"] += rng.choice([-1, 1])
            elif how == 3:
                entry["hashes"] = {"sha256": "0" * 64}
            elif how == 4:
                del entry["hashes"]
            elif how == 5:
                del entry["length"]
            elif how == 6:
                entry["hashes"] = {"md5": "0" * 32}
            elif how == 7:
                entry["hashes"]["sha512"] = "0" * 128
            else:
                entry["hashes"]["sha256"] = entry["hashes"]["sha256"].upper()

    repo.publish(spoil)
    return f"listing {above} {said}"


def written(repo, rng):
    """The bytes change after signing; they may be listed as changed."""
    role, how = some_role(repo, rng), rng.randrange(9)

    def spoil(step, what):
        if step != "write" or what[0] != role:
            return None
        data = what[1]
        if how == 0:
            at = rng.randrange(len(data))
            return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        if how == 1:
            return data[: rng.randrange(len(data))]
        if how == 2:
            return data + rng.choice([b"\n", b" ", b"}", b"\0"])
        if how == 3:
            return json.dumps(json.loads(data), indent=rng.choice([None, 1, 4])).encode()
        if how == 4:
            return json.dumps(json.loads(data), sort_keys=True).encode()
        if how == 5:
            return b"\xef\xbb\xbf" + data
        if how == 6:
            return data.replace(b'"version":', b'"version":7,"version":', 1)
        if how == 7:
            return data.replace(b'"signed":', b'"x-unknown":[1],"signed":', 1)
        return rng.choice([b"", b"null", b"[]", b"{}", b'{"signed":{},"signatures":[]}', b"\xff\xfe"])

    repo.publish(spoil)
    return f"written {role} {how}"


def served(repo, rng):
    """The mirror serves other files than it was given."""
    before = dict(repo.files)
    repo.raise_versions([role for role in repo.signed if rng.random() < 0.5])
    repo.publish()
    names, how = sorted(repo.files), rng.randrange(5)
    name = rng.choice(names)
    if how == 0:
        del repo.files[name]
    elif how == 1:
        repo.files[name] = repo.files[rng.choice(names)]
    elif how == 2:
        repo.files.update({name: data for name, data in before.items() if rng.random() < 0.5})
    elif how == 3:
        limit = {"timestamp.json": 16384}.get(name, 5000000 if "targets" in name else 2000000)
        repo.files[name] += b" " * rng.choice([limit - len(repo.files[name]), limit])
    else:
        repo.files.update(before)
    return f"served {name} {how}"


def keys(repo, rng):
    """Keys are changed, added, removed; thresholds move; roots skip or lack a hand."""
    root = repo.signed["root"]
    old = list(repo.signers["root"])
    role, how = rng.choice(TOP), rng.randrange(7)
    entry = root["roles"][role]
    new = repo.signer()
    root["keys"][new.public_key.keyid] = new.public_key.to_dict()
    if how in (0, 1):
        entry["keyids"] = [new.public_key.keyid]
        entry["threshold"] = 1
        # With 1 the old keys go on signing.
        if how == 0:
            repo.signers[role] = [new]
    elif how == 2:
        entry["keyids"].append(new.public_key.keyid)
        repo.signers[role] = [*repo.signers[role], new]
    elif how == 3:
        entry["threshold"] += rng.choice([-1, 1, 2])
    elif how == 4:
        entry["keyids"].append(rng.choice([entry["keyids"][0], "unknown"]))
    elif how == 5:
        twin = repo.signers[role][0].public_key
        root["keys"]["twin"] = twin.to_dict()
        entry["keyids"].append("twin")
    else:
        del root["roles"][role]
    root["version"] += rng.choice([1, 1, 1, 1, 0, 2])

    hands = rng.randrange(6)

    def spoil(step, what):
        if step != "sign" or what[0] != "root":
            return None
        distinct = {hand.public_key.keyid: hand for hand in [*old, *repo.signers["root"]]}
        both = list(distinct.values())
        who = {0: old, 1: repo.signers["root"]}.get(hands, both)
        return repo.sign("root", signers=who)

    if rng.random() < 0.5:
        repo.raise_versions(TOP[1:])
    elif rng.random() < 0.5:
        for lower in ["timestamp", "snapshot"]:
            repo.signed[lower]["version"] = 1
    repo.publish(spoil)
    return f"keys {role} {how} hands {hands}"


def delegations(repo, rng):
    """Roles delegate to one another at random: shared, circular, terminating, unlisted."""
    names = ["d1", "d2", "vendor/acme", "site?"]
    patterns = ["*", "d", "of/*", "*/*", "of/d?", "[a-f]", "vendor/*/pump", "turbine/1", "", "?", "of"]
    rng.shuffle(names)
    parents = ["targets"]
    for name in names[: rng.randrange(1, 5)]:
        for parent in rng.sample(parents, rng.randrange(1, len(parents) + 1)):
            if rng.random() < 0.15:
                how = {"path_hash_prefixes": [f"{rng.randrange(16):x}" for _ in range(rng.randrange(1, 9))]}
            else:
                how = {"paths": rng.sample(patterns, rng.randrange(1, 4))}
            repo.delegate(parent, name, terminating=rng.random() < 0.3, **how)
        parents.append(name)
    for name in parents[1:]:
        del repo.signed[name]["targets"][rng.choice(["d", f"of/{name}"])]
    if rng.random() < 0.2 and len(parents) > 2:
        repo.delegate(parents[-1], parents[1])
    repo.raise_versions([role for role in repo.signed if rng.random() < 0.8 and role in TOP[1:]])
    where = rng.choice(list(repo.signed))

    def spoil(step, what):
        if step == "say" and what == "snapshot" and rng.random() < 0.1 and len(parents) > 1:
            del repo.signed["snapshot"]["meta"][f"{rng.choice(parents[1:])}.json"]
        if step == "sign" and what[0] == where and rng.random() < 0.1:
            return repo.sign(where, signers=[repo.signer()])
        return None

    repo.publish(spoil)
    return f"delegations {len(parents) - 1}"


def nothing(repo, rng):
    """A rightful change."""
    repo.raise_versions(rng.choice([[], ["timestamp"], ["snapshot", "timestamp"], TOP[1:], TOP]))
    repo.publish()
    return "nothing"


WAYS = [say, say, say, versions, expiry, signatures, listing, written, served, keys, delegations, nothing]
