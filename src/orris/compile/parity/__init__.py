"""The parity gate: the rows it asks, and how answers are compared."""
