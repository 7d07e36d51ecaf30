"""Changes: transactions on sessions of their own, what they send, what their refusals mean, and what is remembered."""
