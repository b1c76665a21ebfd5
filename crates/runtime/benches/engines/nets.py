"""Writes two nets of depthwise convolutions as ONNX files, for `cargo xtask bench inference`.

MobileNetV2 as in Sandler et al. 2018, table 2 (width 1, 224 pixels),
and DS-CNN as in Zhang et al. 2017, table 2 (small: 64 channels, input 49 x 10). Batch normalisation is
folded into the convolutions, as exporters do. The weights are drawn with a fixed seed: what a net answers is
of no use, how long it takes is.
"""

import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """The nodes of a net, one behind the other."""

    def __init__(self):
        self.random = numpy.random.default_rng(1)
        self.nodes, self.weights = [], []

    def weight(self, values, kind="float32"):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(numpy.asarray(values, kind), name))
        return name

    def node(self, operator, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def conv(self, x, taken, given, kernel, stride=1, group=1, pads=None):
        """A convolution with weights that keep the size of what goes through (He et al. 2015)."""
        shape = (given, taken // group, *kernel)
        scale = numpy.sqrt(2 / numpy.prod(shape[1:]))
        weight = self.weight(self.random.normal(0, scale, shape))
        bias = self.weight(self.random.normal(0, 0.01, given))
        if pads is None:
            pads = [(size - 1) // 2 for size in kernel] * 2
        strides = [stride, stride] if isinstance(stride, int) else stride
        return self.node(
            "Conv", x, weight, bias, kernel_shape=kernel, strides=strides, group=group, pads=pads
        )

    def relu6(self, x):
        return self.node("Clip", x, self.weight(0), self.weight(6))

    def classes(self, x, taken, given):
        x = self.node("Flatten", self.node("GlobalAveragePool", x))
        weight = self.weight(self.random.normal(0, taken**-0.5, (taken, given)))
        return self.node("Gemm", x, weight, self.weight(numpy.zeros(given)))

    def save(self, file, shape, given):
        self.nodes[-1].output[0] = "y"
        taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        given = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, given])
        graph = helper.make_graph(self.nodes, file.stem, [taken], [given], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, file)


def mobilenet(file):
    net, channels = Net(), 32
    x = net.relu6(net.conv("x", 3, channels, (3, 3), 2))
    # Expansion, channels, blocks, stride of the first.
    for expansion, given, blocks, stride in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for block in range(blocks):
            step, wide, before = stride if block == 0 else 1, channels * expansion, x
            if expansion > 1:
                x = net.relu6(net.conv(x, channels, wide, (1, 1)))
            x = net.relu6(net.conv(x, wide, wide, (3, 3), step, wide))
            x = net.conv(x, wide, given, (1, 1))
            if step == 1 and channels == given:
                x = net.node("Add", before, x)
            channels = given
    x = net.relu6(net.conv(x, channels, 1280, (1, 1)))
    net.classes(x, 1280, 1000)
    net.save(file, [1, 3, 224, 224], 1000)


def ds_cnn(file):
    net = Net()
    x = net.node("Relu", net.conv("x", 1, 64, (10, 4), (2, 2), pads=[4, 1, 5, 2]))
    for _ in range(4):
        x = net.node("Relu", net.conv(x, 64, 64, (3, 3), group=64))
        x = net.node("Relu", net.conv(x, 64, 64, (1, 1)))
    net.classes(x, 64, 12)
    net.save(file, [1, 1, 49, 10], 12)


folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
mobilenet(folder / "mobilenet-v2.onnx")
ds_cnn(folder / "ds-cnn.onnx")
