//! lineside-rules
