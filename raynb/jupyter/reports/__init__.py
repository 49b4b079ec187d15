"""Reports: tables, timeline, doctor, card."""
