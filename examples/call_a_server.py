"""Call a running server with nothing but the standard library.

Usage: call_a_server.py [URL] (default: http://localhost:8000, as `make demo` serves it).
"""

import json
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"


def predict(body: object) -> dict:
    """POST a row, or a list of rows, and return the parsed answer."""
    request = Request(f"{url}/api/v1/predict", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


row = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
other = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}
print("one row:", predict(row)["prediction_label"])
print("two rows:", [answer["prediction_label"] for answer in predict([row, other])["predictions"]])
try:
    predict({**row, "sepal_width": "wide"})
except HTTPError as error:
    for problem in json.load(error)["errors"]:
        print(f"row {problem['row']}, column {problem['column']}: {problem['problem']}")
