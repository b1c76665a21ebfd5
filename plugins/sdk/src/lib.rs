#![doc = include_str!("../README.md")]

pub mod blocks;
#[cfg(any(test, all(target_family = "wasm", not(target_feature = "atomics"))))]
#[allow(unsafe_code)] // An allocator is made of it.
mod heap;

#[doc(hidden)]
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    // Generated from the interface; the allowances above are for its code, not ours.
    wit_bindgen::generate!({
        path: "../wit",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "lineside_plugin::bindings",
    });
}

use bindings::exports::lineside::plugin::processor as wit;
use std::collections::BTreeMap;

pub use wit::{Data, Element, Frame, Port, Ports, Tensor};

/// Says a line, for people: where the plugin runs it is written to the log, as far as the bundle's limits
/// for lines go. What is more is dropped and counted.
pub fn say(line: &str) {
    #[cfg(target_family = "wasm")]
    bindings::lineside::plugin::log::line(line);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{line}");
}

/// The settings of the plugin's stage in `bundle.toml`.
pub type Settings = BTreeMap<String, String>;

/// What a plugin does. One value lives per stream (key) and sees that stream's frames in order.
pub trait Plugin: Sized + 'static {
    /// Reads the settings; says which tensors [`Plugin::process`] takes and gives.
    ///
    /// # Errors
    /// A sentence for the bundle's author.
    fn configure(settings: &Settings) -> Result<(Self, Ports), String>;

    /// Takes a frame's tensors in the order of the input ports; gives results, each with all output ports.
    ///
    /// # Errors
    /// A sentence; the frame counts as an error, and the plugin goes on with the next one.
    fn process(&mut self, frame: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String>;

    /// Gives what was held back for want of later readings, at the end of a recording.
    ///
    /// # Errors
    /// As [`Plugin::process`].
    fn finish(&mut self) -> Result<Vec<Vec<Tensor>>, String> {
        Ok(vec![])
    }
}

impl Ports {
    /// No ports yet.
    pub fn new() -> Ports {
        Ports { inputs: vec![], outputs: vec![] }
    }

    /// Adds an input of 32-bit floats.
    pub fn input_f32(mut self, name: &str, shape: &[u32]) -> Ports {
        self.inputs.push(port(name, Element::Float32, shape));
        self
    }

    /// Adds an input of 64-bit integers.
    pub fn input_i64(mut self, name: &str, shape: &[u32]) -> Ports {
        self.inputs.push(port(name, Element::Signed64, shape));
        self
    }

    /// Adds an input of booleans.
    pub fn input_bool(mut self, name: &str, shape: &[u32]) -> Ports {
        self.inputs.push(port(name, Element::Boolean, shape));
        self
    }

    /// Adds an output of 32-bit floats.
    pub fn output_f32(mut self, name: &str, shape: &[u32]) -> Ports {
        self.outputs.push(port(name, Element::Float32, shape));
        self
    }

    /// Adds an output of 64-bit integers.
    pub fn output_i64(mut self, name: &str, shape: &[u32]) -> Ports {
        self.outputs.push(port(name, Element::Signed64, shape));
        self
    }

    /// Adds an output of booleans.
    pub fn output_bool(mut self, name: &str, shape: &[u32]) -> Ports {
        self.outputs.push(port(name, Element::Boolean, shape));
        self
    }
}

impl Default for Ports {
    fn default() -> Ports {
        Ports::new()
    }
}

impl Tensor {
    /// A tensor of 32-bit floats, row by row.
    pub fn f32(name: &str, shape: &[u32], values: Vec<f32>) -> Tensor {
        Tensor { name: name.into(), shape: shape.to_vec(), data: Data::Float32(values) }
    }

    /// A tensor of 64-bit integers, row by row.
    pub fn i64(name: &str, shape: &[u32], values: Vec<i64>) -> Tensor {
        Tensor { name: name.into(), shape: shape.to_vec(), data: Data::Signed64(values) }
    }

    /// A tensor of booleans, row by row.
    pub fn bool(name: &str, shape: &[u32], values: Vec<bool>) -> Tensor {
        Tensor { name: name.into(), shape: shape.to_vec(), data: Data::Boolean(values) }
    }

    /// The values of a tensor of 32-bit floats.
    ///
    /// # Errors
    /// A sentence if it holds something else.
    pub fn as_f32(&self) -> Result<&[f32], String> {
        match &self.data {
            Data::Float32(values) => Ok(values),
            _ => Err(format!("tensor {} does not hold 32-bit floats", self.name)),
        }
    }

    /// The values of a tensor of 64-bit integers.
    ///
    /// # Errors
    /// A sentence if it holds something else.
    pub fn as_i64(&self) -> Result<&[i64], String> {
        match &self.data {
            Data::Signed64(values) => Ok(values),
            _ => Err(format!("tensor {} does not hold 64-bit integers", self.name)),
        }
    }

    /// The values of a tensor of booleans.
    ///
    /// # Errors
    /// A sentence if it holds something else.
    pub fn as_bool(&self) -> Result<&[bool], String> {
        match &self.data {
            Data::Boolean(values) => Ok(values),
            _ => Err(format!("tensor {} does not hold booleans", self.name)),
        }
    }
}

fn port(name: &str, element: Element, shape: &[u32]) -> Port {
    Port { name: name.into(), element, shape: shape.to_vec() }
}

/// Makes a type that implements [`Plugin`] the plugin of this crate.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        #[doc(hidden)]
        pub mod lineside_export {
            use super::*;
            use $crate::bindings::exports::lineside::plugin::processor;

            std::thread_local! {
                static PLUGIN: std::cell::RefCell<Option<$plugin>> =
                    const { std::cell::RefCell::new(None) };
            }

            pub struct Exported;

            fn with<T>(act: impl FnOnce(&mut $plugin) -> Result<T, String>) -> Result<T, String> {
                PLUGIN.with_borrow_mut(|plugin| match plugin {
                    Some(plugin) => act(plugin),
                    None => Err("configure comes first".into()),
                })
            }

            impl processor::Guest for Exported {
                fn configure(
                    settings: Vec<(String, String)>,
                ) -> Result<processor::Ports, String> {
                    let settings = settings.into_iter().collect();
                    let (plugin, ports) = <$plugin as $crate::Plugin>::configure(&settings)?;
                    PLUGIN.set(Some(plugin));
                    Ok(ports)
                }

                fn process(
                    frame: processor::Frame,
                    inputs: Vec<processor::Tensor>,
                ) -> Result<Vec<Vec<processor::Tensor>>, String> {
                    with(|plugin| $crate::Plugin::process(plugin, &frame, &inputs))
                }

                fn finish() -> Result<Vec<Vec<processor::Tensor>>, String> {
                    with($crate::Plugin::finish)
                }
            }

            // The exported symbols; generated code that the interface prescribes. Their names are
            // not ones that a native linker takes, and native builds are for unit tests only.
            #[cfg(target_family = "wasm")]
            #[allow(unsafe_code)]
            mod glue {
                $crate::bindings::export!(Exported with_types_in $crate::bindings);
                use super::Exported;
            }
        }
    };
}
