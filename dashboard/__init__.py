"""The dashboard: `panel serve dashboard/app.py`."""
