//! The memory of a plugin: small pieces that were given back are handed out again as they are.
//!
//! A call takes and gives back some twenty of them, for the names and shapes of its tensors, and the
//! standard library's allocator needs about a hundred instructions for each. Here a list of free pieces for
//! each size needs ten. Larger ones, and new ones, are the standard library's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;

/// Sizes, and addresses, are multiples of this many bytes.
const STEP: usize = 16;
/// Bytes of the largest piece that is kept.
const KEPT_MAX: usize = 1024;
const SIZES: usize = KEPT_MAX / STEP;

/// Pieces that were given back, by size. Each holds the address of the next.
struct Heap(UnsafeCell<[*mut u8; SIZES]>);

// SAFETY: a plugin is one thread, and devices refuse those that ask for more.
#[cfg(target_family = "wasm")]
unsafe impl Sync for Heap {}

#[cfg(target_family = "wasm")]
#[global_allocator]
static HEAP: Heap = Heap::new();

impl Heap {
    const fn new() -> Heap {
        Heap(UnsafeCell::new([null_mut(); SIZES]))
    }

    /// Which list a piece belongs to; none if it is not kept.
    #[inline]
    fn list(&self, layout: Layout) -> Option<(*mut *mut u8, Layout)> {
        if layout.size() > KEPT_MAX || layout.align() > STEP {
            return None;
        }
        let steps = layout.size().saturating_sub(1) / STEP;
        // SAFETY: there are as many lists as such sizes; the layout's size and alignment are in bounds.
        unsafe {
            let list = self.0.get().cast::<*mut u8>().add(steps);
            Some((list, Layout::from_size_align_unchecked((steps + 1) * STEP, STEP)))
        }
    }
}

// SAFETY: a piece is in a list only between its `dealloc` and the `alloc` that hands it out again, and is as
// large and aligned as everything of its list; whatever is in none is left to the standard library.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe {
            let Some((list, whole)) = self.list(layout) else { return System.alloc(layout) };
            let piece = *list;
            if piece.is_null() {
                return System.alloc(whole);
            }
            *list = *piece.cast::<*mut u8>();
            piece
        }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        unsafe {
            let Some((list, _)) = self.list(layout) else { return System.dealloc(piece, layout) };
            *piece.cast::<*mut u8>() = *list;
            *list = piece;
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe {
            if self.list(layout).is_none() {
                return System.alloc_zeroed(layout);
            }
            let piece = self.alloc(layout);
            if !piece.is_null() {
                piece.write_bytes(0, layout.size());
            }
            piece
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            // Whoever calls has made sure that this size can be.
            let new = Layout::from_size_align_unchecked(size, layout.align());
            match (self.list(layout), self.list(new)) {
                (None, None) => System.realloc(piece, layout, size),
                (Some((one, _)), Some((other, _))) if one == other => piece,
                _ => {
                    let other = self.alloc(new);
                    if !other.is_null() {
                        other.copy_from_nonoverlapping(piece, layout.size().min(size));
                        self.dealloc(piece, layout);
                    }
                    other
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn what_was_given_back_is_handed_out_again_for_the_same_size_alone() {
        let heap = Heap::new();
        unsafe {
            let one = heap.alloc(layout(20, 4));
            let grown = heap.realloc(one, layout(20, 4), 32);
            assert_eq!(one, grown, "there was room");
            heap.dealloc(grown, layout(32, 4));
            let other = heap.alloc(layout(33, 4));
            assert_ne!(one, other);
            let again = heap.alloc_zeroed(layout(17, 16));
            assert_eq!(one, again);
            assert!((0..17).all(|at| *again.add(at) == 0));
            heap.dealloc(again, layout(17, 16));
            heap.dealloc(other, layout(33, 4));
        }
    }

    #[test]
    fn pieces_keep_what_is_in_them_whatever_becomes_of_others() {
        let heap = Heap::new();
        let mut chance = 1u64;
        let mut below = |bound: u64| {
            // Knuth, The Art of Computer Programming, volume 2, section 3.3.4, table 1, line 26.
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (chance >> 33) % bound
        };
        let mut pieces: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let is_whole = |piece: *mut u8, size: usize, mark: u8| unsafe {
            (0..size).all(|at| *piece.add(at) == mark)
        };
        for turn in 0..20_000u64 {
            let size = 1 + below(if turn % 7 == 0 { 3000 } else { 80 }) as usize;
            let place = below(pieces.len() as u64 + 1) as usize;
            let mark = turn as u8;
            unsafe {
                match below(3) {
                    0 if place < pieces.len() => {
                        let (piece, layout, mark) = pieces.swap_remove(place);
                        assert!(is_whole(piece, layout.size(), mark));
                        heap.dealloc(piece, layout);
                    }
                    1 if place < pieces.len() => {
                        let (piece, old, mark) = pieces[place];
                        let piece = heap.realloc(piece, old, size);
                        assert!(is_whole(piece, old.size().min(size), mark));
                        piece.write_bytes(mark, size);
                        pieces[place] = (piece, layout(size, old.align()), mark);
                    }
                    _ => {
                        let wanted = layout(size, 1 << below(6));
                        let piece = heap.alloc(wanted);
                        assert_eq!(piece as usize % wanted.align(), 0);
                        piece.write_bytes(mark, size);
                        pieces.push((piece, wanted, mark));
                    }
                }
            }
        }
        for (piece, layout, mark) in pieces {
            assert!(is_whole(piece, layout.size(), mark));
            unsafe { heap.dealloc(piece, layout) };
        }
    }
}
