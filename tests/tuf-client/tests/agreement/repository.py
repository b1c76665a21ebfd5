"""A TUF repository that can be spoiled at every step between saying something and serving it."""

import copy
import hashlib
import json
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)
TOP = ["root", "timestamp", "snapshot", "targets"]


def iso(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


class Repository:
    """The documents as they shall be next (`signed`), who signs them, and what is served."""

    def __init__(self, rng, consistent=True):
        self.rng = rng
        self.later = NOW + timedelta(days=365)
        self.signers = {}
        self.files = {}
        self.served_versions = {}
        root = Root(expires=self.later, consistent_snapshot=consistent)
        for role, count, threshold in [
            ("root", 3, 2),
            ("timestamp", 1, 1),
            ("snapshot", 1, 1),
            ("targets", 3, 2),
        ]:
            self.signers[role] = [self.signer() for _ in range(count)]
            for signer in self.signers[role]:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = threshold
        targets = Targets(expires=self.later)
        for path in ["turbine/1", "a", "vendor/acme/pump"]:
            targets.targets[path] = TargetFile.from_data(path, path.encode(), ["sha256"])
        self.signed = {
            "root": root.to_dict(),
            "timestamp": Timestamp(expires=self.later, snapshot_meta=MetaFile(1)).to_dict(),
            "snapshot": Snapshot(expires=self.later).to_dict(),
            "targets": targets.to_dict(),
        }

    def signer(self):
        key = Ed25519PrivateKey.from_private_bytes(self.rng.randbytes(32))
        return CryptoSigner(key)

    def roles(self):
        """The roles with documents of targets."""
        return [role for role in self.signed if role not in TOP[:3]]

    def delegate(self, parent, name, **how):
        """Lets `parent` delegate to a new role that has signed files of its own."""
        self.signers.setdefault(name, [self.signer()])
        delegations = self.signed[parent].setdefault("delegations", {"keys": {}, "roles": []})
        keyids = []
        for signer in self.signers[name]:
            keyids.append(signer.public_key.keyid)
            delegations["keys"][signer.public_key.keyid] = signer.public_key.to_dict()
        role = {"name": name, "keyids": keyids, "threshold": 1, "terminating": False}
        role.update(how or {"paths": ["*"]})
        delegations["roles"].append(role)
        if name not in self.signed:
            files = Targets(expires=self.later)
            for path in ["d", f"of/{name}"]:
                data = f"{path} by {name}".encode()
                files.targets[path] = TargetFile.from_data(path, data, ["sha256", "sha512"])
            self.signed[name] = files.to_dict()

    def sign(self, role, signed=None, signers=None):
        """The signatures of a document, as they are put beside it."""
        canonical = encode_canonical(self.signed[role] if signed is None else signed).encode()
        signers = self.signers[role] if signers is None else signers
        return [
            {"keyid": signer.public_key.keyid, "sig": signer.sign(canonical).signature}
            for signer in signers
        ]

    def served_name(self, role):
        signed = self.signed[role]
        name = f"{role.replace('/', '%2F')}.json"
        consistent = self.signed["root"].get("consistent_snapshot")
        if role == "root" or (consistent and role != "timestamp"):
            return f"{signed.get('version')}.{name}"
        return name

    def serve(self, role, signatures=None, data=None):
        """Signs a document, unless these are to be its signatures, and serves it."""
        if data is None:
            signatures = self.sign(role) if signatures is None else signatures
            envelope = {"signatures": signatures, "signed": self.signed[role]}
            data = json.dumps(envelope, separators=(",", ":")).encode()
        self.files[self.served_name(role)] = data
        return data

    def list(self, above, role, data):
        """Lists a document in the one above it."""
        entry = {"version": self.signed[role].get("version")}
        entry["length"] = len(data)
        entry["hashes"] = {"sha256": hashlib.sha256(data).hexdigest()}
        self.signed[above].setdefault("meta", {})[f"{role}.json"] = entry

    def publish(self, spoil=None):
        """Signs, lists and serves everything. `spoil(step, role)` is asked before each step."""
        spoil = spoil or (lambda step, role: None)
        documents = {}
        for role in ["root", *self.roles(), "snapshot", "timestamp"]:
            if role == "snapshot":
                for below in self.roles():
                    self.list("snapshot", below, documents[below])
            elif role == "timestamp":
                self.list("timestamp", "snapshot", documents["snapshot"])
            spoil("say", role)
            signatures = self.sign(role)
            signatures = spoil("sign", (role, signatures)) or signatures
            documents[role] = self.serve(role, signatures)
            changed = spoil("write", (role, documents[role]))
            if changed is not None:
                documents[role] = self.serve(role, data=changed)
        spoil("serve", self.files)

    def raise_versions(self, roles):
        for role in roles:
            self.signed[role]["version"] += 1

    def snapshot_of_all(self):
        """Everything served now, for later replay."""
        return dict(self.files), copy.deepcopy(self.signed)
