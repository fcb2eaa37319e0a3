"""Templates: MJML with a content slot, merge tags, the compiled form of a mail."""
