"""A kubelet for tests: pods are real processes in namespaces of their own, on loopback addresses.

One process stands for the kubelets of all nodes, kube-proxy and metrics-server::

    api server ──watch──> agent ──> pod ──> container ──> process (mount, PID, UTS and IPC namespaces, cgroups)
         ^                  │        └──> probes, volumes, environment
         │                  ├──> proxy: an HAProxy for each Service, which follows its EndpointSlices
         └──status, leases──┴──> metrics: metrics.k8s.io from the cgroups; logs of containers

What it does not do fails with a message that names it; docs/cluster-tests.md lists what is real and what stands in.
"""
