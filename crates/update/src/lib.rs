//! lineside-update
