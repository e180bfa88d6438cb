"""Users who each ask for a prediction, wait one to two seconds, and ask again: the reference projects' load test.

    pip install 'orris[loadtest]'
    locust -f loadtests/locustfile.py --host http://localhost:8000 --users 100 --spawn-rate 20 --run-time 60s --headless
    locust -f loadtests/locustfile.py --host http://localhost:8000        with Locust's page on port 8089
    locust -f loadtests/locustfile.py --processes 4 …                     or --master, and --worker on other machines

The requests come from the model's card, so any table works. The test fails, with exit code 1, if a request fails, or if
the limits are passed that the environment sets: docs/load-tests.md has the variables.

Little's law tells whether the server keeps up: users / (requests per second) - mean wait = the mean response time. 100
users who wait 1.5 s ask 67 times a second as long as the server answers at once; far fewer means that they queue.
"""

from orris.loadtest.engines.locust_users import Caller

__all__ = ["Caller"]
