"""The mean of a window of readings: an example to be replaced.

lineside/wit/plugin.wit says what is called when. `Err` with a text for people refuses: the frame counts
as an error, and the plugin goes on with the next one; any other exception breaks the instance, and a fresh
one goes on. So do `print`, `time.time()` and whatever else asks for something from outside: there is no
clock but frame.time_ns, and `random` gives the same numbers in each instance. What is imported is imported
up here, while the plugin is built: there are no files later.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.processor import Data_Float32, Element, Port, Ports, Tensor


class Processor(exports.Processor):
    def configure(self, settings):
        """Takes the settings of bundle.toml; says which tensors `process` takes and gives."""
        text = dict(settings).get("rows", "6")
        if not text.isdecimal() or not 1 <= int(text) <= 100000:
            raise Err(f"rows = {text!r} must be a whole number from 1 to 100000")
        return Ports(
            inputs=[Port("x", Element.FLOAT32, [int(text)])],
            outputs=[Port("mean", Element.FLOAT32, [1])],
        )

    def process(self, frame, inputs):
        """Takes a frame's tensors in the order of the inputs; gives results, each with all outputs."""
        x = inputs[0].data.value
        return [[Tensor("mean", [1], Data_Float32([sum(x) / len(x)]))]]

    def finish(self):
        """Gives what was held back for want of later readings, at the end of a recording."""
        return []
