"""The wire and the store: Celery, Kombu and Redis live on this floor and only here."""
