"""Words that sound like one's keywords, spoken by synthetic voices, for a model to learn to reject.

``near.py`` finds the words, ``speech.py`` has them spoken, ``corpus.py`` writes the folder of words.
"""
