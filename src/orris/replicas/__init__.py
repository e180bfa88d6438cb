"""A server in a process of its own that has no more CPU than a quota, as a container of Kubernetes has."""
