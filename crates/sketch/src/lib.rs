//! lineside-sketch
