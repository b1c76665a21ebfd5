"""What a data scientist has at hand: numpy, onnx and onnxruntime, to compare the desk's tools with.

    desk.py types FOLDER                        a model of one Identity for each type, and arrays for it
    desk.py strange FOLDER                      models that are broken or hostile
    desk.py exported FOLDER                     a recording, models as exporters write them, and their answers
    desk.py inputs MODEL IN.npz [NAME=1,2,3]    arrays for a model, of these shapes where they are free
    desk.py compare MODEL IN.npz OUT.npz        whether onnxruntime gives the same
"""

import csv
import json
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

# As far apart as the engines of the zoo's tests may be.
TOLERANCE = 1e-4

TYPES = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
TYPES += ["float16", "float32", "float64", "str"]
NUMPY = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(string)": "str"}


def number(kind):
    return TensorProto.STRING if kind == "str" else helper.np_dtype_to_tensor_dtype(numpy.dtype(kind))


def save(path, nodes, inputs, outputs, **more):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, **more)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def types(folder):
    for kind in TYPES:
        value = lambda name: helper.make_tensor_value_info(name, number(kind), ["n", 3])
        node = helper.make_node("Identity", ["x"], ["y"])
        save(folder / f"{kind}.onnx", [node], [value("x")], [value("y")])
        array = numpy.array([[0, 1, 0], [1, 1, 0]])
        if kind == "str":
            array = numpy.array([["", "gut", "böse"], ["𝄞", "x" * 40, "0"]])
        array = array.astype(kind)
        # As numpy keeps a transposed array: column by column.
        order = numpy.asfortranarray(array) if kind in ("int16", "float64") else array
        numpy.savez(folder / f"{kind}.npz", x=order)
        numpy.savez_compressed(folder / f"{kind}-compressed.npz", x=array)


def strange(folder):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    integers = lambda name, values: helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
    giant = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    save(folder / "giant.onnx", giant, [x], [y], initializer=[integers("shape", [1 << 20, 1 << 20])])
    numpy.savez(folder / "one.npz", x=numpy.ones(1, "float32"))
    truth = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("h", "g")]
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    condition = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("c", "d")]
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["h", "h"], ["g"])],
        "body",
        [count, condition[0], state[0]],
        [condition[1], state[1]],
    )
    loop = [helper.make_node("Loop", ["", "go", "x"], ["y"], body=body)]
    save(folder / "endless.onnx", loop, [x], [y], initializer=[truth])
    circle = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("Identity", ["b"], ["y"]),
    ]
    save(folder / "circle.onnx", circle, [x], [y])
    weight = integers("w", [1])
    weight.ClearField("int64_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    node = helper.make_node("Identity", ["x"], ["y"])
    save(folder / "elsewhere.onnx", [node], [x], [y], initializer=[weight])


# Readings of a window that the convolution is asked with: what its file leaves free.
STEPS = 32


def exported(folder):
    generator = numpy.random.default_rng(7)
    readings = numpy.round(generator.normal(5, 2, (400, 3)), 3)
    stops = generator.integers(0, 9, 400)
    with open(folder / "pumps.csv", "w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["time", "pump", "flow", "pressure", "heat", "stops"])
        for at, (row, count) in enumerate(zip(readings, stops)):
            time = f"2026-01-01T{at // 60:02}:{at % 60:02}:00Z"
            rows.writerow([time, "ab"[at % 2], *row, count])

    def declared(name, kind, shape):
        return helper.make_tensor_value_info(name, number(kind), shape)

    def weight(name, shape, kind="float32"):
        return onnx.numpy_helper.from_array(generator.normal(0, 0.5, shape).astype(kind), name)

    def said(name, model, outputs, frames):
        """Answers of each frame: key, number, and what the model is given."""
        session = onnxruntime.InferenceSession(folder / f"{model}.onnx")
        with open(folder / f"{name}.jsonl", "w") as out:
            for key, frame, given in frames:
                answers = numpy.concatenate([it.ravel() for it in session.run(None, given)])
                outputs_told = dict(zip(outputs, answers.tolist()))
                line = {"key": key, "frame": frame, "outputs": outputs_told}
                out.write(json.dumps(line) + "\n")

    # As torch.onnx.export writes a convolution over time: [batch, channels, time].
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[5]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["g"]),
        helper.make_node("Softmax", ["g"], ["probabilities"]),
    ]
    shape = ["batch", 3, "time"]
    save(folder / "convolution.onnx", nodes, [declared("x", "float32", shape)],
         [declared("probabilities", "float32", ["batch", 2])],
         initializer=[weight("w", [4, 3, 5]), weight("v", [4, 2])])
    windows = []
    for key in (0, 1):
        of_key = readings[key::2].astype("float32")
        for frame in range(len(of_key) // STEPS):
            window = of_key[frame * STEPS : (frame + 1) * STEPS]
            windows.append(("ab"[key], frame, {"x": window.T[None]}))
    outputs = ["probabilities_0", "probabilities_1"]
    said("convolution", "convolution", outputs, windows)

    # As skl2onnx writes a linear regression on doubles.
    nodes = [
        helper.make_node("MatMul", ["X", "coefficients"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], ["variable"]),
    ]
    save(folder / "doubles.onnx", nodes, [declared("X", "float64", ["N", 3])],
         [declared("variable", "float64", ["N", 1])],
         initializer=[weight("coefficients", [3, 1], "float64"), weight("intercept", [1], "float64")])
    rows = readings.astype("float32").astype("float64")
    frames = [("ab"[at % 2], at // 2, {"X": row[None]}) for at, row in enumerate(rows)]
    said("doubles", "doubles", ["variable"], frames)

    # As skl2onnx writes a pipeline over a data frame: an input for each column.
    nodes = [
        helper.make_node("Cast", ["stops"], ["s"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["flow", "s"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "coefficients"], ["variable"]),
    ]
    save(folder / "frame.onnx", nodes,
         [declared("flow", "float32", ["N", 1]), declared("stops", "int64", ["N", 1])],
         [declared("variable", "float32", ["N", 1])], initializer=[weight("coefficients", [2, 1])])
    frames = [
        ("ab"[at % 2], at // 2, {"flow": flow[None, None], "stops": count[None, None]})
        for at, (flow, count) in enumerate(zip(readings[:, 0].astype("float32"), stops))
    ]
    said("frame", "frame", ["variable"], frames)


def inputs(model, path, *shapes):
    given = dict(shape.split("=") for shape in shapes)
    generator = numpy.random.default_rng(1)
    arrays = {}
    for port in onnxruntime.InferenceSession(model).get_inputs():
        shape = given.get(port.name, "").split(",") if port.name in given else port.shape
        shape = [int(size) if str(size).isdigit() else 1 for size in shape if size != ""]
        kind = NUMPY.get(port.type, port.type[7:-1])
        if kind.startswith("float"):
            arrays[port.name] = generator.random(shape).astype(kind)
        else:
            arrays[port.name] = numpy.full(shape, 16000).astype(kind)
    numpy.savez(path, **arrays)


def compare(model, given, got):
    session = onnxruntime.InferenceSession(model)
    with numpy.load(given) as arrays, numpy.load(got) as answers:
        names = [output.name for output in session.get_outputs()]
        assert sorted(answers.files) == sorted(names), answers.files
        # To onnxruntime a text of fixed length is no text.
        feed = {n: a.astype(object) if a.dtype.kind == "U" else a for n, a in arrays.items()}
        for name, wanted in zip(names, session.run(names, feed)):
            answer = answers[name]
            wanted = wanted.astype(str) if wanted.dtype == object else wanted
            assert answer.shape == wanted.shape, (name, answer.shape, wanted.shape)
            if wanted.dtype.kind in "fc":
                assert answer.dtype == wanted.dtype, (name, answer.dtype)
                off = numpy.max(numpy.abs(answer - wanted) / (1 + numpy.abs(wanted)))
                assert off <= TOLERANCE, (name, off)
            else:
                assert answer.dtype.kind == wanted.dtype.kind, (name, answer.dtype)
                assert (answer == wanted).all(), name


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command in ("types", "strange", "exported"):
        words = [Path(words[0])]
    globals()[command](*words)
