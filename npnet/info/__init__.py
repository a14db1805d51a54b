"""What a folder or a file of ours is, in words and as JSON: ``npnet info``."""
