//! lineside-tests
