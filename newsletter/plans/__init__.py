"""Plans: their numbers, and the counters that hold them exactly."""
