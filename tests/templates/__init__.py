"""Rendering: merge tags, sanitising, MJML, the footer, the starter templates."""
