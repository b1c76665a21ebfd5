//! Generated from the plugin interface.

#![allow(missing_docs)]

wasmtime::component::bindgen!({
    path: "../../plugins/wit",
    world: "plugin",
    // What a plugin takes is read where it lies, and copied only into its memory.
    ownership: Borrowing { duplicate_if_necessary: true },
});
