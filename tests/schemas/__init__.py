"""Answers under JSON Schemas of many kinds, from the small real model, judged by the package jsonschema."""
