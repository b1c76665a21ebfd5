//! lineside-wire
