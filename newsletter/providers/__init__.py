"""Mail adapters: each sends, and maps what its server says to one vocabulary. No database here."""
