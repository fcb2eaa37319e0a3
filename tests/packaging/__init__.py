"""What is around the code: locks, commands of make, container files, documents."""
