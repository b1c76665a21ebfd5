"""The turbine's model in BentoML: one worker, onnxruntime with one thread."""

import os

import bentoml
import numpy
import onnxruntime


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Judge:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)

    @bentoml.api
    def infer(self, window: numpy.ndarray) -> numpy.ndarray:
        return self.session.run(["score"], {"window": window.astype(numpy.float32)})[0]
