"""alembic's scripts. A change of the tables needs a new file in `versions` and a new `schema.HEAD`.

Make one with ``alembic.command.revision(config, autogenerate=True, rev_id="0002")``; a test compares the result of all
migrations with the tables.
"""
