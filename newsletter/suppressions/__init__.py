"""Who must never be mailed; the only gate."""
