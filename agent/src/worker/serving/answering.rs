//! The worker's side: one thread, the models of one bundle, requests in, answers out.

use crate::worker::message::{frame_within, read_within};
use crate::worker::serving::message::{FromServing, SERVING_BYTES_MAX, ToServing};
use lineside_runtime::{Models, ServeError};
use std::io::{self, Read, Write};

/// Answers requests to `models`, or says why there are none, until the supervisor closes the socket.
///
/// # Errors
/// What the socket says.
pub fn answer(
    input: &mut impl Read,
    output: &mut impl Write,
    models: Result<Models, String>,
) -> io::Result<()> {
    let said = match &models {
        Ok(models) => FromServing::Offers(models.offered()),
        Err(reason) => FromServing::Failed(reason.clone()),
    };
    output.write_all(&frame_within(&said, SERVING_BYTES_MAX)?)?;
    output.flush()?;
    let Ok(mut models) = models else { return Ok(()) };
    while let Some(message) = read_within::<ToServing>(input, SERVING_BYTES_MAX)? {
        let ToServing::Run { batch, stage, requests } = message;
        let answers = models.run(&stage, &requests);
        let bytes = match frame_within(&FromServing::Ran { batch, answers }, SERVING_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                let large = || Err(ServeError::Model(format!("its answer is too large: {error}")));
                let answers = requests.iter().map(|_| large()).collect();
                frame_within(&FromServing::Ran { batch, answers }, SERVING_BYTES_MAX)?
            }
        };
        output.write_all(&bytes)?;
        output.flush()?;
    }
    Ok(())
}
