"""Background work: one thin file per slice that has jobs, and the processes that run them."""
