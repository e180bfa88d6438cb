"""From a table, or a fitted pipeline, to a sealed bundle folder."""
