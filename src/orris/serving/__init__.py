"""The server: one loaded model, the fast lane, probes, pages."""
