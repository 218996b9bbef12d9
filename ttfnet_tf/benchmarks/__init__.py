"""Where the time goes, and what each exported form costs."""
