//! lost-power
