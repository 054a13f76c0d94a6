"""The HTTP gateway: producers in any language, and people, reach the queue through it. Carries no run on itself."""
