"""``newsletter demo``: from a topic to an inbox, on an installation of the demo's own."""
