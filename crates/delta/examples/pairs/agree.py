"""How far models agree on images held back: agree.py HELD OLD NEW SNAPPED...

Prints of each how many answers are right, how many equal NEW's, and how many there are.
"""

import sys

import numpy as np
import onnxruntime

onnxruntime.set_default_logger_severity(3)
held = np.load(sys.argv[1])


def answers(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    batches = np.array_split(held["images"], 16)
    return np.concatenate([session.run(None, {"image": b})[0].argmax(1) for b in batches])


new = answers(sys.argv[3])
for path in sys.argv[2:]:
    these = answers(path)
    print(np.sum(these == held["labels"]), np.sum(these == new), len(these))
