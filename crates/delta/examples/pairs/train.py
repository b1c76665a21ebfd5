"""Trains pairs of models, an old one and what became of it: train.py FOLDER

Handwritten digits (UCI, as scikit-learn carries them). Every old model knows clean images; the new
one is trained on with what a worn sensor would see: darker, shifted, blurred and noisy. All seeds
are fixed; other processors may round differently, so weights agree to their last digits only.
"""

import logging
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from sklearn.datasets import load_digits

HELD_BACK = 500  # half of them to choose by, half to measure
DRAWS = 16  # of wear, for each image held back
BATCH = 64

# Filters of convolutions, then units of dense layers. The wide net is one of 50 MB.
NET = ([32, 64], [256, 10])
WIDE = ([], [2048, 2048, 2048, 2048, 10])


def worn(images, seed):
    """What a worn sensor makes of images [n, 1, 8, 8] between 0 and 1."""
    random = np.random.default_rng(seed)
    n = len(images)
    shift = random.uniform(0, 0.6, (n, 1, 1, 1))
    shifted = (1 - shift) * images + shift * np.roll(images, 1, axis=3)
    blurred = 0.8 * shifted + 0.2 * np.roll(shifted, 1, axis=2)
    dark = blurred * random.uniform(0.6, 0.9, (n, 1, 1, 1))
    return np.clip(dark + random.normal(0, 0.05, images.shape), 0, 1).astype(np.float32)


def fresh(net, seed):
    """Weights as before training (He et al. 2015): a list of (weights, bias) a layer."""
    random = np.random.default_rng(seed)
    filters, units = net
    layers, channels, side = [], 1, 8
    for count in filters:
        deviation = np.sqrt(2 / (9 * channels))
        layers.append((random.normal(0, deviation, (count, channels, 3, 3)), np.zeros(count)))
        channels = count
    inputs = channels * (side // 2 if filters else side) ** 2
    for count in units:
        layers.append((random.normal(0, np.sqrt(2 / inputs), (inputs, count)), np.zeros(count)))
        inputs = count
    return [(jnp.float32(w), jnp.float32(b)) for w, b in layers]


def scores(layers, images):
    """[n, 10], before any softmax."""
    at = images
    for i, (w, b) in enumerate(layers):
        if w.ndim == 4:
            at = jax.lax.conv(at, w, (1, 1), "SAME") + b[None, :, None, None]
            at = jax.nn.relu(at)
            continue
        if at.ndim == 4:
            if i > 0:
                at = jax.lax.reduce_window(
                    at, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"
                )
            at = at.reshape(len(at), -1)
        at = at @ w + b
        if i + 1 < len(layers):
            at = jax.nn.relu(at)
    return at


def loss(layers, images, labels):
    chances = jax.nn.log_softmax(scores(layers, images))
    return -jnp.mean(chances[jnp.arange(len(labels)), labels])


@partial(jax.jit, static_argnames="rate", donate_argnums=(0, 1, 2))
def adam(layers, mean, square, learns, step, images, labels, rate):
    """One step of Adam (Kingma & Ba 2015); `learns` is 0 where nothing may change."""
    slopes = jax.grad(loss)(layers, images, labels)
    tree = jax.tree.map
    mean = tree(lambda m, g: 0.9 * m + 0.1 * g, mean, slopes)
    square = tree(lambda v, g: 0.999 * v + 0.001 * g * g, square, slopes)

    def moved(w, m, v, learns):
        change = (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.999**step)) + 1e-8)
        return w - rate * learns * change

    return tree(moved, layers, mean, square, learns), mean, square


def train(layers, images, labels, epochs, rate, seed, learns=lambda layer, place: True):
    """Trains on. `learns` says which of a layer's weights (0) and bias (1) may change."""
    last = len(layers) - 1
    mask = [
        tuple(jnp.float32(learns(last - i, place)) for place in range(2)) for i in range(last + 1)
    ]
    layers = jax.tree.map(jnp.copy, layers)  # The step may write over what it is given.
    mean, square = (jax.tree.map(jnp.zeros_like, layers) for _ in range(2))
    random = np.random.default_rng(seed)
    step = 0
    for _ in range(epochs):
        order = random.permutation(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            some = order[start : start + BATCH]
            step += 1
            layers, mean, square = adam(
                layers, mean, square, mask, jnp.float32(step), images[some], labels[some], rate
            )
    return layers


def model(layers, dtype=np.float32):
    """An ONNX model that takes float32 and gives float32, whatever it computes with."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    cast = dtype != np.float32
    nodes, tensors, at = [], [], "image"

    def node(operator, *inputs, **attributes):
        name = f"{operator.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    if cast:
        at = node("Cast", at, to=kind)
    flat = False
    for i, (w, b) in enumerate(layers):
        names = [f"layer{i}.weight", f"layer{i}.bias"]
        for name, values in zip(names, (w, b)):
            tensors.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        if w.ndim == 4:
            at = node("Relu", node("Conv", at, *names, pads=[1, 1, 1, 1]))
            continue
        if not flat:
            if i > 0:
                at = node("MaxPool", at, kernel_shape=[2, 2], strides=[2, 2])
            at, flat = node("Flatten", at), True
        at = node("Gemm", at, *names)
        if i + 1 < len(layers):
            at = node("Relu", at)
    node("Cast" if cast else "Identity", at, **({"to": TensorProto.FLOAT} if cast else {}))
    nodes[-1].output[0] = "scores"
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])
    result = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "digits", [image], [result], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made


class Calibration(CalibrationDataReader):
    """Images for which ranges of activations are measured, as after any training."""

    def __init__(self, images):
        self.batches = iter(np.array_split(images, 16))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    order = np.random.default_rng(20261125).permutation(len(digits.images))
    images = (digits.images[order, None] / 16).astype(np.float32)
    labels = digits.target[order].astype(np.int32)
    clean, clean_labels = images[HELD_BACK:], labels[HELD_BACK:]
    later = np.concatenate([clean, worn(clean, 1), worn(clean, 2)])
    later_labels = np.tile(clean_labels, 3)
    half = HELD_BACK // 2
    for name, some, seed in (("choose", slice(half), 100), ("measure", slice(half, HELD_BACK), 200)):
        seen = np.concatenate([worn(images[some], seed + draw) for draw in range(DRAWS)])
        np.savez(folder / f"{name}.npz", images=seen, labels=np.tile(labels[some], DRAWS))

    def save(name, old, new):
        for age, made in (("old", old), ("new", new)):
            onnx.save(made, folder / f"{name}.{age}.onnx")

    def save_int8(name, kind, per_channel):
        """Quantises both models anew, each by its own training images."""
        for age, seen in (("old", clean), ("new", later)):
            quantize_static(
                folder / f"full-f32.{age}.onnx",
                folder / f"{name}.{age}.onnx",
                Calibration(seen),
                quant_format=kind,
                per_channel=per_channel,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )

    old = train(fresh(NET, 3), clean, clean_labels, 20, 1e-3, 4)
    full = train(old, later, later_labels, 6, 1e-4, 5)
    save("full-f32", model(old), model(full))
    save("full-f16", model(old, np.float16), model(full, np.float16))
    save_int8("full-int8-qdq", QuantFormat.QDQ, True)
    save_int8("full-int8-qoperator", QuantFormat.QOperator, False)
    head = train(old, later, later_labels, 6, 1e-3, 6, lambda layer, place: layer == 0)
    save("head-f32", model(old), model(head))
    bias = train(old, later, later_labels, 6, 1e-3, 7, lambda layer, place: place == 1)
    save("bias-f32", model(old), model(bias))
    anew = train(fresh(NET, 13), later, later_labels, 10, 1e-3, 14)
    save("anew-f32", model(old), model(anew))

    wide = train(fresh(WIDE, 23), clean, clean_labels, 6, 3e-4, 24)
    save("wide-f32", model(wide), model(train(wide, later, later_labels, 1, 3e-5, 25)))
    wide_head = train(wide, later, later_labels, 6, 1e-3, 26, lambda layer, place: layer == 0)
    save("wide-head-f32", model(wide), model(wide_head))


logging.disable()  # Quantisation recommends a preparation that folds what is not here.
main(Path(sys.argv[1]))
