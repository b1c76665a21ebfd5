//! What the stages about images have in common.

use super::Input;

/// The size of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// The size of what feeds a stage.
///
/// # Errors
/// What is no image.
pub(super) fn size(input: &Input<'_>) -> Result<Size, String> {
    input.check_numbers()?;
    match *input.flow.port.shape() {
        [height, width] => Ok(Size { height, width, channels: 1 }),
        [height, width, channels] => Ok(Size { height, width, channels }),
        _ => Err(input.wrong("[height, width] or [height, width, channels] is needed")),
    }
}

/// The shape of what feeds a stage, with another height and width.
pub(super) fn resized(input: &Input<'_>, height: usize, width: usize) -> Vec<usize> {
    let channels = input.flow.port.shape().iter().skip(2);
    [height, width].into_iter().chain(channels.copied()).collect()
}
