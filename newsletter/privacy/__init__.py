"""What is held of people, and for how long: the export of one person, and the end of what is old."""
