"""The doctor's checks, one file each: see docs/how-to/doctor.md."""
