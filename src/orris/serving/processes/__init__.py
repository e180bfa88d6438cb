"""Several processes as one server: the supervisor, shared memory, CPU counts."""
