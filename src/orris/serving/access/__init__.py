"""Access: API keys, tokens, rates, and the operations of the administrator.

All of it is off until it is configured.
"""
