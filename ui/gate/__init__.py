"""Who may ask what: people and their login, limits, moderation, terms of use.

`Door` stands before all of the page and tells who comes; `Gate` lets one question in, or says why not.
"""
