"""Pages for the people who run newsletters."""
