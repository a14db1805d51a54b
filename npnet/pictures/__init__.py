"""Pictures from elsewhere: finding and opening them, and matching them to their prompts."""
