"""Evidently's data drift of two files of doubles (`FOLDER FEATURES`): prints processor seconds of the report alone, of
the whole process, its peak memory in KiB, and how many features have drifted."""

import json
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

warnings.simplefilter("ignore")
folder, features = sys.argv[1], int(sys.argv[2])
names = [f"f{at}" for at in range(features)]
reference, current = (
    pd.DataFrame(np.fromfile(f"{folder}/{side}", dtype="<f8").reshape(-1, features), columns=names)
    for side in ("reference", "current")
)
begun = time.process_time()
report = Report([DataDriftPreset(columns=names)])
told = json.loads(report.run(current_data=current, reference_data=reference).json())
ended = time.process_time()
drifted = next(int(it["value"]["count"]) for it in told["metrics"] if "count" in str(it["value"]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("evidently", round(ended - begun, 3), round(ended, 3), peak, drifted)
