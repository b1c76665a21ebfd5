//! lineside-plugin
