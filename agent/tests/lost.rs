//! What the ledger counts: readings that no frame accounts for, frames that were committed twice.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_agent::ledger::{Batch, Committed, Ledger, OutboxLimits, SlotRecord, Span};
use lineside_agent::store::Store;
use lineside_agent::worker::route::{JournalStep, StreamState};

fn ledger(folder: &tempfile::TempDir) -> Ledger {
    let store = Store::open(&folder.path().join("state")).unwrap();
    Ledger::open(&store, OutboxLimits { findings_max: 100, block: true }).unwrap()
}

/// Frames of one stream that account for these readings, first and last.
fn batch(spans: &[(u64, u64)]) -> Box<Batch> {
    let accounted = spans.iter().map(|(_, last)| last + 1).max().unwrap();
    let span = |(first, last): &(u64, u64)| Span { key: "A".into(), first: *first, last: *last };
    let state = StreamState { next: accounted, accounted };
    Box::new(Batch {
        slot: "turbine".parse().unwrap(),
        record: SlotRecord::default(),
        journal: JournalStep { streams: vec![("A".into(), state)], ..JournalStep::default() },
        spans: spans.iter().map(span).collect(),
        findings: Vec::new(),
    })
}

#[tokio::test]
async fn a_hole_is_counted_as_lost_and_an_overlap_as_doubled_within_a_batch_and_between_batches() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    for (spans, lost, doubled) in [
        (&[(0, 5), (6, 11)][..], 0, 0),
        // Three readings are skipped within the batch.
        (&[(12, 17), (21, 23)], 3, 0),
        // Six between the last batch and this one.
        (&[(30, 35)], 6, 0),
        // A frame again, and one that begins within it.
        (&[(30, 35), (36, 41)], 0, 1),
        (&[(40, 47)], 0, 1),
        (&[(48, 53)], 0, 0),
    ] {
        let committed = ledger.commit(batch(spans)).await.await.unwrap().unwrap();
        assert_eq!(committed, Committed { lost, doubled }, "{spans:?}");
    }
    let counts = ledger.restore(&"turbine".parse().unwrap()).unwrap().record.counts;
    assert_eq!((counts.lost, counts.doubled), (9, 2), "a restart finds what was counted");
}

#[tokio::test]
async fn a_stream_that_begins_above_all_earlier_numbers_has_lost_nothing_before_its_first_reading()
{
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder);
    let first = 1 << 40;
    let mut begins = batch(&[(first, first + 5), (first + 7, first + 9)]);
    begins.journal.begun.insert("A".into(), first);
    let committed = ledger.commit(begins).await.await.unwrap().unwrap();
    assert_eq!(committed, Committed { lost: 1, doubled: 0 });
    let committed = ledger.commit(batch(&[(first + 10, first + 12)])).await.await.unwrap().unwrap();
    assert_eq!(committed, Committed::default());
}
