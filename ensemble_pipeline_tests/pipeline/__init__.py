"""The Dagster floor: sensors, schedules, partitions, definitions, doctor and status."""
