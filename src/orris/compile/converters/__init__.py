"""Exact converters, a module per family of estimators."""
