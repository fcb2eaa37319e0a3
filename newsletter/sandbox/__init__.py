"""The inbox of test projects and its personas."""
