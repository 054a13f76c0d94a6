"""What runs announce, posted to where their producers asked: one file per concern, `service` starts it all."""
