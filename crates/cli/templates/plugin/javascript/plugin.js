// The mean of a window of readings: an example to be replaced.
//
// lineside/wit/plugin.wit says what is called when. A text that is thrown refuses: the frame counts as an
// error, and the plugin goes on with the next one. An Error that is thrown breaks the instance, and a fresh
// one goes on. There is no clock but frame.timeNs, and no chance: Date tells when the plugin was built,
// Math.random gives the same numbers in each instance.

export const processor = {
  /** Takes the settings of bundle.toml, pairs of texts; says which tensors `process` takes and gives. */
  configure(settings) {
    const text = new Map(settings).get("rows") ?? "6";
    const rows = Number(text);
    if (!Number.isInteger(rows) || rows < 1 || rows > 100000) {
      throw `rows = "${text}" must be a whole number from 1 to 100000`;
    }
    return {
      inputs: [{ name: "x", element: "float32", shape: [rows] }],
      outputs: [{ name: "mean", element: "float32", shape: [1] }],
    };
  },

  /** Takes a frame's tensors in the order of the inputs; gives results, each with all outputs. */
  process(frame, inputs) {
    const x = inputs[0].data.val;
    let sum = 0;
    for (const value of x) sum += value;
    const data = { tag: "float32", val: [sum / x.length] };
    return [[{ name: "mean", shape: [1], data }]];
  },

  /** Gives what was held back for want of later readings, at the end of a recording. */
  finish() {
    return [];
  },
};
