//! ecg-beats
