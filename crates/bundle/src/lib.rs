//! lineside-bundle
