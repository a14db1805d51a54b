"""Other people's pictures: how they are opened, found, and given their prompts."""
