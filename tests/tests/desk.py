"""What a data scientist has at hand: numpy, onnx and onnxruntime, to compare the desk's tools with.

    desk.py types FOLDER                        a model of one Identity for each type, and arrays for it
    desk.py strange FOLDER                      models that are broken or hostile
    desk.py inputs MODEL IN.npz [NAME=1,2,3]    arrays for a model, of these shapes where they are free
    desk.py compare MODEL IN.npz OUT.npz        whether onnxruntime gives the same
"""

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
    save(folder / "giant.onnx", giant, [x], [y], initializer=[integers("shape", [1 << 33])])
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
    if command in ("types", "strange"):
        words = [Path(words[0])]
    globals()[command](*words)
