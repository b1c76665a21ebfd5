"""What Evidently says: of columns around every edge (`columns FILE SEED`, one JSON object a line), or of
files that a person may have (`files FOLDER`)."""

import json
import struct
import sys
import warnings

import numpy as np
import pandas as pd
from evidently import Report
from evidently.core.datasets import infer_column_type
from evidently.legacy.calculations.data_drift import get_one_column_drift
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.calculations.stattests.registry import StatTestInvalidFeatureTypeError
from evidently.legacy.core import ColumnType
from evidently.legacy.metric_results import DatasetColumns, DatasetUtilityColumns
from evidently.legacy.options.data_drift import DataDriftOptions
from evidently.presets import DataDriftPreset

warnings.simplefilter("ignore")
np.seterr(all="ignore")
random = np.random.default_rng(int(sys.argv[3]) if sys.argv[1] == "columns" else 1)

# What draws no random number and is not about text or embeddings.
NUMERICAL = ["ks", "cramer_von_mises", "anderson", "mannw", "t_test", "es", "wasserstein", "ed"]
CATEGORICAL = ["chisquare", "z", "fisher_exact", "g_test"]
BOTH = ["jensenshannon", "psi", "kl_div", "hellinger"]
# Below this both sides are counted one by one in Python, or by sums that take minutes.
MANNW_EXACT_MAX = 20_000


def bits(value):
    return struct.unpack("<q", struct.pack("<d", float(value)))[0]


def column(series):
    name = series.dtype.name
    if name.startswith("int"):
        return {"integers": [int(value) for value in series]}
    if name.startswith("float"):
        return {"numbers": [bits(value) for value in series]}
    if name == "bool":
        return {"booleans": [bool(value) for value in series]}
    return {"texts": [value if isinstance(value, str) else None for value in series]}


def cleaned(series):
    return series.replace([-np.inf, np.inf], np.nan).dropna()


def judged(reference, current, kind, method):
    """The whole of Evidently's way where nothing is named, its test itself where something is."""
    try:
        if method is None:
            numbers = ["x"] if kind == ColumnType.Numerical else []
            categories = ["x"] if kind == ColumnType.Categorical else []
            utility = DatasetUtilityColumns(date=None, id=None, target=None, prediction=None)
            drift = get_one_column_drift(
                current_data=pd.DataFrame({"x": current}),
                reference_data=pd.DataFrame({"x": reference}),
                column_name="x",
                options=DataDriftOptions(),
                dataset_columns=DatasetColumns(
                    utility_columns=utility, target_type=None, task=None, num_feature_names=numbers,
                    cat_feature_names=categories, text_feature_names=[], datetime_feature_names=[],
                    target_names=None,
                ),
                column_type=kind,
                agg_data=True,
            )
            method = get_stattest(cleaned(reference), cleaned(current), kind, None).name
            score, threshold, drifted = drift.drift_score, drift.stattest_threshold, drift.drift_detected
        else:
            both = (cleaned(reference), cleaned(current))
            if kind == ColumnType.Numerical and not all(map(pd.api.types.is_numeric_dtype, both)):
                raise ValueError("should contain numerical values only")
            told = get_stattest(*both, kind, method)(*both, kind, None)
            score, threshold, drifted = told.drift_score, told.actual_threshold, told.drifted
    except (ValueError, IndexError, ZeroDivisionError, TypeError, KeyError) as error:
        is_kind = isinstance(error, StatTestInvalidFeatureTypeError)
        return {"refused": f"{type(error).__name__}: {error}"[:200], "kind_refused": is_kind}
    return {"method": method, "score": bits(score), "threshold": threshold, "drifted": bool(drifted)}


def tell(name, reference, current, kinds=(), methods=None):
    reference, current = pd.Series(reference), pd.Series(current)
    inferred = infer_column_type(current)
    asked = []
    for kind in [inferred, *kinds]:
        if kind == ColumnType.Numerical:
            named = NUMERICAL + BOTH
        elif kind == ColumnType.Categorical:
            named = CATEGORICAL + BOTH
        else:
            named = []
        if methods is not None:
            named = [method for method in named if method in methods]
        if len(reference) * len(current) > MANNW_EXACT_MAX and min(len(reference), len(current)) <= 8:
            named = [method for method in named if method != "mannw"]
        known = [ColumnType.Numerical, ColumnType.Categorical]
        for method in [None, *named] if kind in known else []:
            asked.append({"kind": kind.value, "named": method, **judged(reference, current, kind, method)})
    print(json.dumps({
        "name": name, "kind": inferred.value, "reference": column(reference), "current": column(current),
        "asked": asked,
    }), file=out)


def numbers(size, form, shift):
    values = random.normal(size=size) + shift
    match form:
        case "normal":
            return values
        case "tied":
            return np.round(values, 1)
        case "offset":
            return values * 1e-3 + 1e6
        case "skewed":
            return np.exp(2 * values)
        case "wide":
            return values * 10.0 ** random.integers(-6, 6, size)
        case "constant":
            return np.full(size, 0.1)
        case "half":
            return np.where(random.random(size) < 0.8, 0.3, values)
        case "standing":
            return np.where(random.random(size) < 0.3, 0.0, values)
    few = int(form)
    return random.integers(0, few, size) * 0.7 + (0.7 if shift > 0 and few > 2 else 0.0)


FORMS = ["normal", "tied", "offset", "skewed", "wide", "constant", "half", "standing", "1", "2", "3", "5", "6",
         "20", "21", "22"]
SMALL = [1, 2, 3, 4, 5, 8, 9, 19, 20, 21, 24, 25, 26]
MIDDLE = [50, 139, 140, 141, 300, 999, 1000, 1001, 1002, 2500]
LARGE = [9999, 10000, 10001, 12000]


def pick(list):
    return list[random.integers(len(list))]


def holes(values, share, kind):
    values = np.array(values, dtype=float)
    values[random.random(len(values)) < share] = kind
    return values


LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
KIND = ColumnType


def columns():
    # Fractions: every form in every range of sizes, equal and unequal, still and shifted.
    for form in FORMS:
        for sizes in (SMALL, SMALL, MIDDLE, MIDDLE, LARGE):
            for is_equal in (True, False):
                n = pick(sizes)
                m = n if is_equal else pick(pick([SMALL, MIDDLE, sizes, sizes]))
                shift = pick([0.0, 0.0, 0.02, 0.1, 0.3, 1.0, 6.0])
                if sizes is LARGE and form not in ("normal", "tied", "22"):
                    continue
                tell(f"{form} {n} {m} {shift}", numbers(n, form, 0.0), numbers(m, form, shift))

    # Where the default changes, and where the count of ways gives way to the limit.
    for n in (999, 1000, 1001):
        for m in (500, 1000, 1500):
            tell(f"default {n} {m}", numbers(n, "normal", 0), numbers(m, "normal", 0.08), methods=["ks", "ed"])
    for n, m in ((10000, 10000), (10000, 9999), (10000, 10001), (10001, 10001), (20000, 40), (20000, 7),
                 (20000, 150), (10001, 1), (10000, 1), (30000, 29000), (20000, 200), (15000, 500), (20000, 140)):
        for shift in (0.0, 0.01, 0.03, 0.2, 1.0, 3.0):
            tell(f"limit {n} {m} {shift}", numbers(n, "normal", 0.0), numbers(m, "normal", shift), methods=["ks"])

    # All small sizes: counts, corrections, refusals.
    for n in range(1, 23):
        for m in {1, 2, 3, 4, 5, 8, 9, n, 21, 22} | set(random.integers(1, 23, 2).tolist()):
            form = pick(["normal", "tied", "normal", "5"])
            tell(f"small {form} {n} {m}", numbers(n, form, 0.0), numbers(m, form, pick([0.0, 0.7, 2.0])))

    # Integers of ten and eleven distinct values, and taken for what they are not.
    for distinct in (1, 2, 3, 5, 6, 9, 10, 11, 12, 20, 21, 25, 1000):
        for n, m in ((100, 100), (900, 1200), (1001, 400), (40, 39)):
            reference, current = random.integers(0, distinct, n), random.integers(0, distinct, m)
            current[:min(distinct, m)] = np.arange(min(distinct, m))
            tell(f"integers {distinct} {n} {m}", reference, current, kinds=[KIND.Numerical, KIND.Categorical])
            tell(f"moved integers {distinct} {n} {m}", reference, current + 1, kinds=[KIND.Numerical])
            tell(f"integers and fractions {distinct} {n} {m}", reference.astype(float), current)

    # Missing values and infinities.
    for share in (0.0, 0.01, 0.5, 1.0):
        for hole in (np.nan, np.inf, -np.inf):
            for n, m in ((200, 300), (1100, 900), (1001, 1001)):
                tell(f"holes {share} {hole} {n} {m}", holes(numbers(n, "normal", 0), share, hole),
                     holes(numbers(m, "tied", 0.2), share / 2, hole))
    tell("none", np.array([], dtype=float), numbers(5, "normal", 0))

    # Yes and no.
    for share in (0.0, 0.3, 0.45, 0.5, 0.52, 1.0):
        for n, m in ((100, 100), (1000, 1000), (1001, 1001), (37, 80), (2, 1), (6, 6), (60, 60)):
            tell(f"booleans {share} {n} {m}", random.random(n) < 0.5, random.random(m) < share)

    # Categories: as many, unseen, gone, one by one.
    for few in (1, 2, 3, 4, 10, 26):
        for n, m in ((100, 100), (1000, 900), (1001, 1001), (30, 2000), (60, 60)):
            for lost in (0, 1):
                reference = LETTERS[random.integers(0, few, n)].astype(object)
                current = LETTERS[random.integers(lost, few + lost, m) % 26].astype(object)
                reference[random.random(n) < 0.05 * lost] = None
                tell(f"letters {few} {n} {m} {lost}", reference, current)
    words = np.array([f"word {at}" for at in range(3000)], dtype=object)
    for distinct, n in ((50, 100), (51, 100), (1500, 3000), (1501, 3000)):
        tell(f"words {distinct} {n}", words[random.integers(0, distinct, n)], np.resize(words[:distinct], n))
    tell("numbers, then words", numbers(50, "normal", 0), words[random.integers(0, 5, 50)])
    tell("words, then numbers", words[random.integers(0, 5, 50)], numbers(50, "normal", 0))
    tell("umlauts", np.array(["ä", "z", "Z", "é"] * 20, dtype=object), np.array(["ä", "z"] * 40, dtype=object))

    # Numbers that can hardly be told apart, or not at all.
    tell("close", 1.0 + 2.0**-52 * np.arange(30), 1.0 + 2.0**-52 * np.arange(30))
    tell("noughts", np.tile([0.0, -0.0], 20), np.tile([0.0, -0.0, 1.0], 20))
    tell("the same", np.arange(50) / 3, np.arange(50) / 3)
    tell("twice the same", np.arange(2000) / 7, np.repeat(np.arange(2000) / 7, 2))
    tell("letters the same", np.array(list("abcabcad") * 9, dtype=object), np.array(list("dacbabca") * 18, dtype=object))
    tell("nearly the same", np.arange(3000) % 30 / 7, np.concatenate([np.arange(3000) % 30 / 7, [0.0]]))

    # Small tables of two values on two sides that are as long.
    for n in range(2, 42):
        tell(f"table {n}", random.random(n) < 0.4, random.random(n) < pick([0.4, 0.7, 0.95]),
             methods=["fisher_exact", "z"])


def table(rows, shift):
    """Columns of every type as pandas reads and writes them."""
    few = random.integers(0, 10, rows)
    return pd.DataFrame({
        "fractions": numbers(rows, "normal", shift),
        "with gaps": holes(numbers(rows, "tied", shift), 0.1 + shift / 10, np.nan),
        # Of columns without a missing value, Evidently's count of drifted columns keeps infinities.
        "infinite": holes(holes(numbers(rows, "skewed", 0.0), 0.02, np.inf), 0.02, np.nan),
        "ten": few,
        "eleven": np.concatenate([[10], few[1:]]),
        "ten with gaps": holes(few + 3 * shift, 0.1, np.nan),
        "flag": random.random(rows) < 0.5 + shift / 3,
        "two": (random.random(rows) < 0.5 + shift / 3).astype(int),
        "letters": LETTERS[random.integers(0, 5 + round(6 * shift), rows)],
        "missing letters": np.where(random.random(rows) < 0.2, None, LETTERS[random.integers(0, 3, rows)]),
        "constant": np.full(rows, 7.5),
        "words, \"quoted\"": np.where(random.random(rows) < 0.5, "a, b", "c \"d\""),
    })


# How the Parquet files of so many rows are packed.
PACKED = {1000: ("snappy", None), 1001: ("zstd", "gzip"), 300: ("lz4", "snappy"), 2000: ("gzip", "zstd")}


def files(folder):
    """Pairs of CSV files, the same as Parquet, and what the report says of them: columns with score, threshold and verdict."""
    for rows, current, shift in ((1000, 800, 0.0), (1001, 1200, 0.0), (300, 300, 0.5), (2000, 900, 0.5)):
        names = [f"{folder}/{side}-{rows}.csv" for side in ("reference", "current")]
        tables = table(rows, 0.0), table(current, shift)
        for made, name, compression in zip(tables, names, PACKED[rows]):
            made.to_csv(name, index=False)
            # An index of its own, which is no column; and groups of rows that end within a batch.
            made.index = made.index[::-1]
            packed = dict(compression=compression, row_group_size=170, use_dictionary=compression != "gzip")
            made.to_parquet(name.replace(".csv", ".parquet"), **packed)
        read = [pd.read_csv(name, float_precision="round_trip") for name in names]
        report = Report([DataDriftPreset(columns=list(read[0]))], include_tests=True)
        told = json.loads(report.run(current_data=read[1], reference_data=read[0]).json())
        values = {metric["id"]: metric["value"] for metric in told["metrics"]}
        columns, dataset = {}, None
        for test in told["tests"]:
            parameters = test["metric_config"]["params"]
            value = values[test["metric_config"]["metric_id"]]
            if "column" in parameters:
                columns[parameters["column"]] = {
                    "score": value, "threshold": parameters["threshold"], "drifted": test["status"] == "FAIL",
                }
            else:
                dataset = {"share": value["share"], "drift": test["status"] == "FAIL"}
        with open(f"{folder}/told-{rows}.json", "w") as out:
            json.dump({"columns": columns, "dataset": dataset}, out)


if sys.argv[1] == "columns":
    out = open(sys.argv[2], "w")
    columns()
else:
    files(sys.argv[2])
