"""The parity gate: the rows on which models are compared, and the comparison."""
