"""Machine-readable contracts that the server loads: the compiled service model and schemas."""
