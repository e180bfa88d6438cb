"""What fitted estimators compute, one module per family; ``statement`` finds every module of this package."""
