//! The real server, on free ports of this machine, with folders of its own.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod access;
mod alerts;
mod artifacts;
mod ask;
mod audit;
mod backup;
mod books;
mod channels;
mod clock;
mod connections;
mod credentials;
mod crowd;
mod devices;
mod encrypted;
mod gate;
mod identity;
mod learnt;
mod logs;
mod manners;
mod metrics;
mod mqtt;
mod oci;
mod openapi;
mod overview;
mod page;
mod process;
mod proposals;
mod raw;
mod recovery;
mod referrers;
mod releases;
mod reports;
mod rollouts;
mod running;
mod signers;
mod storage;
mod telemetry;
mod tokens;
mod traces;
mod tuf;
