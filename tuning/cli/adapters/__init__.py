"""Commands for trained adapters."""
