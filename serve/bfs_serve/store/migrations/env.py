"""Run by alembic: applies the migrations on the connection that `store.database` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="schema_version", render_as_batch=True)
context.run_migrations()
