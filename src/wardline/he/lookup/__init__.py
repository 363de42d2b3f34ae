"""Private lookup: one record of a server's database, and the server does not learn which."""
