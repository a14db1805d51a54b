"""A page in the browser: a prompt's pictures from each method's noise, side by side: ``npnet demo``."""
