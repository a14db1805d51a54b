"""Pictures of a few prompts, one for each seed and noise method: ``npnet generate``."""
