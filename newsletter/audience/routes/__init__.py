"""HTTP of the audience."""
