"""How sure a number is and what may be claimed from it: intervals, paired comparisons, plans and verdicts."""
