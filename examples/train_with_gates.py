"""Train on a table with bounds and gates, and publish only if the model is good enough.

Usage: train_with_gates.py [TABLE] (default: data/iris.csv, with the column species to predict).
"""

import sys

import orris
from orris.errors import GateError

table = sys.argv[1] if len(sys.argv) > 1 else "data/iris.csv"
positive = {"exclusive_minimum": 0}
bounds = dict.fromkeys(("sepal_length", "sepal_width", "petal_length", "petal_width"), positive)
settings = {"table": table, "target": "species", "name": "iris", "model": "forest", "bounds": bounds}

try:
    orris.train(**settings, gates=["accuracy>=0.999"])
except GateError as error:
    print(f"Not published: {error}")

bundle = orris.train(**settings, gates=["accuracy>=0.9", "log_loss<=0.5"])
print(f"Published {bundle.name}@{bundle.version}: accuracy {bundle.metrics['accuracy']:.3f}")
