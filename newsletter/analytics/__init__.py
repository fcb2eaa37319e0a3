"""What became of a project's mail: summaries, reports, the raw log, and all of it as files."""
