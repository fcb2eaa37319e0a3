"""Real processes, killed in the middle of their work: what the books say afterwards."""
