"""Incidents: stored alarms with their evidence, their review, and their webhooks."""
