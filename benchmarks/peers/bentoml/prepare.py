"""Package the model for BentoML: a model in its local store (``BENTOML_HOME``)."""

import bentoml
import joblib
import model

with bentoml.models.create("iris") as packaged:
    joblib.dump(model.fitted(), packaged.path_of("model.joblib"))
