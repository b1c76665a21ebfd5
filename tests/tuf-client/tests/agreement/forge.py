"""Forges repositories and writes them with what python-tuf's client thinks of each.

    forge.py FILE SEED COUNT

One line of JSON a case: a first root, then states of the repository one after another; the client is
started anew for each and keeps its metadata folder. Bytes are written as Latin-1.
"""

import copy
import hashlib
import json
import multiprocessing
import random
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

import scenarios
import spoil
from repository import NOW, TOP, Repository

PATHS = ["a", "d", "of/d1", "of/d2", "of/vendor/acme", "vendor/acme/pump", "of/site?"]


class Served(FetcherInterface):
    """Files in memory."""

    def __init__(self, files):
        self.files = files

    def _fetch(self, url):
        name = url.removeprefix("http://mirror/")
        if name not in self.files:
            raise DownloadHTTPError("no such file", 404)
        return iter([self.files[name]])


def trusted(folder):
    """The versions in a folder of metadata."""
    versions = {}
    for role in TOP:
        path = Path(folder, f"{role}.json")
        if path.exists():
            versions[role] = json.loads(path.read_bytes())["signed"]["version"]
    return versions


def is_relisted(files, folder):
    """Whether a document in the folder is listed now with its version and another digest."""
    for data in files.values():
        try:
            listed = json.loads(data)["signed"]["meta"].items()
            for name, entry in listed:
                kept = Path(folder, quote(name, "")).read_bytes()
                same = json.loads(kept)["signed"]["version"] == entry["version"]
                if same and entry["hashes"]["sha256"] != hashlib.sha256(kept).hexdigest():
                    return True
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return False


def chain(error):
    """What an error says, with its causes."""
    said = []
    while error is not None:
        said.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return "; ".join(said)[:400]


def opinion(root, files, now, folder, paths):
    """What python-tuf's client makes of a state: how it ends, what it trusts, what it finds."""
    found = {}
    try:
        updater = Updater(folder, "http://mirror/", fetcher=Served(files), bootstrap=root)
        updater._trusted_set.reference_time = now  # noqa: SLF001: there is no other way to hand in a time
        updater.refresh()
    except Exception as error:  # noqa: BLE001: whatever it is, it accepts nothing
        return {"ok": False, "why": chain(error), "versions": trusted(folder)}
    versions = trusted(folder)
    why = ""
    for path in paths:
        try:
            file = updater.get_targetinfo(path)
        except Exception as error:  # noqa: BLE001
            found[path] = "refused"
            why = chain(error)
            break
        found[path] = None if file is None else {"length": file.length, "hashes": file.hashes}
    return {"ok": True, "why": why, "versions": versions, "found": found}


def case(name, root, states, paths=PATHS):
    """A case with the opinion on each of its states (`files`, `now`)."""
    steps = []
    with tempfile.TemporaryDirectory() as folder:
        for files, now in states:
            relisted = is_relisted(files, folder)
            step = opinion(root, files, now, folder, paths)
            step["relisted"] = relisted
            step["now"] = int(now.timestamp())
            step["files"] = {name: data.decode("latin-1") for name, data in files.items()}
            steps.append(step)
    return {"name": name, "root": root.decode("latin-1"), "paths": paths, "steps": steps}


def forged(seed):
    """A case by chance: a repository, spoiled once or twice, and then perhaps mended."""
    rng = random.Random(seed)
    repo = Repository(rng, consistent=rng.random() < 0.8)
    names, states = [], []
    if rng.random() < 0.3:
        repo.delegate("targets", "d1", paths=["d", "of/*"])
    repo.publish()
    root = repo.files["1.root.json"]
    good = copy.deepcopy(repo.signed)
    if rng.random() < 0.7:
        states.append((dict(repo.files), NOW))
    for _ in range(rng.choice([1, 1, 2, 2, 3])):
        way = rng.choice(spoil.WAYS)
        try:
            if states and way is not spoil.versions and rng.random() < 0.9:
                repo.raise_versions(rng.choice([["timestamp"], ["snapshot", "timestamp"], *[TOP[1:]] * 4]))
            names.append(way(repo, rng))
        except Exception as error:  # noqa: BLE001: nobody can sign what was spoiled like this
            names.append(f"stopped by {type(error).__name__}")
        states.append((dict(repo.files), NOW + timedelta(seconds=rng.choice([0, 0, 0, 3600]))))
        if way is not spoil.keys and rng.random() < 0.7:
            # Mended, with higher versions.
            for role in TOP[1:]:
                good[role]["version"] += 2
            repo.signed = copy.deepcopy(good)
    return json.dumps(case(f"{seed}: {', '.join(names)}", root, states))


def main():
    file, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with Path(file).open("w") as out, multiprocessing.Pool() as pool:
        for scene in scenarios.all_of_them():
            told = case(scene.name, scene.root, scene.states, scene.paths)
            told.update(must=scene.must, reference_errs=scene.reference_errs)
            out.write(json.dumps(told) + "\n")
        for line in pool.imap(forged, range(seed, seed + count), chunksize=20):
            out.write(line + "\n")


if __name__ == "__main__":
    main()
