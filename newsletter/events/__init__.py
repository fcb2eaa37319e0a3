"""The append-only log of what happened, in one vocabulary."""
