"""The dialects that are served: they translate, and do nothing else."""
