"""The computations of fitted estimators, one module per family; ``statement`` finds every module of this package."""
