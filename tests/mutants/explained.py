"""Why a mutant may survive: a part of its difference, and what makes it the same program, or the same promise."""

EXPLAINED = {
    'person=b"XX': "Another personalisation of a hash is another spread, as good as this one.",
    'person=b"BATCH"': "Another personalisation of a hash is another spread, as good as this one.",
    'b"\\nXX': "Another separator makes other names, as different for different sets.",
}
