//! lineside-runtime
