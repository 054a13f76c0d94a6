"""The agent: loop, tools, models and store protocol; knows no broker, no Celery, no Redis."""
