//! lineside-trust
