"""What a client of ``maily.txt`` does, one test for each operation of that page.

The calls are those of the page with this service's ids and address; the answers are asserted
as the contract settles them.
"""
