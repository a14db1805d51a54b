"""Pairs and prompts: what is collected, and what is trained on."""
