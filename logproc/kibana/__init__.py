"""Kibana as code: data views, dashboards, saved searches and rules, made from the field list and the thresholds."""
