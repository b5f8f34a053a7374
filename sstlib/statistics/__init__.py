"""How sure a number is and what may be claimed from it: intervals, paired comparisons, plans and verdicts.

>>> from sstlib.statistics import uncertainty
>>> interval = uncertainty.bootstrap({"bear": [0.9], "cows": [0.7, 0.8], "swan": [0.6]})
>>> interval.low < interval.mean < interval.high, round(interval.mean, 2)
(True, 0.75)
"""
