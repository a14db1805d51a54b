"""The tables and figures of three papers: published figures, settings, and the commands that make them here."""
