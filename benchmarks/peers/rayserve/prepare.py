"""Package the model for Ray Serve: a ``model.joblib``."""

import model

model.dump()
