"""Package the model for LitServe: a ``model.joblib``."""

import model

model.dump()
