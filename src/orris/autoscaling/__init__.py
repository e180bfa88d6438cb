"""How many replicas does a load need, and why? The autoscaler's algorithm, and the experiment that shows it at work."""
