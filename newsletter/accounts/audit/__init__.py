"""The audit log: every call with a key and every act, in chains that show what was changed."""
