"""What a client of ``mailers-io.txt`` does, one test for each operation of that page that is here.

The SDKs are not here yet; `docs/coming-from.md` says so.
"""
