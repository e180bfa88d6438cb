"""Package the model for MLflow: a model folder with a signature; its scoring calls ``predict_proba``."""

import mlflow.sklearn
import model
from mlflow.models import infer_signature
from sklearn.datasets import load_iris

pipeline = model.fitted()
rows = load_iris().data
signature = infer_signature(rows, pipeline.predict_proba(rows))
mlflow.sklearn.save_model(
    pipeline,
    str(model.WORK / "model"),
    signature=signature,
    pyfunc_predict_fn="predict_proba",
    serialization_format="cloudpickle",
)
