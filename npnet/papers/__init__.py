"""The tables and figures of three papers: their published figures, their settings, and the commands that make ours."""
