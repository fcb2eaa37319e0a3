"""``newsletter doctor``: what the service needs, whether it is there, and how to mend it."""
