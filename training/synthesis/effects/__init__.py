"""What changes a volume on its way from anatomy to CT, one concept a file."""
