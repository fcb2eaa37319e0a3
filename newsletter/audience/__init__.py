"""Lists, subscribers, consents, custom fields."""
