"""What is counted of a project's mail: changes as they land, and the sums they are folded into."""
