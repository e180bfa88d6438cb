"""The one place that names the version of Orris."""

__version__ = "0.1.0"
