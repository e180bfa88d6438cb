"""Package a fitted scikit-learn pipeline, prove it, publish it to ./artifacts, and use it from Python."""

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import orris

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=20, random_state=0)).fit(X, y)

bundle = orris.package(pipeline, X, y, name="tumours")
print(f"Published {bundle.name}@{bundle.version}")
print(bundle.verdict.sentence())

model = orris.load(f"tumours@{bundle.version}")
print(f"{(model.predict(X) == pipeline.predict(X)).sum()} of {len(X)} labels are equal")
