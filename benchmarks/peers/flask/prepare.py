"""Package the model for the Flask application: a ``model.joblib``, fitted on a DataFrame."""

import model

model.dump(frame=True)
