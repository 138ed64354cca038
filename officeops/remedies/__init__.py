"""What is done by itself about what is wrong, and when a person is called instead."""

from officeops.remedies.remedy import Patient, Remedy, Step

__all__ = ["Patient", "Remedy", "Step"]
