"""Scores and what is made of them: engines, tables, contact sheet, analysis, report.

May import every package but utils.checks.
"""
