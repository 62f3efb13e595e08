"""Names of the bundled students. Slicer reads them at its start, so they stand apart from what reads weights."""

STUDENTS = ("student-100k", "student-30k")
DEFAULT_STUDENT = STUDENTS[0]
