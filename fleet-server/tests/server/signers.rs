//! People with keys, and a bundle that they release.

use crate::running::{As, Reply, Running};
use lineside_bundle::{
    ARTIFACT_TYPE, CONFIG_TYPE, Descriptor, Digest, MANIFEST_TYPE, OciManifest, ReleaseId, TITLE,
    media_type,
};
use lineside_trust::{
    KeyPair, PublicKey, ReleasesDraft, Root, RootSpec, sign_root, verify_releases,
};
use ring::rand::SystemRandom;
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// Root and release keys.
pub struct Signers {
    pub root: KeyPair,
    pub release: KeyPair,
    pub spec: RootSpec,
}

pub fn key() -> KeyPair {
    KeyPair::generate(&SystemRandom::new()).unwrap()
}

pub fn in_a_year() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::days(365)
}

impl Signers {
    /// Makes keys, and a root that names the server's.
    pub fn new(server: &Running) -> Signers {
        let keys = server.get("/api/v1/online-keys").json();
        let public = |name: &str| serde_json::from_value::<PublicKey>(keys[name].clone()).unwrap();
        let (root, release) = (key(), key());
        let spec = RootSpec {
            version: 1,
            expires: in_a_year(),
            root: (vec![root.public()], 1),
            releases: (vec![release.public()], 1),
            online: public("online"),
            director: public("director"),
        };
        Signers { root, release, spec }
    }

    /// The same, and the root is uploaded.
    pub fn enrolled(server: &Running) -> Signers {
        let signers = Signers::new(server);
        let reply = server.put_root(&signers.root_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
        signers
    }

    pub fn root_bytes(&self) -> Vec<u8> {
        sign_root(&self.spec, &[&self.root])
    }

    /// The list of releases after the server's, with these in addition.
    pub fn releases(&self, server: &Running, add: &[ReleaseId], keys: &[&KeyPair]) -> Vec<u8> {
        let mut draft = self.draft(server);
        for id in add {
            draft.add(id.clone(), None).unwrap();
        }
        draft.sign(in_a_year(), keys)
    }

    /// The list of releases after the server's, to be changed.
    pub fn draft(&self, server: &Running) -> ReleasesDraft {
        let root = Root::pin(&server.get("/api/v1/root").body).unwrap();
        let current = server.get("/api/v1/releases");
        let now = OffsetDateTime::now_utc();
        let trusted = (current.status == 200)
            .then(|| verify_releases(&root, &current.body, None, now).unwrap());
        ReleasesDraft::after(trusted.as_ref())
    }

    /// Pushes a bundle and releases it.
    pub fn release(&self, server: &Running, version: &str) -> ReleaseId {
        let artifact = artifact("turbine", version);
        artifact.push(server);
        let list = self.releases(server, std::slice::from_ref(&artifact.id), &[&self.release]);
        let reply = server.put("/api/v1/releases", &list);
        assert_eq!(reply.status, 200, "{}", reply.text());
        artifact.id
    }
}

/// An artifact with a config blob and one layer.
pub struct Artifact {
    pub id: ReleaseId,
    pub manifest: Vec<u8>,
    pub blobs: Vec<Vec<u8>>,
}

/// An artifact of its own for each name and version.
pub fn artifact(name: &str, version: &str) -> Artifact {
    let config = format!("{{\"name\":{name:?},\"version\":{version:?}}}").into_bytes();
    let model = format!("model of {name} {version}").repeat(1000).into_bytes();
    let describe = |bytes: &[u8], media_type: &str| Descriptor {
        media_type: media_type.into(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        annotations: BTreeMap::new(),
    };
    let manifest = OciManifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.into(),
        artifact_type: ARTIFACT_TYPE.into(),
        config: describe(&config, CONFIG_TYPE),
        layers: vec![Descriptor {
            annotations: BTreeMap::from([(TITLE.to_owned(), "models/x.onnx".to_owned())]),
            ..describe(&model, media_type("models/x.onnx"))
        }],
        annotations: BTreeMap::new(),
    };
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let id = ReleaseId {
        name: name.parse().unwrap(),
        version: version.parse().unwrap(),
        digest: Digest::of(&manifest),
        size: manifest.len() as u64,
    };
    Artifact { id, manifest, blobs: vec![config, model] }
}

impl Artifact {
    pub fn push_blob(&self, server: &Running, at: usize) -> Reply {
        let digest = Digest::of(&self.blobs[at]);
        let path = format!("/v2/{}/blobs/uploads/?digest={digest}", self.id.name);
        server.ask("POST", &path, As::Administrator, &self.blobs[at])
    }

    pub fn push_manifest(&self, server: &Running, reference: &str) -> Reply {
        let path = format!("/v2/{}/manifests/{reference}", self.id.name);
        let headers = [("content-type", MANIFEST_TYPE)];
        server.ask_with("PUT", &path, As::Administrator, &headers, &self.manifest)
    }

    pub fn push(&self, server: &Running) {
        for at in 0..self.blobs.len() {
            assert_eq!(self.push_blob(server, at).status, 201);
        }
        let reply = self.push_manifest(server, self.id.version.as_str());
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
}
