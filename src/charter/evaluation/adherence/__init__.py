"""Adherence: does a model follow each principle, on held-out scenarios that are written for that principle?"""
