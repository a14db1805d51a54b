"""``npnet info``: describe a folder or file of this project, in words or as JSON."""
