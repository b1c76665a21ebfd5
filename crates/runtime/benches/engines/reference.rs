//! onnxruntime as anybody calls it from Rust: what our engines are compared with.

use crate::Result;
use lineside_runtime::{Data, SharedLibrary, Tensor};
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;
use std::hint::black_box;

/// The library, loaded.
pub struct Reference {
    environment: Environment,
}

/// A model in it, with what it is given in each run.
pub struct Peer<'a> {
    session: Session,
    inputs: Vec<&'a Tensor>,
}

impl Reference {
    /// The library, which this process has once for all who use it.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn open(library: &SharedLibrary) -> Result<Reference> {
        Ok(Reference { environment: library.environment()? })
    }

    /// A session of one thread, and otherwise as it comes.
    ///
    /// # Errors
    /// It takes no such model.
    pub fn session<'a>(&self, model: &[u8], inputs: &[&'a Tensor]) -> Result<Peer<'a>> {
        let mut builder = Session::builder(&self.environment)?
            .with_intra_threads(1)
            .map_err(|error| error.to_string())?;
        let session = builder.commit_from_memory(model)?;
        Ok(Peer { session, inputs: inputs.to_vec() })
    }
}

impl Peer<'_> {
    /// Runs it once, and leaves what it gives where it lies.
    ///
    /// # Errors
    /// What it says.
    pub fn run(&mut self) -> Result<()> {
        let values = self.inputs.iter().map(|tensor| passed(tensor));
        let values = values.collect::<Result<Vec<SessionInputValue<'_>>>>()?;
        let answers = self.session.run(values.as_slice())?;
        black_box(&answers);
        Ok(())
    }
}

fn passed(tensor: &Tensor) -> Result<SessionInputValue<'_>> {
    let shape = tensor.shape();
    Ok(match tensor.data() {
        Data::F32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::I64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        other => return Err(format!("no model here takes {}", other.element()).into()),
    })
}
