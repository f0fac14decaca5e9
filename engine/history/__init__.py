"""The history: every export and every score with its recipe, inputs and output; in SQLite or any SQL database.

Light: never imports torch. SQLAlchemy and Alembic are loaded when a history is opened.
"""
