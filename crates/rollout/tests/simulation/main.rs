//! Thousands of small fleets with random lives: reports that are lost, late, doubled and out of order,
//! devices that come, go, forget and hang, releases that are bad in every way, people who change their
//! minds, clocks that jump, and servers that die between writing down and doing. Whatever happens, every
//! promise is kept.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod device;
mod dice;
mod ledger;
mod life;
mod promises;
mod world;

use life::lived;

/// Lives that are lived, unless `LINESIDE_SEEDS` says how many.
const SEEDS: u64 = 1000;
/// Seeds that once broke a promise. Only ever added to.
const KEPT: [u64; 3] = [64, 289, 3978];

#[test]
fn whatever_happens_every_promise_is_kept() {
    let seeds = std::env::var("LINESIDE_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let (mut committed, mut devices) = (0, 0);
    for seed in KEPT.into_iter().chain(0..seeds) {
        match lived(seed) {
            Ok(world) => {
                committed += world.committed();
                devices += world.devices.len();
            }
            Err(broken) => panic!("seed {seed}: {broken}"),
        }
    }
    // Lives are worth something only if much happens in them, and if not all end well.
    assert!(committed > devices / 8 && committed < devices, "{committed} of {devices}");
}
