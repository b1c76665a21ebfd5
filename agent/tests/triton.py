"""Asks an agent as programs do that know Triton: with its client as it is.

    triton.py HOST:PORT
"""

import sys

import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

# Each stage of the bundle, by the datatype of its model.
STAGES = {
    "BOOL": "bool", "UINT8": "u8", "UINT16": "u16", "UINT32": "u32", "UINT64": "u64", "INT8": "i8",
    "INT16": "i16", "INT32": "i32", "INT64": "i64", "FP16": "f16", "FP32": "f32", "FP64": "f64",
    "BYTES": "bytes",
}


def array(datatype, rows):
    """Rows of three elements, the extremes of the datatype among them."""
    kind = numpy.dtype(triton_to_np_dtype(datatype))
    if datatype == "BYTES":
        row = numpy.array(["", "böse", "x" * 300], dtype=object)
    elif datatype == "BOOL":
        row = numpy.array([True, False, True])
    elif kind.kind == "f":
        row = numpy.array([numpy.finfo(kind).max, -0.1, numpy.finfo(kind).tiny], dtype=kind)
    else:
        row = numpy.array([numpy.iinfo(kind).min, 1, numpy.iinfo(kind).max], dtype=kind)
    return numpy.stack([numpy.roll(row, shift) for shift in range(rows)])


def texts(values):
    """Texts as they come back: as bytes."""
    return [it if isinstance(it, bytes) else it.encode() for it in values.ravel().tolist()]


def check(client, datatype, rows, binary, asked, **more):
    given = array(datatype, rows)
    tensor = triton.InferInput("x", list(given.shape), datatype)
    tensor.set_data_from_numpy(given, binary_data=binary)
    outputs = None
    if asked is not None:
        outputs = [triton.InferRequestedOutput("y", binary_data=asked)]
    model = f"echo.{STAGES[datatype]}"
    answer = client.infer(model, [tensor], outputs=outputs, request_id=f"{rows}", **more)
    told = answer.get_response()
    assert told["model_name"] == model and told["model_version"] == "1", told
    assert told["id"] == f"{rows}", told
    came = answer.as_numpy("y")
    assert came.shape == given.shape, (datatype, came.shape)
    if datatype == "BYTES":
        assert texts(came) == texts(given), came
    else:
        assert came.dtype == given.dtype and (came == given).all(), (datatype, came)


def refused(status, model, shape, datatype):
    tensor = triton.InferInput("x", shape, datatype)
    tensor.set_data_from_numpy(numpy.zeros(shape, triton_to_np_dtype(datatype)))
    try:
        client.infer(model, [tensor])
    except InferenceServerException as error:
        assert error.status() == status, error
        assert error.message(), error
    else:
        raise AssertionError(f"{model} takes {datatype} {shape}")


client = triton.InferenceServerClient(sys.argv[1], concurrency=4)
assert client.is_server_live() and client.is_server_ready()
metadata = client.get_server_metadata()
assert metadata["name"] == "lineside-agent" and "binary_tensor_data" in metadata["extensions"], metadata
for datatype, stage in STAGES.items():
    model = f"echo.{stage}"
    assert client.is_model_ready(model) and client.is_model_ready(model, "1")
    assert not client.is_model_ready(model, "7")
    metadata = client.get_model_metadata(model)
    shown = [{"name": name, "datatype": datatype, "shape": [-1, 3]} for name in "xy"]
    assert metadata["inputs"] == shown[:1] and metadata["outputs"] == shown[1:], metadata
    assert metadata["versions"] == ["1"] and metadata["platform"] == "onnx_onnxv1", metadata
    for rows in (1, 5):
        # FP16 goes as bytes alone: so the client wants it.
        for binary in (True,) if datatype == "FP16" else (True, False):
            for asked in (None, True) if datatype == "FP16" else (None, True, False):
                check(client, datatype, rows, binary, asked)
    for packed in ("gzip", "deflate"):
        more = {"request_compression_algorithm": packed, "response_compression_algorithm": packed}
        check(client, datatype, 200, True, True, model_version="1", **more)
# Many at once come back each to who asked.
pending = []
for rows in range(1, 33):
    given = numpy.full((rows, 3), rows, numpy.float32)
    tensor = triton.InferInput("x", list(given.shape), "FP32")
    tensor.set_data_from_numpy(given)
    pending.append((given, client.async_infer("echo.f32", [tensor])))
for given, answer in pending:
    assert (answer.get_result().as_numpy("y") == given).all()
refused("404", "echo.none", [1, 3], "FP32")
refused("400", "echo.f32", [1, 4], "FP32")
refused("400", "echo.f32", [1, 3], "FP64")
refused("413", "echo.f32", [300, 3], "FP32")
client.close()
print(len(STAGES), "datatypes")
