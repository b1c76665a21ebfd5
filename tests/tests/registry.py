"""Speaks to a registry with oras, a client of OCI registries that is not ours.

    registry.py HOST TOKEN COMMAND [ARGUMENT ...]

Prints one JSON document.
"""

import hashlib
import json
import sys
from pathlib import Path

from oras.layout.layout import Layout, NewLayoutFromRegistry
from oras.oci import Subject
from oras.provider import Registry

# A model takes several pieces.
PIECE_BYTES = 5_000

host, token, command = sys.argv[1:4]
registry = Registry(hostname=host, insecure=True, auth_backend="basic")
registry.auth.set_basic_auth("admin", token)
# Past any proxy.
registry.session.trust_env = False


class Cut(Exception):
    """A network that has gone."""


def ask(method, path, **more):
    """What the registry answers; any status is an answer."""
    return registry.do_request(f"http://{host}{path}", method, **more)


def push(folder, name, version):
    """Pushes an OCI image layout, its blobs in pieces."""
    answer = Layout(folder).push_to_registry(
        registry, f"{host}/{name}:{version}", tag=version, do_chunked=True, chunk_size=PIECE_BYTES
    )
    return answer.headers["docker-content-digest"]


def pull(name, version, folder):
    """Pulls an artifact into a new OCI image layout."""
    NewLayoutFromRegistry(folder, registry, f"{host}/{name}:{version}", tag=version)
    return registry.get_tags(f"{host}/{name}")


def break_off(name, file):
    """Uploads a blob through a connection that ends in its middle, and goes on from there."""
    blob = Path(file).read_bytes()
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    place = ask("POST", f"/v2/{name}/blobs/uploads/").headers["location"]

    def half():
        yield blob[: len(blob) // 2]
        raise Cut

    try:
        headers = registry.auth.get_auth_header()
        registry.session.patch(f"http://{host}{place}", data=half(), headers=headers)
    except Cut:
        registry.session.close()
    progress = ask("GET", place)
    came = int(progress.headers["range"].split("-")[1]) + 1
    at = came
    while at < len(blob):
        piece = blob[at : at + PIECE_BYTES]
        headers = {"Content-Range": f"{at}-{at + len(piece) - 1}"}
        sent = ask("PATCH", place, data=piece, headers=headers)
        # As if the answer had been lost: the same piece again belongs nowhere.
        again = ask("PATCH", place, data=piece, headers=headers)
        place, at = sent.headers["location"], at + len(piece)
        assert (sent.status_code, again.status_code) == (202, 416), (sent.text, again.text)
        assert again.headers["range"] == f"0-{at - 1}"
    ended = ask("PUT", f"{place}?digest={digest}")
    assert ended.status_code == 201, ended.text
    return {"digest": digest, "came": came}


def parts(name, digest, file):
    """Pulls a blob in parts, the last one first, into a file."""
    path = f"/v2/{name}/blobs/{digest}"
    size = int(ask("HEAD", path).headers["content-length"])
    made = bytearray(size)
    for first in reversed(range(0, size, PIECE_BYTES)):
        headers = {"Range": f"bytes={first}-{first + PIECE_BYTES - 1}"}
        part = ask("GET", path, headers=headers)
        assert part.status_code == 206, part.text
        last = first + len(part.content) - 1
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        made[first : last + 1] = part.content
    Path(file).write_bytes(made)
    return size


def note(name, tag, digest, size, file):
    """Pushes a note about an artifact; gives what the registry says that it is about."""
    about = Subject("application/vnd.oci.image.manifest.v1+json", digest, int(size))
    answer = registry.push(
        f"{host}/{name}:{tag}",
        files=[f"{file}:text/plain"],
        subject=about,
        disable_path_validation=True,
        quiet=True,
    )
    return answer.headers["oci-subject"]


def referrers(name, digest):
    """What is about an artifact."""
    return ask("GET", f"/v2/{name}/referrers/{digest}").json()


def read(name, tag, folder):
    """Pulls the files of an artifact."""
    return [Path(file).read_text() for file in registry.pull(f"{host}/{name}:{tag}", outdir=folder)]


def delete(name, tag):
    """Takes an artifact away; gives why not, if it is not."""
    try:
        return registry.delete_tag(f"{host}/{name}:{tag}", tag)
    except RuntimeError as error:
        return str(error)


commands = [push, pull, break_off, parts, note, referrers, read, delete]
print(json.dumps({it.__name__: it for it in commands}[command](*sys.argv[4:])))
