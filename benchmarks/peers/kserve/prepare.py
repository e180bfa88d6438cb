"""Package the model for KServe: a ``model.joblib``, as its scikit-learn server reads."""

import model

model.dump()
